"""A service that is a script, for tests of what the engine makes of its answers."""

from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from math import inf
from typing import Any, TypeAlias

import anyio

from engine.core.values import Value
from engine.kinds import (
    Allotment,
    Answer,
    Axis,
    Clock,
    Group,
    GroupAxis,
    IntegerAxis,
    Job,
    JobContext,
    JobKind,
    ListedTest,
    Listing,
    Measurement,
    NumberAxis,
    PromptAxis,
    Service,
    ServiceSettings,
    TextAxis,
)

Script: TypeAlias = Callable[[Job], Answer | Exception]
"""What becomes of an attempt: the answer that it returns or the error that it raises."""


def scored(
    *scores: float,
    threshold: float = 0.5,
    raw: bytes = b"{}",
    values: Mapping[str, Value | None] | None = None,
    cases: Sequence[str] | None = None,
) -> Answer:
    """An answer with these safety scores (0..1), of which those below `threshold` fail.

    Each score is one test. `raw` is what is kept as the answer's bytes, and `values` are further columns of
    its rows. `cases` names the case of each score; the scores of a case after its first are those of a further
    layer.
    """
    failed = sum(score < threshold for score in scores)
    return Answer(
        raw=raw,
        measurement=Measurement(
            passed=len(scores) - failed,
            failed=failed,
            tests=len(scores),
            scores=tuple(sorted(scores)),
            values=values or {},
            listing=None if cases is None else Listing.of(_list_tests(cases, scores)),
        ),
    )


def _list_tests(cases: Sequence[str], scores: Sequence[float]) -> Iterator[ListedTest]:
    seen: set[str] = set()
    for case, score in zip(cases, scores, strict=True):
        yield ListedTest(case, 1 if case in seen else 0, score)
        seen.add(case)


@dataclass(frozen=True, slots=True)
class Start:
    """An attempt that was started, and when by the engine's clock."""

    job: Job
    at: float


class Recording:
    """What a scripted service was asked for; it can be made to hold its answers back.

    `started` has every attempt with its time, `in_flight` and `most_in_flight` count attempts, and `tests`
    adds up what the answers cost. Each attempt takes `takes_s` seconds of the engine's time.
    """

    def __init__(self, script: Script, takes_s: float = 0.0) -> None:
        self.script = script
        self.takes_s = takes_s
        self.started: list[Start] = []
        self.in_flight = 0
        self.most_in_flight = 0
        self.tests = 0
        self._open = anyio.Event()
        self._open.set()
        self._changed = anyio.Event()

    def hold(self) -> None:
        """Hold back the end of every attempt until `release`."""
        if self._open.is_set():
            self._open = anyio.Event()

    def release(self) -> None:
        """Let all attempts end, including those that start later."""
        self._open.set()

    async def until_in_flight(self, count: int) -> None:
        """Wait until at least `count` attempts are in flight."""
        await self._until(lambda: self.in_flight >= count)

    async def until_started(self, count: int) -> None:
        """Wait until at least `count` attempts were started in all."""
        await self._until(lambda: len(self.started) >= count)

    async def play(self, job: Job, clock: Clock) -> Answer:
        """Record an attempt, wait for `takes_s` and until answers are not held back, and ask the script.

        Returns the script's answer, or raises the error that it returns.
        """
        self.started.append(Start(job, clock.now()))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        self._changed.set()
        try:
            if self.takes_s:
                await clock.sleep(self.takes_s)
            await self._open.wait()
            end = self.script(job)
        finally:
            self.in_flight -= 1
            self._changed.set()
        if isinstance(end, Exception):
            raise end
        self.tests += end.measurement.tests
        return end

    async def _until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            if self._changed.is_set():
                self._changed = anyio.Event()
            await self._changed.wait()


class ScriptedKind(JobKind):
    """A kind with one axis of each common sort; only `models` has to be given.

    Its thresholds fold exactly, and jobs of one group cost the same. An attempt may take as long as it
    likes, unless a subclass sets `deadline_s`.
    """

    name = "scripted"
    axes: Sequence[Axis] = (
        TextAxis(name="models", field="model"),
        PromptAxis(name="prompts", field="prompt", required=False),
        GroupAxis(name="groups", field="group", required=False, default=("any",)),
        NumberAxis(
            name="thresholds",
            field="threshold",
            required=False,
            default=(0.5,),
            minimum=0,
            maximum=1,
        ),
        IntegerAxis(
            name="variations",
            field="variations",
            required=False,
            default=(1,),
            minimum=1,
            maximum=9,
        ),
    )
    folded_field: str | None = "threshold"
    deadline_s = inf

    def folds_exactly(self, labels: Mapping[str, Any]) -> bool:
        """Always: a scripted answer lists all its scores."""
        return True

    def cost_class(self, labels: Mapping[str, Any]) -> str:
        """The group."""
        return str(labels["group"])

    async def run(self, job: Job, client: Recording, context: JobContext) -> Answer:
        """Ask the service's script for the end of this attempt."""
        return await client.play(job, context.clock)


class ScriptedSettings(ServiceSettings):
    """The settings of a scripted service: its kind alone."""


class ScriptedService(Service):
    """A service whose attempts end as `script` says: with the answer or the error that it returns.

    It has one job kind, an instance of `kind`. `allotment` is the quota that it reports, less what its
    answers have cost; with one, its jobs use quota. `groups` are those that `groups: all` stands for. Each
    attempt takes `takes_s` seconds of the engine's time; `recording` has what was asked.
    """

    settings_model = ScriptedSettings
    identity = "scripted"
    credential = ""

    def __init__(
        self,
        script: Script,
        *,
        kind: type[ScriptedKind] = ScriptedKind,
        allotment: Allotment | None = None,
        groups: Sequence[str] = (),
        takes_s: float = 0.0,
    ) -> None:
        self.recording = Recording(script, takes_s)
        self.allotment = allotment
        self._kind = kind
        self._groups = tuple(groups)

    def kinds(self) -> Sequence[JobKind]:
        kind = self._kind()
        kind.uses_quota = kind.uses_quota or self.allotment is not None
        return (kind,)

    @asynccontextmanager
    async def open(self, clock: Clock) -> AsyncIterator[Recording]:
        yield self.recording

    async def groups(self, client: Recording) -> Sequence[Group]:
        return tuple(Group(name=name) for name in self._groups)

    async def quota(self, client: Recording) -> Allotment | None:
        if self.allotment is None:
            return None
        used = self.allotment.used + client.tests
        return Allotment(used=used, allotted=self.allotment.allotted)

"""For tests of job kinds, ours and the user's: a clock that a test moves, and a service that is a script.

clock = FakeClock()
service = scripted_service(lambda job: scored(0.2, 0.9, threshold=job.parameters["threshold"]))
sweep = Sweep.parse({...}, registry=Registry(services={"scripted": service}))
...
assert [start.at for start in service.recording.started] == [...]
"""

import asyncio
import gc
from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from heapq import heapify, heappop, heappush
from math import inf, isinf
from types import AsyncGeneratorType, CoroutineType, GeneratorType
from typing import Any, ClassVar, TypeAlias

import anyio
from anyio import from_thread, lowlevel

from engine.job import (
    Allotment,
    Answer,
    Clock,
    Group,
    GroupAxis,
    IntegerAxis,
    Job,
    JobContext,
    JobKind,
    Measurement,
    NumberAxis,
    PromptAxis,
    Service,
    ServiceSettings,
    TextAxis,
)

__all__ = [
    "FakeClock",
    "Recording",
    "Script",
    "ScriptedKind",
    "ScriptedService",
    "Start",
    "scored",
    "scripted_service",
]

QUIET_S = 0.005
"""Real seconds that a FakeClock gives to sockets and child processes before it moves."""

_SOON_S = 0.05
"""A real timer that is due within this time counts as work under way."""
_MOMENT_S = 0.0005
_PASSES = 3


@dataclass(slots=True, order=True)
class _Sleeper:
    until: float
    number: int
    awake: anyio.Event = field(compare=False, default_factory=anyio.Event)


class FakeClock:
    """A clock that stands still until it is moved: by `advance`, or by itself while `jumping`.

    Times are seconds since the Unix epoch. Sleepers are woken at the very time they asked for, in
    order. The clock moves only once every task of the event loop waits: while one is ready to run, or
    waits for a thread (`anyio.to_thread`, `asyncio.to_thread`, aiosqlite), or for a real timer that is
    due within 50 ms, it stands still, however slow the machine is. What happens outside of the process
    cannot be seen: while the event loop watches sockets, pipes or child processes, they are given
    `quiet_s` of real time in which nobody asks the clock for anything.
    """

    def __init__(self, now: float = 1_800_000_000.0, *, quiet_s: float = QUIET_S) -> None:
        self._now = now
        self._quiet_s = quiet_s
        self._asked = 0
        self._sleepers: list[_Sleeper] = []
        self._threads_asleep = 0

    def now(self) -> float:
        """The time as it was set or moved to."""
        self._asked += 1
        return self._now

    async def sleep(self, seconds: float) -> None:
        """Return once the clock was moved by `seconds`."""
        if seconds <= 0:
            await lowlevel.checkpoint()
            return
        await self._sleep_until(self._now + seconds)

    def sleep_in_thread(self, seconds: float) -> None:
        """Block a thread of `anyio.to_thread` until the clock was moved by `seconds`.

        The clock moves meanwhile, although a task waits for that thread.
        """
        from_thread.run(self._sleep_for_thread, seconds)

    async def _sleep_for_thread(self, seconds: float) -> None:
        self._threads_asleep += 1
        try:
            await self.sleep(seconds)
        finally:
            self._threads_asleep -= 1

    async def wait(self, event: anyio.Event, until: float) -> bool:
        """Return True once `event` is set, or False once the clock was moved to `until`."""
        if event.is_set() or until <= self._now:
            await lowlevel.checkpoint()
            return event.is_set()
        async with anyio.create_task_group() as tasks:

            async def watch() -> None:
                await event.wait()
                tasks.cancel_scope.cancel()

            tasks.start_soon(watch, name="watch an event")
            await self._sleep_until(until)
            tasks.cancel_scope.cancel()
        return event.is_set()

    async def advance(self, seconds: float) -> None:
        """Move on by `seconds`, stopping at the time of each sleeper until all has become quiet."""
        end = self._now + seconds
        await self._become_quiet()
        while (until := self._next()) <= end:
            await self._jump(until)
        self._now = end
        await self._become_quiet()

    @asynccontextmanager
    async def jumping(self) -> AsyncIterator[None]:
        """Within the block, move on to the next sleeper whenever all has become quiet."""
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._jump_along, name="jumping clock")
            yield
            tasks.cancel_scope.cancel()

    async def _jump_along(self) -> None:
        while True:
            await self._become_quiet()
            if not isinf(until := self._next()):
                await self._jump(until)

    async def _jump(self, until: float) -> None:
        self._now = max(self._now, until)
        while self._next() <= self._now:
            heappop(self._sleepers).awake.set()
        await self._become_quiet()

    async def _sleep_until(self, until: float) -> None:
        self._asked += 1
        sleeper = _Sleeper(until, self._asked)
        heappush(self._sleepers, sleeper)
        try:
            await sleeper.awake.wait()
        finally:
            self._asked += 1
            # One that was cancelled must hold up nobody; one that was woken is gone already.
            self._sleepers = [one for one in self._sleepers if one is not sleeper]
            heapify(self._sleepers)

    def _next(self) -> float:
        return self._sleepers[0].until if self._sleepers else inf

    async def _become_quiet(self) -> None:
        """Return once every task waits: for this clock, for another task, or for the outside."""
        while True:
            await self._become_idle()
            if not _watches_outside():
                return
            asked = self._asked
            await anyio.sleep(self._quiet_s)
            if asked == self._asked and not self._is_working():
                return

    async def _become_idle(self) -> None:
        asked, due = self._asked, _now() + _SOON_S
        passes = 0
        while passes < _PASSES:
            if self._is_working() or _is_timer_due(due):
                passes = 0
                await anyio.sleep(_MOMENT_S)
            else:
                # A pass of the event loop takes in what has come from its threads and sockets.
                passes += 1
                await lowlevel.checkpoint()
            if asked != self._asked:
                asked, due = self._asked, _now() + _SOON_S
                passes = 0

    def _is_working(self) -> bool:
        return _is_ready() or _threads_awaited() > self._threads_asleep


def _now() -> float:
    return asyncio.get_running_loop().time()


def _is_ready() -> bool:
    """Whether the event loop has anything to run besides the task that asks."""
    return bool(getattr(asyncio.get_running_loop(), "_ready", ()))


def _is_timer_due(until: float) -> bool:
    scheduled: Iterable[asyncio.TimerHandle] = getattr(asyncio.get_running_loop(), "_scheduled", ())
    return any(timer.when() <= until and not timer.cancelled() for timer in scheduled)


def _watches_outside() -> bool:
    """Whether the event loop watches any file descriptor besides the pipe that wakes it."""
    selector = getattr(asyncio.get_running_loop(), "_selector", None)
    return selector is None or len(selector.get_map()) > 1


def _threads_awaited() -> int:
    return sum(_awaits_thread(task.get_coro()) for task in asyncio.all_tasks())


# Where a task stands while a thread works for it: module and coroutine.
_THREAD_CALLS = {
    ("aiosqlite.core", "_connect"),
    ("aiosqlite.core", "_execute"),
    ("aiosqlite.core", "close"),
    ("anyio._backends._asyncio", "run_sync_in_worker_thread"),
    ("asyncio.base_events", "getaddrinfo"),
    ("asyncio.base_events", "getnameinfo"),
    ("asyncio.threads", "to_thread"),
}


def _awaits_thread(awaitable: Any) -> bool:
    """Whether the innermost coroutine that a task awaits is one of `_THREAD_CALLS`."""
    frame = None
    while awaitable is not None:
        match awaitable:
            case CoroutineType():
                frame, awaitable = awaitable.cr_frame, awaitable.cr_await
            case AsyncGeneratorType():
                frame, awaitable = awaitable.ag_frame, awaitable.ag_await
            case GeneratorType():
                frame, awaitable = awaitable.gi_frame, awaitable.gi_yieldfrom
            case _:
                # Wrappers of coroutines and of the steps of generators do not tell what they wrap.
                wrapped = (each for each in gc.get_referents(awaitable) if _is_suspended(each))
                awaitable = next(wrapped, None)
    if frame is None:
        return False
    return (frame.f_globals.get("__name__"), frame.f_code.co_name) in _THREAD_CALLS


def _is_suspended(candidate: Any) -> bool:
    return isinstance(candidate, CoroutineType | AsyncGeneratorType | GeneratorType)


Script: TypeAlias = Callable[[Job], Answer | Exception]
"""What becomes of an attempt: the answer that it returns or the error that it raises."""


def scored(*scores: float, threshold: float = 0.5, raw: bytes = b"{}") -> Answer:
    """An answer with these safety scores, of which those below `threshold` fail."""
    failed = sum(score < threshold for score in scores)
    return Answer(
        raw=raw,
        measurement=Measurement(
            passed=len(scores) - failed,
            failed=failed,
            tests=len(scores),
            scores=tuple(sorted(scores)),
        ),
    )


@dataclass(frozen=True, slots=True)
class Start:
    """An attempt that was started, and when by the engine's clock."""

    job: Job
    at: float


class Recording:
    """What a scripted service was asked for; it can be made to hold its answers back.

    An attempt takes `takes_s` of the engine's time.
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
        """Let no attempt come to its end from now on."""
        if self._open.is_set():
            self._open = anyio.Event()

    def release(self) -> None:
        """Let all attempts come to their end."""
        self._open.set()

    async def until_in_flight(self, count: int) -> None:
        """Wait until at least `count` attempts are in flight."""
        await self._until(lambda: self.in_flight >= count)

    async def until_started(self, count: int) -> None:
        """Wait until at least `count` attempts were started in all."""
        await self._until(lambda: len(self.started) >= count)

    async def play(self, job: Job, clock: Clock) -> Answer:
        """Record one attempt and bring it to the end that the script has for it."""
        self.started.append(Start(job, clock.now()))
        self.in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.in_flight)
        self._tell()
        try:
            if self.takes_s:
                await clock.sleep(self.takes_s)
            await self._open.wait()
            end = self.script(job)
        finally:
            self.in_flight -= 1
            self._tell()
        if isinstance(end, Exception):
            raise end
        self.tests += end.measurement.tests
        return end

    async def _until(self, holds: Callable[[], bool]) -> None:
        while not holds():
            await self._changed.wait()

    def _tell(self) -> None:
        changed, self._changed = self._changed, anyio.Event()
        changed.set()


class ScriptedKind(JobKind):
    """A kind with one axis of each common sort; only `models` has to be given.

    Its thresholds fold exactly, and jobs of one group cost the same.
    """

    name = "scripted"
    axes = (
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
    folded_field = "threshold"

    def __init__(self, service: "ScriptedService") -> None:
        self._service = service

    def folds_exactly(self, labels: Mapping[str, Any]) -> bool:
        """Always: a scripted answer lists all its scores."""
        return True

    def cost_class(self, labels: Mapping[str, Any]) -> str:
        """The group."""
        return str(labels["group"])

    async def run(self, job: Job, context: JobContext) -> Answer:
        """What the service's script has for this job."""
        return await self._service.recording.play(job, context.clock)


class ScriptedSettings(ServiceSettings):
    """Nothing but the kind."""


class ScriptedService(Service):
    """A service that does what its recording's script says; made by `scripted_service`."""

    settings_model = ScriptedSettings
    recording: ClassVar[Recording]
    allotment: ClassVar[Allotment | None]
    offered: ClassVar[tuple[str, ...]]
    kind: ClassVar[type[ScriptedKind]]

    @property
    def identity(self) -> str:
        return "scripted"

    def kinds(self) -> Sequence[JobKind]:
        return (self.kind(self),)

    async def groups(self) -> Sequence[Group]:
        return tuple(Group(name=name) for name in self.offered)

    async def quota(self) -> Allotment | None:
        if self.allotment is None:
            return None
        used = self.allotment.used + self.recording.tests
        return Allotment(used=used, allotted=self.allotment.allotted)


def scripted_service(
    script: Script,
    *,
    kind: type[ScriptedKind] = ScriptedKind,
    allotment: Allotment | None = None,
    groups: Sequence[str] = (),
    takes_s: float = 0.0,
) -> type[ScriptedService]:
    """A service of its own, with its own recording, for a registry.

    `allotment` is the quota that it tells of, less what its answers cost (with one, its jobs use quota);
    `groups` is what `groups: all` stands for. Each attempt takes `takes_s` of the engine's time.
    """

    class QuotaKind(kind):  # type: ignore[misc,valid-type]
        uses_quota = allotment is not None

    class Scripted(ScriptedService):
        recording = Recording(script, takes_s)
        offered = tuple(groups)

    Scripted.kind = QuotaKind
    Scripted.allotment = allotment
    return Scripted

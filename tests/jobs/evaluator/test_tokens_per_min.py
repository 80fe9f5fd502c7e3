"""Evaluations under `tokens_per_min`, from the sweep to a chat endpoint on loopback."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio

from engine import Registry, Run, Status, Sweep, open_engine
from engine.kinds import Clock
from engine.testing import FakeClock
from jobs.chat.endpoint import ChatClient, ChatTarget, Endpoint
from jobs.chat.limits import estimate_tokens
from jobs.chat.target import Generation, Question, Reply
from jobs.evaluator import LocalEvaluator
from tests.engine.scenes import NOW, RARE_POLLS
from tests.jobs.chat.server import ChatServer, chat_server, completion
from tests.jobs.serve.running import GROUP, KIND, MODEL, PROMPT, write_groups

BUDGET = 600
MAX_TOKENS = 100
REPEATS = 5
CALLS = 3 * REPEATS


class Watched(ChatTarget):
    """A chat target that remembers when its calls started, and what they were estimated at."""

    def __init__(
        self, endpoint: Endpoint, watch: FakeClock, started: list[tuple[float, int]]
    ) -> None:
        super().__init__(endpoint, Generation(max_tokens=MAX_TOKENS))
        self._watch = watch
        self._started = started

    @asynccontextmanager
    async def open(self, clock: Clock, folder: Path = Path()) -> AsyncIterator[ChatClient]:
        async with super().open(clock, folder) as client:
            ask = client.reply

            async def reply(question: Question) -> Reply:
                self._started.append((self._watch.now(), estimate_tokens(question, MAX_TOKENS)))
                with self._watch.paused():
                    return await ask(question)

            client.reply = reply  # type: ignore[method-assign]  # watched
            yield client


class Scene:
    """A store, a chat endpoint and the calls that reached it."""

    def __init__(self, folder: Path, server: ChatServer) -> None:
        self.folder = folder
        self.server = server
        self.clock = FakeClock(NOW)
        self.started: list[tuple[float, int]] = []
        endpoint = Endpoint(base_url=server.base_url, tokens_per_min=BUDGET)
        target = Watched(endpoint, self.clock, self.started)
        self.registry = Registry(services={"local": LocalEvaluator(target)})

    async def run(self, *, stop_after_s: float | None = None) -> Status:
        """Work on the sweep to its end, or stop as a first Ctrl-C does."""
        sweep = Sweep.parse(
            {
                "name": "tokens",
                "service": {
                    "kind": "local",
                    "endpoint": {"base_url": self.server.base_url, "tokens_per_min": BUDGET},
                    "max_tokens": MAX_TOKENS,
                    "cases": str(write_groups(self.folder / "groups")),
                },
                "evaluation": "single_turn",
                "matrix": {
                    "models": [MODEL],
                    "prompts": [{"name": "bare", "text": PROMPT}],
                    "groups": [GROUP],
                    "thresholds": [0.5],
                    "repeats": REPEATS,
                },
            },
            registry=self.registry,
        )
        async with open_engine(
            self.folder / "store.db", registry=self.registry, clock=self.clock, settings=RARE_POLLS
        ) as engine:
            run = await engine.submit(sweep)
            async with self.clock.jumping(), anyio.create_task_group() as tasks:
                if stop_after_s is not None:
                    tasks.start_soon(self._stop, run, stop_after_s)
                await run.execute()
            return await run.status()

    async def _stop(self, run: Run, after_s: float) -> None:
        await self.clock.sleep(after_s)
        run.stop()

    @property
    def minutes(self) -> float:
        """How long it took until the last call."""
        return (self.started[-1][0] - NOW) / 60

    def most(self, tokens: int | None = None) -> int:
        """The most tokens in any 60 s, each call taking so many, or what it was estimated at."""
        return max(
            sum(
                estimate if tokens is None else tokens
                for at, estimate in self.started
                if first <= at < first + 60
            )
            for first, _ in self.started
        )


@asynccontextmanager
async def scene(folder: Path, usage: Any) -> AsyncIterator[Scene]:
    document = {**completion(KIND), "usage": usage}
    async with chat_server(lambda _: (200, document)) as server:
        yield Scene(folder, server)


async def test_no_minute_sees_more_than_its_tokens_where_answers_tell_nothing(
    tmp_path: Path,
) -> None:
    async with scene(tmp_path, None) as play:
        status = await play.run()

    each = play.started[0][1]
    assert status.cells_done == REPEATS
    assert len(play.started) == len(play.server.asked) == CALLS
    assert play.most() <= BUDGET
    assert play.minutes <= CALLS / (BUDGET // each) / 0.95


async def test_what_answers_took_less_is_there_for_the_next_calls(tmp_path: Path) -> None:
    took = 20
    async with scene(tmp_path, {"total_tokens": took}) as play:
        status = await play.run()

    each = play.started[0][1]
    assert status.cells_done == REPEATS
    assert play.most(took) <= BUDGET
    assert play.minutes < 0.6 * CALLS * each / BUDGET


async def test_what_answers_took_more_makes_later_calls_wait(tmp_path: Path) -> None:
    async with scene(tmp_path, {"total_tokens": 290}) as play:
        status = await play.run()

    assert status.cells_done == REPEATS
    # What is under way when the first answer comes was started on its estimate.
    later = [at for at, _ in play.started if at >= NOW + 120]
    assert all(sum(first <= at < first + 60 for at in later) <= 2 for first in later)


async def test_a_minute_s_tokens_hold_over_a_restart(tmp_path: Path) -> None:
    async with scene(tmp_path, None) as play:
        first = await play.run(stop_after_s=40)
        before = len(play.started)
        second = await play.run()

    assert first.cells_done < second.cells_done == REPEATS
    assert 0 < before < CALLS == len(play.started)
    assert play.most() <= BUDGET

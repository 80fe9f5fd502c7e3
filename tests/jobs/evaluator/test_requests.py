"""Every call of an evaluation is a request: it waits within the sweep's own limits and counts in them."""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from time import monotonic
from typing import Any

import anyio
import pytest

from engine import Engine, Registry, Run, Status, Sweep, open_engine
from engine.core.permits import PermitLimit
from engine.core.runs import StopReason
from engine.session.requests import Requests
from engine.testing import FakeClock, Memory
from jobs.chat.target import Question
from jobs.evaluator import evaluator_of
from tests.engine.scenes import NOW, RARE_POLLS, most_in_a_minute
from tests.jobs.chat.server import Asked, chat_server, completion
from tests.jobs.serve.running import GROUP, KIND, PROMPT, write_groups

CASES = 3
LIMITS: Mapping[str, Any] = {"rate_per_min": 30, "models": {"a": {"rate_per_min": 10}}}


class Scene:
    """A store, a clock, and a callable as the target, which remembers when it was asked what."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.memory = Memory()
        self.clock = FakeClock(NOW)
        self.asked: list[tuple[float, str]] = []
        self.takes_s = 0.0
        self.registry = Registry(services={"local": evaluator_of("kind", self._answer)})
        write_groups(folder / "groups")

    async def _answer(self, question: Question) -> str:
        self.asked.append((self.clock.now(), question.model))
        await self.clock.sleep(self.takes_s)
        return KIND

    def sweep(
        self,
        *,
        models: Sequence[str] = ("a",),
        repeats: int = 1,
        name: str = "night",
        **limits: Any,
    ) -> Sweep:
        return Sweep.parse(
            document(self.folder, models, repeats, name, limits), registry=self.registry
        )

    def opened(self) -> Any:
        return open_engine(
            self.memory, registry=self.registry, clock=self.clock, settings=RARE_POLLS
        )

    async def run(self, sweep: Sweep, *, stop_after_s: float | None = None) -> Status:
        async with self.opened() as engine, self.clock.jumping():
            return await run_to_end(engine, sweep, stop_after_s, self.clock)

    def times(self, model: str | None = None) -> list[float]:
        return [at for at, of in self.asked if model in (None, of)]


def document(
    folder: Path, models: Sequence[str], repeats: int, name: str, limits: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        "name": name,
        "service": {"kind": "local", "cases": str(folder / "groups")},
        "evaluation": "single_turn",
        "matrix": {
            "models": list(models),
            "prompts": [{"name": "bare", "text": PROMPT}],
            "groups": [GROUP],
            "thresholds": [0.5],
            "repeats": repeats,
        },
        "limits": dict(limits),
    }


async def run_to_end(
    engine: Engine, sweep: Sweep, stop_after_s: float | None, clock: FakeClock
) -> Status:
    run = await engine.submit(sweep)

    async def stop() -> None:
        assert stop_after_s is not None, "only started where it is given"
        await clock.sleep(stop_after_s)
        run.stop()

    async with anyio.create_task_group() as tasks:
        if stop_after_s is not None:
            tasks.start_soon(stop)
        status = await run.execute()
        tasks.cancel_scope.cancel()
    return status


async def test_no_minute_sees_more_calls_than_the_sweep_and_a_model_allow(tmp_path: Path) -> None:
    play = Scene(tmp_path)
    sweep = document(tmp_path, ["a", "b"], 10, "night", LIMITS)

    status = await play.run(Sweep.parse(sweep, registry=play.registry))

    assert status.cells_done == 20
    assert len(play.asked) == 20 * CASES
    assert most_in_a_minute(play.times()) <= 30
    assert most_in_a_minute(play.times("a")) <= 10
    # The slow model loses none of its turns to the fast one, and holds it up in nothing.
    assert play.times("a")[-1] - NOW <= 10 * CASES / 10 * 60
    assert play.times("b")[-1] - NOW <= 10 * CASES / 20 * 60 * 1.1


async def test_a_restart_does_not_begin_a_new_minute(tmp_path: Path) -> None:
    play = Scene(tmp_path)
    sweep = play.sweep(repeats=10, rate_per_min=12)

    await play.run(sweep, stop_after_s=20)
    stopped = len(play.asked)
    status = await play.run(sweep)

    assert 0 < stopped < 10 * CASES
    assert status.cells_done == 10
    assert len(play.asked) == 10 * CASES
    assert most_in_a_minute(play.times()) <= 12


async def test_two_processes_on_one_run_share_its_rate_and_its_cap(tmp_path: Path) -> None:
    play = Scene(tmp_path)
    sweep = play.sweep(models=["a", "b"], repeats=5, rate_per_min=6, requests=16)
    ends: list[Status] = []

    async with play.opened() as one, play.opened() as another, play.clock.jumping():

        async def work(engine: Engine) -> None:
            ends.append(await run_to_end(engine, sweep, None, play.clock))

        async with anyio.create_task_group() as tasks:
            tasks.start_soon(work, one)
            tasks.start_soon(work, another)

    assert [end.reason for end in ends] == [StopReason.QUOTA, StopReason.QUOTA]
    assert len(play.asked) == 16
    assert most_in_a_minute(play.times()) <= 6


async def test_requests_that_arrive_are_a_whole_distance_apart(tmp_path: Path) -> None:
    write_groups(tmp_path / "groups")
    arrivals: list[float] = []

    def answer(_: Asked) -> tuple[int, Any]:
        arrivals.append(monotonic())
        return 200, completion(KIND)

    async with chat_server(answer) as server:
        sweep = document(tmp_path, ["a", "b"], 2, "night", {"rate_per_min": 600})
        sweep["service"]["endpoint"] = {"base_url": server.base_url}
        async with open_engine(tmp_path / "store.db") as engine:
            run = await engine.submit(Sweep.parse(sweep))
            status = await run.execute()
            shown = await run.status()

    assert status.cells_done == 4
    assert shown.requests_per_min == len(arrivals) == 4 * CASES
    # Slots are 0.09 s apart, and each is used within a quarter of a second.
    assert arrivals[-1] - arrivals[0] >= (len(arrivals) - 1) * 0.09 - 0.25


async def test_a_used_up_limit_gives_jobs_back_and_a_higher_one_asks_only_what_is_missing(
    tmp_path: Path,
) -> None:
    play = Scene(tmp_path)

    stopped = await play.run(play.sweep(repeats=5, requests=7))
    asked = len(play.asked)
    done = await play.run(play.sweep(repeats=5, requests=15))

    assert asked == 7
    assert stopped.reason is StopReason.QUOTA
    assert stopped.message.startswith("the sweep's own limit of 7 requests is reached")
    assert "limits.requests" in stopped.message
    assert stopped.resume_at is None
    assert stopped.session is not None
    assert stopped.session.replies_asked == 7
    assert stopped.jobs["failed"] == 0
    assert [(one.used, one.allotted) for one in stopped.quotas] == [(7, 7)]
    assert done.cells_done == 5
    assert len(play.asked) == 5 * CASES


@pytest.mark.parametrize(("takes_s", "rate"), [(20.0, {"rate_per_min": 6}), (70.0, {})])
async def test_an_evaluation_under_way_when_the_window_closes_goes_on_when_it_opens(
    tmp_path: Path, takes_s: float, rate: dict[str, Any]
) -> None:
    play = Scene(tmp_path)
    play.takes_s = takes_s
    # It is 8:00: three minutes are left.
    sweep = play.sweep(repeats=10, **rate, window="22:00-08:03", timezone="UTC")

    status = await play.run(sweep)

    hours = [datetime.fromtimestamp(at, UTC).strftime("%H:%M") for at in play.times()]
    assert status.cells_done == 10
    assert len(play.asked) == 10 * CASES
    assert all(hour >= "22:00" or hour < "08:03" for hour in hours)
    assert {"08:00", "22:00"} <= set(hours)


async def test_no_call_starts_after_the_deadline(tmp_path: Path) -> None:
    play = Scene(tmp_path)
    deadline = datetime.fromtimestamp(NOW + 60, UTC).isoformat()

    status = await play.run(play.sweep(repeats=10, rate_per_min=12, deadline=deadline))

    assert status.reason is StopReason.DEADLINE
    assert status.jobs["failed"] == 0
    assert 5 <= len(play.asked) < 10 * CASES
    assert play.times()[-1] < NOW + 60


async def test_status_counts_calls_here_and_elsewhere(tmp_path: Path) -> None:
    play = Scene(tmp_path)
    sweep = play.sweep(repeats=20, rate_per_min=30)
    looks: list[tuple[Status, Status]] = []
    first: list[Status] = []

    async def look(here: Run, elsewhere: Run) -> None:
        await play.clock.sleep(1)
        first.append(await here.status())
        await play.clock.sleep(58)
        looks.append((await here.status(), await elsewhere.status()))
        here.stop()

    async with play.opened() as engine, play.opened() as other, play.clock.jumping():
        run = await engine.submit(sweep)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(look, run, await other.run())
            await run.execute()

    # The evaluations themselves take nothing of the rate.
    assert [look.jobs["running"] for look in first] == [16]
    [(here, elsewhere)] = looks
    started = sum(at <= NOW + 59 for at in play.times())
    assert here.requests_per_min == started > 25
    # Other processes see it every two seconds.
    assert started - 2 <= (elsewhere.requests_per_min or 0) <= started
    left_s = (20 * CASES - started) / 30 * 60
    assert here.seconds_left == pytest.approx(left_s, rel=0.2)
    assert here.binding == "rate"


async def test_without_limits_nothing_is_written_for_a_call(tmp_path: Path) -> None:
    play = Scene(tmp_path)

    async with play.opened() as engine, play.clock.jumping():
        free = await run_to_end(engine, play.sweep(models=["a"]), None, play.clock)
        without = permits_kept(play.memory)
        await run_to_end(
            engine, play.sweep(models=["b"], name="bound", rate_per_min=60), None, play.clock
        )
        bound = permits_kept(play.memory)

    assert free.cells_done == 1
    assert without == []
    assert bound == ["permit local:callable:kind"]


def permits_kept(memory: Memory) -> list[str]:
    """The rows of permits that a store has."""
    with memory.transaction() as connection:
        found = connection.exec_driver_sql(
            "SELECT name FROM rate_bucket WHERE name LIKE 'permit %'"
        )
        return [name for (name,) in found]


async def test_what_a_job_has_sent_is_forgotten_once_it_has_ended(tmp_path: Path) -> None:
    play = Scene(tmp_path)
    async with play.opened() as engine, play.clock.jumping(), anyio.create_task_group() as tasks:
        run = await engine.submit(play.sweep())
        requests = Requests(engine.store, play.clock, run._row, "account", run.sweep.limits)
        for job_id in (1, 2):
            await requests.permit(
                PermitLimit(name="target"), job_id=job_id, lane="a", to_model=True, tokens=0
            )
        tasks.start_soon(requests.publish, lambda: [1])
        await play.clock.sleep(10.0)

        assert requests.of_jobs([1, 2]) == 1
        tasks.cancel_scope.cancel()

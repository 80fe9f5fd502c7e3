"""What functions raise: what becomes of the job, and what is kept of it."""

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import anyio
import pytest

from engine import JobContext, Permanent, StopReason, Sweep, UsageError, job
from tests.commands import run as nightsweep
from tests.engine.functions.raising import ENDS, fail, fail_in_loop, fail_plainly
from tests.engine.functions.scenes import QUICK_RETRY, row, rows, run


@pytest.mark.parametrize("function", [fail_in_loop, fail_plainly], ids=["loop", "thread"])
@pytest.mark.parametrize("processes", [None, 2])
def test_each_error_ends_its_own_cell_and_the_run_goes_on(
    function: Callable[..., Any], processes: int | None, tmp_path: Path
) -> None:
    if processes and function is fail_in_loop:
        with pytest.raises(UsageError, match="async functions run in this process"):
            Sweep("ends", function, matrix={"how": list(ENDS)}, processes=processes)
        return
    sweep = Sweep(
        "ends", function, matrix={"how": list(ENDS)}, retry=QUICK_RETRY, processes=processes
    )

    done = run(sweep, tmp_path)

    assert {row.labels["how"]: row.error for row in done.rows()} == ENDS
    assert done.status().reason is None
    attempts = {info.labels["how"]: len(done.job(info.id).attempts) for info in done.jobs()}
    # An attempt may be given back as well while the lane waits for the others to succeed.
    assert {how for how, count in attempts.items() if count > 1} == {"transient", "busy", "retried"}


@pytest.mark.parametrize("function", [fail_in_loop, fail_plainly], ids=["loop", "thread"])
def test_the_traceback_of_what_was_not_meant_is_kept_and_shown(
    function: Callable[..., Any], tmp_path: Path
) -> None:
    how = ["value error", "permanent"]
    done = run(Sweep("traces", function, matrix={"how": how}, retry=QUICK_RETRY), tmp_path)

    unmeant, meant = (done.job(info.id).attempts[-1].detail for info in done.jobs())

    assert unmeant is not None
    assert unmeant.startswith("Traceback (most recent call last):")
    assert "return fail(how)" in unmeant
    assert "raising.py" in unmeant
    assert "engine/functions" not in unmeant.replace("tests/engine/functions", "")
    assert meant == "because"
    shown = nightsweep("show", "1", "--run", "traces", "--store", str(tmp_path / "runs.db"))
    assert "return fail(how)" in shown.stdout + shown.stderr


def test_rate_limits_and_faults_of_the_machine_use_no_attempt(tmp_path: Path) -> None:
    @job
    async def once(how: str, ctx: JobContext) -> Any:
        calls[how] = calls.get(how, 0) + 1
        return fail(how, calls[how])

    calls: dict[str, int] = {}
    how = ["rate limited", "machine", "memory"]
    retry = {"attempts": 1, "base_delay_s": 0.001}
    found = rows(Sweep("once", once, matrix={"how": how}, retry=retry), tmp_path)

    assert {row.labels["how"]: row.error for row in found} == dict.fromkeys(how)
    assert calls == dict.fromkeys(how, 2)


def test_a_transient_error_is_tried_again_and_may_recover(tmp_path: Path) -> None:
    @job
    async def recovers(how: str, ctx: JobContext) -> Any:
        return fail(how, ctx.job.attempt)

    found = row(
        Sweep("recovers", recovers, matrix={"how": ["recovers"]}, retry=QUICK_RETRY), tmp_path
    )

    assert found.values == {"value": "recovers"}


def test_without_quota_the_run_stops_and_no_cell_fails(tmp_path: Path) -> None:
    @job
    def empty(n: int) -> Any:
        return fail("quota")

    status = run(Sweep("empty", empty, matrix={"n": range(3)}), tmp_path).status()

    assert status.reason is StopReason.QUOTA
    assert status.cells_failed == 0


@pytest.mark.parametrize("error", [ValueError("v"), Permanent("p"), None], ids=str)
def test_many_cells_that_fail_alike_do_not_stop_the_others(
    error: Exception | None, tmp_path: Path
) -> None:
    @job
    async def mostly_wrong(n: int) -> Any:
        if n < 100:
            if error is None:
                return object()
            raise error
        return n

    status = run(Sweep("mostly wrong", mostly_wrong, matrix={"n": range(110)}), tmp_path).status()

    assert status.reason is None
    assert (status.cells_failed, status.cells_done) == (100, 10)


def test_failed_cells_can_be_put_back_and_asked_again(tmp_path: Path) -> None:
    @job
    def flaky(n: int) -> int:
        if n in broken:
            raise ValueError(n)
        return n

    broken = {1}
    done = run(Sweep("flaky", flaky, matrix={"n": range(3)}), tmp_path)
    assert done.status().cells_failed == 1

    broken.clear()
    assert done.retry() == 1
    assert done.resume(progress=False).cells_done == 3


def test_a_call_in_the_event_loop_that_takes_too_long_is_given_up(tmp_path: Path) -> None:
    @job(timeout_s=0.05)
    async def hang(n: int) -> None:
        try:
            await anyio.sleep_forever()
        finally:
            ended.append(n)

    ended: list[int] = []
    found = row(Sweep("hang", hang, matrix={"n": [1]}, retry=QUICK_RETRY), tmp_path)

    assert found.error == "no answer within 0.05 s (gave up after 2 attempts)"
    assert ended == [1, 1]


def test_a_call_in_a_thread_that_takes_too_long_goes_on_unheard(tmp_path: Path) -> None:
    @job(timeout_s=0.05)
    def hang(n: int) -> int:
        if not is_slow:
            return n
        is_slow.pop()
        released.wait()
        went_on.set()
        return -1

    is_slow, released, went_on = [True], threading.Event(), threading.Event()
    found = row(Sweep("hang", hang, matrix={"n": [1]}, retry=QUICK_RETRY), tmp_path)

    assert found.values == {"value": 1}
    released.set()
    assert went_on.wait(60)


def test_awaiting_a_task_that_was_cancelled_fails_its_cell_alone(tmp_path: Path) -> None:
    @job
    async def await_cancelled(n: int) -> int:
        future: asyncio.Future[int] = asyncio.get_running_loop().create_future()
        if n == 1:
            future.cancel()
        else:
            future.set_result(n)
        return await future

    found = rows(Sweep("cancelled", await_cancelled, matrix={"n": range(3)}), tmp_path)

    assert [row.error for row in found] == [None, "CancelledError", None]


def test_a_generator_that_raises_while_it_is_read_fails_its_cell(tmp_path: Path) -> None:
    @job
    def generate(n: int) -> Any:
        yield n
        raise ValueError("half-way")

    found = row(Sweep("generate", generate, matrix={"n": [1]}), tmp_path)

    assert "half-way" in str(found.error)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"retry_on": [int]}, "retry_on has <class 'int'>, which is no class of exceptions"),
        ({"retry_on": [ValueError("x")]}, "which is no class of exceptions"),
        ({"retry_on": BaseException}, "which is no class of exceptions"),
        ({"timeout_s": 0}, "timeout_s=0 must be above 0 seconds"),
        ({"rate_per_min": 0}, "rate_per_min=0 must be a whole number from 1"),
        ({"max_in_flight": 1.5}, "max_in_flight=1.5 must be a whole number from 1"),
        ({"processes": -1}, "processes=-1 must be a whole number from 1"),
        ({"version": ""}, "version='' must be text, such as \"1\""),
        ({"version": 2}, 'version=2 must be text, such as "1"'),
        ({"lane": "modle"}, "lane='modle' is none of its parameters: model"),
    ],
)
def test_a_wrong_option_of_the_decorator_is_refused(options: dict[str, Any], message: str) -> None:
    def function(model: str) -> str:
        return model

    with pytest.raises(UsageError) as refused:
        job(**options)(function)

    assert message in str(refused.value)
    assert "function: " in str(refused.value)

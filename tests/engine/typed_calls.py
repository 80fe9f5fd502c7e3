"""What type checkers must say of the public API: `tests/engine/test_typing.py` has them read this file.

`assert_type` must hold. A line with `type: ignore` and `pyright: ignore` must be an error: both checkers report a
comment that ignores nothing.
"""

from collections.abc import Callable
from typing import Any, assert_type

import pandas

from engine import (
    BlockingContext,
    BlockingRun,
    FunctionJob,
    JobContext,
    Row,
    Run,
    Status,
    Sweep,
    Transient,
    chat,
    job,
    open_engine,
    open_run,
)


@job
async def bare(text: str, width: int = 4) -> float:
    return len(text) / width


@job(version="2", lane="model", rate_per_min=60, retry_on=(OSError, TimeoutError), timeout_s=1.5)
async def waits(model: str, seed: int, ctx: JobContext) -> dict[str, int]:
    permit = await ctx.permit("mine", rate_per_min=60)
    await permit.start()
    ctx.progress(1, 2)
    assert_type(await ctx.cached({"model": model}, fetched), bytes)
    if ctx.job.attempt > 3:
        raise Transient("again", retry_after_s=1.0)
    return {"seed": seed}


@job(processes=2, retry_on=OSError)
def plain(number: int) -> str:
    return "x" * number


@job(max_in_flight=4)
def in_threads(number: int, context: BlockingContext) -> bool:
    context.permit("mine", rate_per_min=60)
    assert_type(context.cached({"number": number}, lambda: b""), bytes)
    return number > 0


async def fetched() -> bytes:
    return b""


async def call_directly(ctx: JobContext, blocking: BlockingContext) -> None:
    """A decorated function keeps its own signature."""
    assert_type(await bare("text"), float)
    assert_type(await waits("a", seed=1, ctx=ctx), dict[str, int])
    assert_type(plain(3), str)
    assert_type(in_threads(3, blocking), bool)
    same: Callable[[int], str] = plain

    await bare(7)  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    await bare("text", height=4)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    await waits("a", 1)  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    plain("three")  # type: ignore[arg-type]  # pyright: ignore[reportArgumentType]
    number: int = same(3)  # type: ignore[assignment]  # pyright: ignore[reportAssignmentType]
    job(version=1)  # type: ignore[call-overload]  # pyright: ignore[reportArgumentType]
    job(rate="fast")  # type: ignore[call-overload]  # pyright: ignore[reportCallIssue]
    assert number


def run_blocking() -> None:
    """Sweeps and runs of scripts."""
    sweep = Sweep("typed", plain, matrix={"number": range(3)}, cases=[{"number": 7}], repeats=2)
    run = sweep.run(store="typed.db")
    assert_type(run, BlockingRun)
    assert_type(open_run("typed", "typed.db"), BlockingRun)
    assert_type(run.status(), Status)
    for row in run.rows():
        assert_type(row, Row)
        assert_type(row.failure_rate, float | None)
    assert_type(run.to_pandas(), pandas.DataFrame)
    assert_type(chat("typed", models="a", inputs=["Hi"], temperatures=[0.0]), Sweep)

    Sweep("typed")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    chat("typed", models="a")  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]
    Sweep("typed", plain, matrices={})  # type: ignore[call-arg]  # pyright: ignore[reportCallIssue]


async def run_async(sweep: Sweep) -> None:
    """The same in async code."""
    async with open_engine("typed.db") as engine:
        run = await engine.submit(sweep)
        assert_type(run, Run)
        assert_type(await run.execute(), Status)
        async for row in run.rows():
            assert_type(row, Row)


def use_metadata(function: FunctionJob[..., Any]) -> str:
    """What a decorated function says of itself."""
    assert_type(function.name, str)
    return function.version

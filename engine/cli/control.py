"""Commands that change a run through its store, also while other processes work on it."""

from typing import TYPE_CHECKING, Annotated, Literal

import typer

from engine.cli import output
from engine.cli.opening import open_existing
from engine.cli.options import DEFAULT_STORE, JsonOption, RunArgument, StoreOption

if TYPE_CHECKING:
    from engine.core.status import Status


def pause(
    run: RunArgument = None, store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False
) -> None:
    """Stop sending until somebody says `resume`.

    Processes that work on the run notice within seconds, and end.
    """
    status = _change("pause", run, store)
    if as_json:
        output.json_data(status)
    output.say(f"{status.run} is paused; go on: {output.command('resume', status.run, store)}")


def cancel(
    run: RunArgument = None, store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False
) -> None:
    """Cancel what has no answer yet; results stay."""
    status = _change("cancel", run, store)
    if as_json:
        output.json_data(status)
    again = output.command("retry", status.run, store, "--cancelled")
    output.say(f"{status.run} is cancelled; to take it back: {again}")


def retry(
    run: RunArgument = None,
    store: StoreOption = DEFAULT_STORE,
    failed: Annotated[
        bool, typer.Option("--failed", help="Jobs that have failed (when nothing is said).")
    ] = False,
    cancelled: Annotated[
        bool, typer.Option("--cancelled", help="Jobs that were cancelled.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Put back jobs that failed or were cancelled.

    With neither option, those that failed. `resume` then sends them.
    """
    import anyio

    async def requeue() -> tuple[str, int]:
        async with open_existing(store) as engine:
            found = await engine.run(run)
            return found.name, await found.retry(
                failed=failed or not cancelled, cancelled=cancelled
            )

    name, count = anyio.run(requeue)
    if as_json:
        output.json_data({"run": name, "requeued": count})
    next_step = f"; send them: {output.command('resume', name, store)}" if count else ""
    output.say(f"{name}: {count:,} jobs put back{next_step}")


def _change(change: Literal["pause", "cancel"], name: str | None, store: str) -> "Status":
    import anyio

    async def apply() -> "Status":
        async with open_existing(store) as engine:
            run = await engine.run(name)
            await (run.pause() if change == "pause" else run.cancel())
            return await run.status()

    return anyio.run(apply)

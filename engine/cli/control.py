"""Commands that change a run through its store, also while other processes work on it."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli import output
from engine.cli.opening import check_exists, open_existing
from engine.cli.options import (
    DEFAULT_STORE,
    JsonOption,
    NamedRunArgument,
    ProgressOption,
    RunArgument,
    StoreOption,
)
from engine.cli.run import finish

if TYPE_CHECKING:
    from engine.core.status import Status
    from engine.session import Engine, Run

_MANY = 50_000
"""Of fewer jobs, which take some seconds, no progress is shown."""


def pause(
    run: RunArgument = None, store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False
) -> None:
    """Stop sending until `resume`.

    Processes that work on the run notice within seconds, and end.
    """
    from engine.cli.running import run_command

    async def apply() -> None:
        async with open_existing(store) as engine:
            found = await engine.run(run)
            await found.pause()
            state = await found.state()
            # Before the status, which takes longer.
            if state != "paused":
                output.say(f"{found.name} is {state}: there is nothing to pause")
            else:
                resume = output.command("resume", found.name, store)
                output.say(f"{found.name} is paused", f"resume:  {resume}")
            if as_json:
                output.write_json(await found.status())

    run_command(apply)


def cancel(
    run: RunArgument = None, store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False
) -> None:
    """Cancel what has no answer yet; results stay."""
    from engine.cli.running import run_command

    async def apply() -> None:
        async with open_existing(store) as engine:
            found = await engine.run(run)
            await found.cancel(on_progress=_say_progress(found.name, "cancelled"))
            state = await found.state()
            if state != "cancelled":
                output.say(f"{found.name} is {state}: there is nothing to cancel")
            else:
                again = output.command("retry", found.name, store, "--cancelled")
                output.say(f"{found.name} is cancelled; its results stay", f"undo:    {again}")
            if as_json:
                output.write_json(await found.status())

    run_command(apply)


def retry(
    run: RunArgument = None,
    store: StoreOption = DEFAULT_STORE,
    failed: Annotated[bool, typer.Option("--failed", help="Jobs that have failed.")] = False,
    cancelled: Annotated[
        bool, typer.Option("--cancelled", help="Jobs that were cancelled.")
    ] = False,
    unanswered: Annotated[
        bool,
        typer.Option("--unanswered", help="Jobs with questions that have no answer."),
    ] = False,
    run_now: Annotated[
        bool,
        typer.Option(
            "--run",
            envvar="NIGHTSWEEP_RETRY_RUN",
            help="Send them at once, in the foreground, as `resume` does.",
        ),
    ] = False,
    progress_every: ProgressOption = 10,
    as_json: JsonOption = False,
) -> None:
    """Put back jobs that failed, were cancelled or lack answers.

    Without an option, those that failed or lack answers. `resume` then sends them, or `--run` at once.
    """
    from engine.cli.running import run_command

    is_default = not (failed or cancelled or unanswered)

    async def put_back(found: "Run") -> int:
        count = await found.retry(
            failed=failed or is_default,
            cancelled=cancelled,
            unanswered=unanswered or is_default,
            on_progress=_say_progress(found.name, "put back"),
        )
        output.say(f"{found.name}: {count:,} job{'' if count == 1 else 's'} put back")
        return count

    async def requeue() -> tuple[str, int]:
        async with open_existing(store) as engine:
            found = await engine.run(run)
            return found.name, await put_back(found)

    async def requeue_in_foreground(engine: "Engine") -> "Run":
        from engine.session import try_opening

        found = await engine.run(run)
        await try_opening(found.sweep, engine.clock)
        await put_back(found)
        return found

    if run_now:
        check_exists(store)
        finish(requeue_in_foreground, store, progress_every, as_json)
    name, count = run_command(requeue)
    if as_json:
        output.write_json({"run": name, "requeued": count})
    if count:
        output.say(f"resume:  {output.command('resume', name, store)}")


def rename(
    run: NamedRunArgument,
    name: Annotated[str, typer.Argument(metavar="NEW", help="What it is to be called.")],
    store: StoreOption = DEFAULT_STORE,
    as_json: JsonOption = False,
) -> None:
    """Give a run another name.

    Its answers and what it has used of its limits stay with it. Change the name in its sweep file, too.
    """
    from engine.cli.running import run_command
    from engine.core.runs import RunState
    from engine.documents.yaml import to_yaml

    async def apply() -> "Status":
        async with open_existing(store) as engine:
            return await (await engine.rename(run, name)).status()

    status = run_command(apply)
    if as_json:
        output.write_json(status)
    output.say(
        f"{run} was renamed to {name}",
        f"write `name: {to_yaml(name)}` in its sweep file, too: a file that has the old name starts another run",
    )
    if status.state is not RunState.FINISHED:
        output.say(f"resume:  {output.command('resume', name, store)}")


def _say_progress(run: str, what: str) -> Callable[[int, int | None], None]:
    """Say how many of many jobs are done; what the store knows already goes on if the command is stopped."""
    said = 0

    def say(done: int, total: int | None) -> None:
        nonlocal said
        if total is None and what == "cancelled":
            output.say(f"{run}: nothing more is sent")
        if total is None or total < _MANY:
            return
        if not done:
            output.say(
                f"{run}: {total:,} jobs are being {what}; if this is stopped, repeat it for the rest"
            )
        elif done - said >= _MANY:
            said = done
            output.say(f"{run}: {done:,} of {total:,} jobs {what}")

    return say

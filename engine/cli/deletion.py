"""`delete` and `prune`: removing runs, and giving back the space that they took."""

from functools import partial
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli import output
from engine.cli.opening import is_in_file, open_existing, open_for_reading
from engine.cli.options import DEFAULT_STORE, JsonOption, NamedRunArgument, StoreOption
from engine.core.errors import Interrupted, StoreError, UsageError
from engine.core.listing import quantity
from engine.core.states import State
from engine.core.terminal import plain

if TYPE_CHECKING:
    from engine.core.status import Deleted, Pruned


def delete(
    run: NamedRunArgument,
    store: StoreOption = DEFAULT_STORE,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Delete a run with its jobs, results and answers.

    Answers that other runs reuse stay. Refused while a process works on the run.
    """
    from engine.cli.running import run_command

    if not yes:
        _confirm(run, run_command(partial(_describe, store, run)))
    gone: list[int] = []

    async def apply() -> "Deleted":
        async with open_existing(store) as engine:
            return await engine.delete(run, on_progress=gone.append)

    try:
        done = run_command(apply)
    except (Interrupted, StoreError):
        if gone:
            # `prune` also deletes the rest if the run's row is already gone.
            rest = output.command("prune", None, store)
            output.say(f"{quantity(gone[-1], 'job')} of {run} deleted; delete the rest: {rest}")
        raise
    if as_json:
        output.write_json(done)
    _report_deleted(done)
    if is_in_file(store):
        output.say(f"{quantity(done.bytes, 'byte')} free in the store")
        output.say(f"make the file smaller: {output.command('prune', None, store)}")


def prune(store: StoreOption = DEFAULT_STORE, as_json: JsonOption = False) -> None:
    """Remove what no run refers to, and make the store smaller.

    Completes a `delete` that was cut short. While another process works on the store, its file keeps its size. A
    server reuses the space by itself.
    """
    from engine.cli.running import run_command

    async def apply() -> "Pruned":
        async with open_existing(store) as engine:
            return await engine.prune()

    done = run_command(apply)
    if as_json:
        output.write_json(done)
    for one in done.deleted:
        _report_deleted(one)
    removed = (
        f"removed {quantity(done.documents, 'document')} (prompts and the like) and"
        f" {quantity(done.workers, 'note')} of processes"
    )
    if not is_in_file(store):
        output.say(f"{removed}; the server's autovacuum makes their space usable again")
        return
    output.say(f"{removed}; {done.bytes:,} bytes given back")
    if not done.compacted:
        output.say("another process works on the store: the file keeps its size until it has ended")


async def _describe(store: str, run: str) -> str:
    """A run in a few words, for the question; raises UsageError if it does not exist."""
    async with open_for_reading(store) as engine:
        found = next((one for one in await engine.runs() if one.name == run), None)
        if found is None:
            await engine.run(run)  # raises UsageError with the runs that exist
            raise UsageError(f"{run} has just been made; try again")
    answers = found.jobs.get(State.SUCCEEDED, 0)
    return f"{quantity(answers, 'answer')} of {quantity(sum(found.jobs.values()), 'job')}"


def _report_deleted(done: "Deleted") -> None:
    output.say(
        f"{done.run} is deleted: {quantity(done.jobs, 'job')}, {quantity(done.answers, 'answer')},"
        f" {quantity(done.documents, 'document')}"
    )
    if done.answers_kept:
        output.say(f"{quantity(done.answers_kept, 'answer')} kept: other runs reuse them")


def _confirm(run: str, described: str) -> None:
    if not output.can_ask():
        raise UsageError(
            f"{run} was not deleted, since there is no terminal to ask on: `--yes` deletes it, with {described}"
        )
    question = f"Delete {run} with {described}? This cannot be undone"
    if not typer.confirm(plain(question), err=True):
        raise UsageError(f"{run} was not deleted")

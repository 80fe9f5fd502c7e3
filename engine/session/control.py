"""The state of a run in the store: found, made active, cancelled, and set at the end of an execution."""

from engine.core.errors import UsageError
from engine.core.runs import EventKind, RunState, StopReason
from engine.scheduler import Stop
from engine.store import OnProgress, RunRow, Store, refuse_if_deleting


async def find_row(store: Store, known: RunRow) -> RunRow:
    """The row of a run as it is now; raises UsageError if the run was deleted or renamed since it was `known`."""
    row = await store.reader.find_run(known.name)
    if row is None or row.id != known.id:
        raise UsageError(f"the run {known.name!r} was deleted or renamed")
    refuse_if_deleting(row)
    return row


async def activate(
    store: Store,
    known: RunRow,
    account: str | None = None,
    account_label: str = "",
    *,
    joins: bool = False,
) -> bool:
    """Set a run's state to active; a cancellation that was interrupted is completed first.

    `account` names whose rate and quota it uses; None leaves that as it is. With `joins`, a run that is paused,
    cancelled or finished stays so. Returns whether the run may be worked on.
    """
    if (await find_row(store, known)).state is RunState.CANCELLED and not joins:
        await cancel_open(store, known.id)
    return await store.runs.activate(known.id, account, account_label, joins=joins)


async def cancel_open(store: Store, run_id: int, on_progress: OnProgress | None = None) -> int:
    """Cancel the jobs of a cancelled run that have no answer; returns how many, once all are."""
    count = await store.queue.cancel(run_id, on_progress)
    await store.runs.set_state(
        run_id,
        RunState.CANCELLED,
        reason=StopReason.CANCELLED,
        message="cancelled; `nightsweep retry --cancelled` puts its jobs back in line",
        unless=[state for state in RunState if state is not RunState.CANCELLED],
    )
    return count


async def conclude(store: Store, known: RunRow, stop: Stop | None) -> None:
    """Set the state of a run whose execution has ended: `stop` says why, None that it is done.

    Raises StoreError if it cannot be committed.
    """
    if stop is None:
        row = await find_row(store, known)
        # A run that was cancelled during the last requests stays cancelled. If its sweep was changed, and
        # the new one is not written out yet, there is more to do.
        await store.runs.set_state(
            known.id,
            RunState.FINISHED if row.is_expanded else RunState.ACTIVE,
            message=""
            if row.is_expanded
            else "the sweep was changed meanwhile; `nightsweep resume` continues with the new one",
            unless=(RunState.CANCELLED,),
        )
    elif stop.reason is StopReason.CANCELLED:
        await cancel_open(store, known.id)
    else:
        await store.runs.set_state(
            known.id,
            RunState.PAUSED if stop.reason is StopReason.PAUSED else RunState.ACTIVE,
            reason=stop.reason,
            message=stop.message,
            resume_at=stop.resume_at,
            unless=(RunState.CANCELLED,),
        )
        await store.runs.add_event(known.id, EventKind(stop.reason), stop.message)

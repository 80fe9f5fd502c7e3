"""Runs as such: taking them up, their states and names, and their events."""

from collections.abc import (
    Iterable,
    Sequence,
)

from sqlalchemy import update
from sqlalchemy.engine import Connection

from engine.clock import Clock
from engine.core.errors import UsageError
from engine.core.provenance import Fact
from engine.core.runs import RunState, StopReason
from engine.store.queries import (
    accounts,
    runs,
)
from engine.store.queries.runs import NewRun, RunRow
from engine.store.schema import event, run
from engine.store.writer import Writer


class RunChanges:
    """What changes the row of a run, and tells of it."""

    def __init__(self, clock: Clock, writer: Writer) -> None:
        self._clock = clock
        self._writer = writer

    async def begin(self, new: NewRun) -> RunRow:
        """Create the run of a sweep, or take up the one of its name; see `runs.begin`."""
        now = self._clock.now()
        return await self._writer.write(lambda connection: runs.begin(connection, new, now=now))

    async def record_facts(
        self, name: str, facts: Sequence[Fact], *, accepts: bool = False
    ) -> None:
        """Note what decides the answers of a run from now on; see `runs.record_facts`."""
        now = self._clock.now()

        def work(connection: Connection) -> None:
            found = runs.find(connection, name)
            if found is None:
                raise UsageError(f"the run {name!r} was deleted")
            runs.record_facts(connection, found, facts, accepts=accepts, now=now)

        await self._writer.write(work)

    async def activate(self, run_id: int, account: str | None = None, told: str = "") -> None:
        """Say that a run is worked on, unless it is finished and nothing of it is left to do.

        `account` is whose rates and quota it uses from now on, shown as `told`; None leaves both unchanged.
        A finished run keeps its state: the process that finished it may still be reading it.
        """
        now = self._clock.now()

        def work(connection: Connection) -> None:
            runs.activate(connection, run_id, account, now=now)
            if account is not None and told:
                accounts.carry_over(connection, told, account)

        await self._writer.write(work)

    async def set_state(
        self,
        run_id: int,
        state: RunState,
        *,
        reason: StopReason | None = None,
        message: str = "",
        resume_at: float | None = None,
        unless: Iterable[RunState] = (),
    ) -> None:
        """Set a run's state, unless it is in one of `unless` by now, or is being deleted."""
        await self._writer.write(
            lambda connection: connection.execute(
                update(run)
                .where(run.c.id == run_id, run.c.state.not_in([*unless, RunState.DELETING]))
                .values(
                    state=state,
                    reason=reason,
                    message=message,
                    resume_at=resume_at,
                    updated_at=self._clock.now(),
                )
            )
        )

    async def rename_run(self, of: RunRow, name: str, caps: Iterable[tuple[str, str]]) -> RunRow:
        """Give a run another name; see `runs.rename`."""
        now = self._clock.now()
        return await self._writer.write(
            lambda connection: runs.rename(connection, of, name, caps, now=now)
        )

    async def add_event(
        self, run_id: int | None, kind: str, message: str, *, lane: str | None = None
    ) -> None:
        """Add to the event log: what the morning report tells."""
        await self._writer.write(
            lambda connection: connection.execute(
                event.insert().values(
                    run_id=run_id, at=self._clock.now(), kind=kind, lane=lane, message=message
                )
            )
        )

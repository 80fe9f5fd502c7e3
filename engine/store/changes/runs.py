"""Runs themselves: their creation, states, names and events."""

from collections.abc import (
    Iterable,
    Sequence,
)

from sqlalchemy.engine import Connection

from engine.clock import Clock
from engine.core.errors import UsageError
from engine.core.provenance import Fact
from engine.core.runs import RunState, StopReason
from engine.store.queries import (
    accounts,
    events,
    runs,
)
from engine.store.queries.runs import NewRun, RunRow
from engine.store.writer import Writer


class RunChanges:
    """Changes the rows of runs, and adds events.

    Each change is durable when its method returns. All methods raise StoreError if they cannot commit.
    """

    def __init__(self, clock: Clock, writer: Writer) -> None:
        self._clock = clock
        self._writer = writer

    async def begin(self, new: NewRun) -> RunRow:
        """Create the run of a sweep, or give the existing run of its name the sweep.

        Raises UsageError if the existing run evaluates something else or is being deleted, and
        IdentityChanged if what determines its answers has changed and that is not accepted.
        """
        now = self._clock.now()
        return await self._writer.write(lambda connection: runs.begin(connection, new, now=now))

    async def record_facts(
        self, name: str, facts: Sequence[Fact], *, accepts: bool = False
    ) -> None:
        """Record what determines the answers of a run from now on.

        Raises UsageError if the run was deleted, and IdentityChanged if the facts differ from those recorded
        before, unless the change is accepted. A change of the judge cannot be accepted once there are
        answers.
        """
        now = self._clock.now()

        def work(connection: Connection) -> None:
            found = runs.find(connection, name)
            if found is None:
                raise UsageError(f"the run {name!r} was deleted")
            runs.record_facts(connection, found, facts, accepts=accepts, now=now)

        await self._writer.write(work)

    async def activate(
        self,
        run_id: int,
        account: str | None = None,
        display_name: str = "",
        *,
        joins: bool = False,
    ) -> bool:
        """Make a run active, unless it is finished and has no open job; returns whether it may be worked on.

        `account` is the account whose rates and quota it uses from now on, shown to users as `display_name`; None
        leaves both unchanged. A finished run keeps its state: the process that finished it may still be reading it.
        With `joins`, a run that is not active is left as it is, and may not be worked on.
        """
        now = self._clock.now()

        def work(connection: Connection) -> bool:
            is_open = runs.activate(connection, run_id, account, joins=joins, now=now)
            if is_open and account is not None and display_name:
                accounts.rename_account(connection, display_name, account)
            return is_open

        return await self._writer.write(work)

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
        """Set a run's state, unless it is now in one of the states `unless` or being deleted.

        `message` says what prevents it from continuing and what to do, and `resume_at` when it can continue,
        in seconds since the Unix epoch.
        """
        await self._writer.write(
            lambda connection: runs.set_state(
                connection,
                run_id,
                state,
                reason=reason,
                message=message,
                resume_at=resume_at,
                unless=unless,
                now=self._clock.now(),
            )
        )

    async def rename_run(self, of: RunRow, name: str, caps: Iterable[tuple[str, str]]) -> RunRow:
        """Rename a run, and with it its sweep and its own quotas; returns the renamed run.

        `caps` are the (old, new) names of these quotas. Raises UsageError if the name is taken or the run has
        changed since it was read.
        """
        now = self._clock.now()
        return await self._writer.write(
            lambda connection: runs.rename(connection, of, name, caps, now=now)
        )

    async def add_event(
        self, run_id: int | None, kind: str, message: str, *, lane: str | None = None
    ) -> None:
        """Add an event to the log, which reports and `nightsweep events` show.

        `kind` is an EventKind or a word of a job kind's own.
        """
        await self._writer.write(
            lambda connection: events.add(
                connection, run_id, kind, message, lane=lane, now=self._clock.now()
            )
        )

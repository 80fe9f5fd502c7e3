"""An open store and the sweeps submitted to it."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from itertools import count
from pathlib import Path
from typing import Any

from engine.clock import Clock, SystemClock
from engine.core.errors import UsageError
from engine.core.inspection import JobDetails
from engine.core.lanes import LaneState, waits_elsewhere
from engine.core.nearest import suggestion
from engine.core.provenance import differences
from engine.core.runs import EventKind, RunState, StopReason
from engine.core.status import Backup, Deleted, Plan, Pruned, RunInfo
from engine.core.stores import store_path
from engine.registry import Registry
from engine.scheduler import cap_names
from engine.session.checking import settle_groups, try_opening
from engine.session.holdings import holdings
from engine.session.identity import Identity
from engine.session.inspection import find_job
from engine.session.planning import with_times
from engine.session.run import Run, costs_of
from engine.settings import Settings
from engine.store import (
    Memory,
    NewRun,
    RunRow,
    Store,
    open_for_reading,
    open_memory_store,
    open_store,
    refuse_if_deleting,
)
from engine.sweep import Sweep, check_name


@asynccontextmanager
async def open_engine(
    store: str | Path | Memory = "nightsweep.db",
    *,
    registry: Registry | None = None,
    clock: Clock | None = None,
    settings: Settings | None = None,
    read_only: bool = False,
) -> AsyncIterator["Engine"]:
    """Open a store, creating it if there is none; everything else is done through it.

    It is named by the path of its file, or by a URL: `sqlite:///night.db`, with four slashes for an absolute path.
    A `Memory` (of `engine.testing`) is a store without a file.

    With `read_only` the store must be there and nothing is written, neither in it nor beside it: it can
    be looked at while another process holds it, on a full disk, and by a user who may only read. One of
    an older version is read from a private copy. What would change the store raises UsageError.

    Raises StoreError when the store cannot be used, and UsageError for what names no file.
    """
    clock = clock or SystemClock()
    async with _open(store, clock, read_only=read_only) as opened:
        yield Engine(
            opened,
            registry or Registry.installed(),
            clock,
            settings or Settings.from_environment(),
        )


def _open(
    store: str | Path | Memory, clock: Clock, *, read_only: bool
) -> AbstractAsyncContextManager[Store]:
    if isinstance(store, Memory):
        return open_memory_store(store, clock, read_only=read_only)
    path = Path(store_path(str(store)))
    return open_for_reading(path, clock) if read_only else open_store(path, clock)


class Engine:
    """An open store with what is needed to run sweeps in it."""

    def __init__(self, store: Store, registry: Registry, clock: Clock, settings: Settings) -> None:
        self.store = store
        self.registry = registry
        self.clock = clock
        self.settings = settings
        self._executing: set[int] = set()

    async def submit(self, sweep: Sweep, *, accept: bool = False, fresh: bool = False) -> Run:
        """The run of a sweep's name, made or changed to what the sweep asks for; nothing is sent.

        `groups: all` is asked of the service once and then stays as it was pinned. Raises UsageError
        when the run of this name evaluates something else, and IdentityChanged when its answers were
        decided by something else, such as other cases, unless the change is accepted for the cells that
        are not answered yet.

        `fresh` asks everything again: nothing that the store holds is taken over, neither answers of
        other runs nor those of this one, which stay until there are others, nor replies of earlier calls.
        That holds for the run from then on, however often it is stopped and resumed; submitting it fresh
        once more asks everything again. Raises UsageError when a process has jobs of the run in flight.
        """
        if fresh:
            await self._check_idle(sweep.name)
        pinned: Sequence[str] | None = None
        if sweep.groups_pending:
            pinned = await self._find_pinned_groups(sweep.name)
            sweep = (
                sweep.with_groups(pinned)
                if pinned
                else await settle_groups(sweep, self.clock, self.store)
            )
            pinned = sweep.groups()
        new = self._new_run(sweep, pinned, accept=accept, fresh=fresh)
        return self._run(await self.store.runs.begin(new), sweep)

    def _new_run(
        self, sweep: Sweep, pinned: Sequence[str] | None, *, accept: bool, fresh: bool
    ) -> NewRun:
        return NewRun(
            name=sweep.name,
            service=sweep.service_kind,
            evaluation=sweep.evaluation,
            target=sweep.target,
            identity=sweep.service.identity,
            sweep={"sweep": sweep.dump(), "pinned_groups": pinned},
            digest=sweep.digest,
            facts=Identity(sweep).facts,
            accepts=accept,
            is_fresh=fresh,
        )

    async def _check_idle(self, name: str) -> None:
        """Raise UsageError while a run has jobs in flight: their answers would count as fresh."""
        row = await self.store.reader.find_run(name)
        if row is None:
            return
        await self.store.worker.reclaim_from_dead()
        if row.id in self._executing or await self.store.reader.count_peers(row.id):
            raise UsageError(
                f"a process works on the run {name!r}: stop it before everything is asked again"
            )

    async def rejudge(
        self,
        run: str | None = None,
        *,
        judging: Mapping[str, Any] | None = None,
        thresholds: Sequence[float] | None = None,
        name: str | None = None,
        ask_missing: bool = False,
    ) -> Run:
        """Make a run that judges the kept replies of another run again; nothing is sent.

        `judging` holds what changes of the service's settings, such as `{"judge": "rules"}`; without it
        the judge is that of the first run, as this version has it. Nobody but a judge is asked, so that
        a cell fails whose replies are not all kept; with `ask_missing` those are asked for. Without a
        `name` the run is called after the first. Raises UsageError where the service judges itself, and
        where the judge's key is missing.
        """
        first = await self.run(run)

        def sweep(called: str) -> Sweep:
            return first.sweep.judging_again(
                called, judging or {}, thresholds=thresholds, asks_missing=ask_missing
            )

        wanted = sweep(name or await self._free_name(first.name, sweep))
        await try_opening(wanted, self.clock)
        is_new = await self.store.reader.find_run(wanted.name) is None
        again = await self.submit(wanted)
        if is_new:
            await again.note(EventKind.REJUDGED, f"judges the replies that {first.name} has kept")
        elif ask_missing:
            await again.retry()
        return again

    async def _free_name(self, of: str, sweep: Callable[[str], Sweep]) -> str:
        """The first name after a run's that is not taken by a run of another judge or other cells."""
        for number in count(1):
            name = f"{of}-rejudged" + (f"-{number}" if number > 1 else "")
            row = await self.store.reader.find_run(name)
            if row is None:
                return name
            same = sweep(name)
            facts = Identity(same).facts
            if row.digest == same.digest and not differences(row.provenance, facts):
                return name
        raise AssertionError("numbers do not end")

    async def plan(self, sweep: Sweep, *, accept: bool = False, fresh: bool = False) -> Plan:
        """What a sweep would ask for, as far as this store knows what answers cost; nothing is sent.

        `held` of the plan says what the store holds of it already, and what is left for a run that is
        submitted with these options.
        """
        if sweep.groups_pending and (pinned := await self._find_pinned_groups(sweep.name)):
            sweep = sweep.with_groups(pinned)
        whose = costs_of(sweep.service.identity, sweep.evaluation, sweep.target)
        costs = await self.store.reader.costs(whose)
        now = self.clock.now()
        found = with_times(sweep.plan(costs, await self.store.reader.usage()), sweep.limits, now)
        if sweep.groups_pending:
            return found
        new = self._new_run(sweep, None, accept=accept, fresh=fresh)
        try:
            of = await self.store.reader.preview(new)
        except UsageError as error:
            refusal = f"what the store holds, since `run` would refuse: {error}"
            return replace(found, unknown=(*found.unknown, refusal))
        identity = Identity(sweep)
        return replace(found, held=await holdings(self.store, sweep, of, identity, costs, now))

    async def _find_pinned_groups(self, name: str) -> Sequence[str] | None:
        """What `groups: all` stands for in the run of a name, if it was asked for there."""
        row = await self.store.reader.find_run(name)
        return None if row is None else row.sweep["pinned_groups"]

    async def run(self, name: str | None = None) -> Run:
        """The run of a name, or without one the run that was used last.

        Raises UsageError when there is none.
        """
        return self._run_of(await self._find_row(name))

    async def _find_row(self, name: str | None) -> RunRow:
        row = await self._find_any_row(name)
        refuse_if_deleting(row)
        return row

    async def _find_any_row(self, name: str | None) -> RunRow:
        row = await self.store.reader.find_run(name)
        if row is None:
            known = [one.name for one, _ in await self.store.reader.runs()]
            what = "is empty" if name is None else f"has no run {name!r}{suggestion(name, known)}"
            raise UsageError(f"{self.store.path}: the store {what}")
        return row

    async def job(self, name: int | str) -> JobDetails:
        """One job of any run of the store, as `Run.job` tells it."""
        job_id, run_id = await find_job(self.store, str(name))
        for row, _ in await self.store.reader.runs():
            if row.id == run_id:
                return await self._run_of(row).job(job_id)
        raise UsageError(f"the run of the job {name} was deleted")

    async def runs(self) -> list[RunInfo]:
        """All runs of the store, the latest first, with what they wait for in other processes."""
        return [
            RunInfo(
                name=row.name,
                service=row.service,
                evaluation=row.evaluation,
                state=row.state,
                reason=None if row.reason is None else StopReason(row.reason),
                created_at=row.created_at,
                updated_at=row.updated_at,
                jobs={state.value: count for state, count in jobs.items()},
                lanes=await self._lanes_elsewhere(row),
            )
            for row, jobs in await self.store.reader.runs()
        ]

    async def _lanes_elsewhere(self, row: RunRow) -> tuple[LaneState, ...]:
        if row.state is not RunState.ACTIVE:
            return ()
        states = await self.store.worker.find_lanes_elsewhere(row.id)
        return tuple(waits_elsewhere(name, states) for name in sorted({one.name for one in states}))

    async def rename(self, name: str, new: str) -> Run:
        """Give a run another name; its answers, and what it has used of its own limits, stay its own.

        A sweep file that has the old name then makes a run of its own. Raises UsageError when there is no
        such run, the new name is taken or cannot be one, or a process works on the run.
        """
        try:
            check_name(new)
        except ValueError as error:
            raise UsageError(f"the name {new!r:.120} {error}") from None
        row = await self._idle(await self._find_row(name))
        if new == name:
            raise UsageError(f"the run is called {name!r} already")
        caps = list(zip(cap_names(name), cap_names(new), strict=True))
        renamed = await self.store.runs.rename_run(row, new, caps)
        return self._run_of(renamed)

    async def delete(self, name: str, *, told: Callable[[int], None] = lambda _: None) -> Deleted:
        """Delete a run with its jobs, results and answers; answers that other runs reuse stay.

        A large run goes in parts; `told` is called after each, with the number of jobs that are gone. After
        a crash between two of them its state says that it is being deleted, and it cannot be used any more:
        this, or `prune`, goes on with it. Raises UsageError when there is no such run, or when a process
        works on it.
        """
        return await self.store.removal.delete_run(
            await self._idle(await self._find_any_row(name)), cap_names(name), told
        )

    async def _idle(self, row: RunRow) -> RunRow:
        """The same run; raises UsageError when a process works on it."""
        name = row.name
        await self.store.worker.reclaim_from_dead()
        is_open = row.state in (RunState.ACTIVE, RunState.PAUSED)
        if row.id in self._executing or (is_open and not await self.store.worker.is_alone()):
            raise UsageError(
                f"the run {name!r} is {row.state}, and a process works on the store: wait for it, stop"
                f" it, or end the run first (`nightsweep cancel`)"
            )
        return row

    async def prune(self) -> Pruned:
        """Remove what no run refers to, such as the prompts of deleted runs, and make the file smaller.

        Runs whose deletion was cut short go first. While others work on the store the file keeps its size.
        Raises StoreError when there is no room to rewrite it.
        """
        await self.store.worker.reclaim_from_dead()
        deleted = [
            await self.store.removal.delete_run(row, cap_names(row.name))
            for row, _ in await self.store.reader.runs()
            if row.state is RunState.DELETING
        ]
        return replace(await self.store.removal.prune(), deleted=tuple(deleted))

    def between_commits(self) -> AbstractAsyncContextManager[None]:
        """Within the block nothing is committed: a process that is stopped there holds no lock of the store."""
        return self.store.worker.between_commits()

    async def backup(self, target: str | Path | None = None) -> Backup:
        """Copy the store to a new file, also while others work on it; by default in the store's folder.

        The copy is whole and can be resumed from. Raises StoreError when the file is there already
        or cannot be written.
        """
        chosen = None if target is None else Path(store_path(str(target)))
        return await self.store.back_up(chosen)

    def _run_of(self, row: RunRow) -> Run:
        return self._run(row, Sweep.restore(row.sweep["sweep"], self.registry))

    def _run(self, row: RunRow, sweep: Sweep) -> Run:
        return Run(self.store, self.clock, self.settings, row, sweep, self._executing)

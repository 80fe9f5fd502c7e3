"""An open store and the sweeps submitted to it."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from functools import partial
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
from engine.functions.source import stop_if_loading
from engine.locations import parse_file, parse_store
from engine.registry import Registry
from engine.scheduler import cap_names
from engine.session.cell_counts import choose_axes
from engine.session.checking import resolve_groups, try_opening
from engine.session.execution import Execution
from engine.session.holdings import find_stored_cells
from engine.session.identity import Identity, name_costs
from engine.session.inspection import find_job
from engine.session.planning import add_times
from engine.session.run import Run
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
from engine.sweep import Sweep, SweepFacts, check_name


@asynccontextmanager
async def open_engine(
    store: str | Path | Memory = "nightsweep.db",
    *,
    registry: Registry | None = None,
    clock: Clock | None = None,
    settings: Settings | None = None,
    read_only: bool = False,
) -> AsyncIterator["Engine"]:
    """Open a store within the block, creating it if there is none, and yield its `Engine`.

    `store` is the path of a file; a URL, `sqlite:///night.db` (with four slashes for an absolute path) or
    `postgresql://user@host/database`; or a `Memory` of `engine.testing`, which needs no file. A URL contains
    no password. Without a `registry` all installed services are known; without `settings` they come from the
    environment.

    With `read_only` the store must exist and nothing is written, neither in it nor next to it, so it can be
    read while another process holds it, on a full disk, and without write permission. A store of an older
    version is read from a private copy. Calls that would change the store raise UsageError.

    Raises StoreError if the store cannot be used, and UsageError if `store` names neither a file nor a
    database, or if psycopg is missing for one.

    Example:
        >>> async def main() -> object:
        ...     async with open_engine("halves.db") as engine:
        ...         run = await engine.run("halves")
        ...         return (await run.status()).cells_done
        >>> anyio.run(main)
        3
    """
    if not read_only:
        stop_if_loading()
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
    location = parse_store(store)
    return open_for_reading(location, clock) if read_only else open_store(location, clock)


class Engine:
    """An open store, and what is needed to run sweeps with it; `open_engine` makes it.

    `store`, `registry`, `clock` and `settings` are those it was opened with. All methods raise StoreError if
    the store cannot be read or written.

    Example:
        >>> async def main() -> object:
        ...     async with open_engine("halves.db") as engine:
        ...         run = await engine.submit(sweep)
        ...         status = await run.execute()
        ...         return [info.name for info in await engine.runs()], status.cells_done
        >>> anyio.run(main)
        (['halves'], 3)
    """

    def __init__(self, store: Store, registry: Registry, clock: Clock, settings: Settings) -> None:
        self.store = store
        self.registry = registry
        self.clock = clock
        self.settings = settings
        self._executing: dict[int, Execution] = {}

    async def submit(self, sweep: Sweep, *, accept: bool = False, fresh: bool = False) -> Run:
        """Create the run of a sweep, or change the run of that name to what the sweep asks for.

        No job is sent; the service is only asked, once, what `groups: all` stands for, and the run keeps
        these groups. Existing answers are kept. Raises UsageError if the run evaluates something else, and
        IdentityChanged if something that decides its answers has changed, such as cases or the judge. With
        `accept`, cells without an answer are asked with the change.

        With `fresh`, everything is asked again: neither answers of other runs, nor the run's own, nor kept
        replies of earlier calls are used. The old answers stay until there are new ones. This applies to the
        run from then on, however often it is stopped and resumed, until it is submitted fresh once more.
        Raises UsageError if a process has jobs of the run in flight.

        Example:
            >>> async def main() -> object:
            ...     async with open_engine("halves.db") as engine:
            ...         run = await engine.submit(sweep)
            ...         return run.name
            >>> anyio.run(main)
            'halves'
        """
        if fresh:
            await self._check_idle(sweep.name)
        pinned: Sequence[str] | None = None
        if sweep.groups_pending:
            pinned = await self._find_pinned_groups(sweep.name)
            sweep = (
                sweep.with_groups(pinned)
                if pinned
                else await resolve_groups(sweep, self.clock, self.store)
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
            grouped=choose_axes(sweep.matrix.axes, sweep.kind.folded_field),
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
        """Create a run that judges the kept replies of another run again, without executing it.

        `run` is the name of that run, by default the one used last. `judging` holds the settings of the
        service that change, such as `{"judge": "rules"}`; without it, the run's own judge is used in its
        current version. `thresholds` replaces those of the sweep. Only judges are called: a cell whose
        replies are not all kept fails, unless `ask_missing` lets the target be asked for them. Without
        `name`, the run is named after the first, with the ending `-rejudged`.

        Raises UsageError if the service judges its answers itself, if the judge's key is missing, or if there
        is no such run.
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
        """Compute what a sweep would send, from what earlier answers in this store have cost.

        Nothing is sent. `stored` of the plan is what the store already has of the sweep, and what is left if
        it is submitted with these options. It is None as long as only the service knows the groups. If
        `submit` would refuse the sweep, `unknown` has the reason.
        """
        if sweep.groups_pending and (pinned := await self._find_pinned_groups(sweep.name)):
            sweep = sweep.with_groups(pinned)
        costs_name = name_costs(sweep.service.identity, sweep.evaluation, sweep.target)
        costs = await self.store.reader.costs(costs_name)
        now = self.clock.now()
        found = add_times(sweep.plan(costs, await self.store.reader.usage()), sweep.limits, now)
        if sweep.groups_pending:
            return found
        new = self._new_run(sweep, None, accept=accept, fresh=fresh)
        try:
            of = await self.store.reader.preview(new)
        except UsageError as error:
            refusal = f"what the store has, since `run` would refuse: {error}"
            return replace(found, unknown=(*found.unknown, refusal))
        identity = Identity(sweep)
        stored = await find_stored_cells(self.store, sweep, of, identity, costs, now)
        return replace(found, stored=stored)

    async def _find_pinned_groups(self, name: str) -> Sequence[str] | None:
        """What `groups: all` stands for in the run of a name, if it was asked for there."""
        row = await self.store.reader.find_run(name)
        return None if row is None else row.sweep["pinned_groups"]

    async def run(self, name: str | None = None) -> Run:
        """Find a run by its name; without one, the run that was used last.

        Raises UsageError, with the nearest name, if there is no such run, or if it is partly deleted.
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
        """Find a job in any run of the store, by its `id` or the first digits of its `key`, at least six.

        Returns what `Run.job` returns. Raises UsageError if there is no such job, or more than one.
        """
        job_id, run_id = await find_job(self.store, str(name))
        for row, _ in await self.store.reader.runs():
            if row.id == run_id:
                return await self._run_of(row).job(job_id)
        raise UsageError(f"the run of job {name} was deleted")

    async def runs(self) -> list[RunInfo]:
        """All runs of the store, the last used first, with what their lanes wait for in other processes."""
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
        """Give a run another name; it keeps its answers and what it has used of its own limits.

        A sweep file with the old name then starts a new run. Raises UsageError if there is no such run, if
        the new name is taken or not allowed, or if a process works on the run.
        """
        try:
            check_name(new)
        except ValueError as error:
            raise UsageError(f"the name {new!r:.120} {error}") from None
        row = await self._find_row(name)
        await self._check_unused(row)
        if new == name:
            raise UsageError(f"the run is called {name!r} already")
        caps = list(zip(cap_names(name), cap_names(new), strict=True))
        renamed = await self.store.runs.rename_run(row, new, caps)
        return self._run_of(renamed)

    async def delete(
        self, name: str, *, on_progress: Callable[[int], None] = lambda _: None
    ) -> Deleted:
        """Delete a run with its jobs, results and answers; answers that other runs reuse are kept for them.

        A large run is deleted in parts; after each, `on_progress` is called with the number of jobs that are
        deleted so far. If this is interrupted, the run's state is `deleting`: only `delete` and `prune`
        accept it, and delete the rest. Raises UsageError if there is no such run, or if a process works on
        it.
        """
        row = await self._find_any_row(name)
        await self._check_unused(row)
        return await self.store.removal.delete_run(row, cap_names(name), on_progress)

    async def _check_unused(self, row: RunRow) -> None:
        """Raise UsageError if a process works on a run."""
        name = row.name
        await self.store.worker.reclaim_from_dead()
        is_open = row.state in (RunState.ACTIVE, RunState.PAUSED)
        if row.id in self._executing or (is_open and not await self.store.worker.is_alone()):
            raise UsageError(
                f"the run {name!r} is {row.state}, and a process works on the store: wait for it, stop"
                f" it, or end the run first (`nightsweep cancel`)"
            )

    async def prune(self) -> Pruned:
        """Remove what no run refers to, such as prompts of deleted runs, and shrink the store's file.

        Interrupted deletions are completed first. While another process works on the store, the file keeps
        its size, and `compacted` is False. Raises StoreError if there is no space to rewrite the file.
        """
        await self.store.worker.reclaim_from_dead()
        deleted = [
            await self.store.removal.delete_run(row, cap_names(row.name))
            for row, _ in await self.store.reader.runs()
            if row.state is RunState.DELETING
        ]
        return replace(await self.store.removal.prune(), deleted=tuple(deleted))

    def between_commits(self) -> AbstractAsyncContextManager[None]:
        """Hold back commits within the block: a process that stops itself there holds no lock of the store."""
        return self.store.worker.between_commits()

    async def backup(self, target: str | Path | None = None) -> Backup:
        """Copy the store to a new file, also while processes work on it; no file is overwritten.

        `target` is a path or URL; by default the copy is in the store's folder, with the time (UTC) in its
        name. It is complete, and runs can be resumed from it. Raises StoreError if the file exists or cannot
        be written, and UsageError for a store in memory.
        """
        chosen = None if target is None else parse_file(target)
        return await self.store.back_up(chosen)

    def _run_of(self, row: RunRow) -> Run:
        dump = row.sweep["sweep"]
        facts = SweepFacts.restore(dump)
        if facts is None:
            return self._run(row, Sweep.restore(dump, self.registry))
        # Most commands only read a run: its service, whose import takes long, is looked up if it is needed.
        return self._make_run(row, facts, partial(self._restore_sweep, row))

    def _restore_sweep(self, row: RunRow) -> Sweep:
        dump = row.sweep["sweep"]
        try:
            return Sweep.restore(dump, self.registry)
        except UsageError as error:
            lacking = f"the run {row.name!r} can be read here, but not executed: {error}"
            if dump["service"]["kind"] not in self.registry.services:
                declared_by = dump["facts"]["declared_by"]
                lacking += (
                    f"; it was submitted with {declared_by}: install the package that has it, in the same"
                    " version"
                )
            raise UsageError(lacking) from None

    def _run(self, row: RunRow, sweep: Sweep) -> Run:
        return self._make_run(row, SweepFacts.of(sweep), lambda: sweep)

    def _make_run(self, row: RunRow, facts: SweepFacts, find_sweep: Callable[[], Sweep]) -> Run:
        return Run(self.store, self.clock, self.settings, row, facts, find_sweep, self._executing)

"""One run: executed here, looked at and steered from anywhere."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path

from engine.clock import Clock
from engine.core.errors import UsageError
from engine.core.findings import Finding
from engine.core.inspection import EventFilter, JobDetails, JobFilter, JobInfo
from engine.core.loads import Load
from engine.core.model import Sends
from engine.core.reports import ReportData
from engine.core.runs import Event, RunState, StopReason
from engine.core.states import State
from engine.core.status import Status
from engine.report.words import cells_line
from engine.results.findings import findings
from engine.session import inspection
from engine.session.control import activate, cancel_open
from engine.session.execution import Execution
from engine.session.executor import Executor, Part
from engine.session.identity import Identity
from engine.session.reporting import MOST_EVENTS, gather_report
from engine.session.status import StatusReader
from engine.session.verdicts import RunVerdicts
from engine.settings import Settings
from engine.store import OnProgress, RunRow, Store
from engine.sweep import Sweep, SweepFacts


class Run(RunVerdicts):
    """One run in a store: executed in this process, and read and controlled from any.

    `Engine.submit` and `Engine.run` return it. `name` is the run's name, `sweep` what it asks for, and `facts`
    what reading it needs of that. Where the run's service is not installed, it can be read and controlled, but
    not executed: then `sweep` and what needs it raise UsageError. Methods that look the run up raise it once the
    run is deleted or renamed.

    Example:
        >>> async def main() -> object:
        ...     async with open_engine("halves.db") as engine:
        ...         run = await engine.submit(sweep)
        ...         await run.execute()
        ...         return [row.values["value"] async for row in run.rows()]
        >>> anyio.run(main)
        [0.5, 1.0, 1.5]
    """

    def __init__(
        self,
        store: Store,
        clock: Clock,
        settings: Settings,
        row: RunRow,
        facts: SweepFacts,
        find_sweep: Callable[[], Sweep],
        executing: dict[int, Execution],
    ) -> None:
        self.name = row.name
        self.facts = facts
        self._find_sweep = find_sweep
        self._store = store
        self._clock = clock
        self._settings = settings
        self._row = row
        # What this process executes, through any Run object, by the ids of the runs.
        self._executing = executing
        self._executor = Executor(store, clock, settings, row, executing)
        self._last: Status | None = None

    def __repr__(self) -> str:
        if self._last is None:
            return f"<run {self.name}>"
        return f"<run {self.name}: {self._last.state}, {cells_line(self._last)}>"

    def _repr_html_(self) -> str | None:
        """What a notebook shows: the status that was asked for last; the text where there is none."""
        return None if self._last is None else self._last._repr_html_()

    @property
    def was_paused(self) -> bool:
        """Whether the run was paused when it was looked up; executing it continues it."""
        return self._row.state is RunState.PAUSED

    async def execute(self) -> Status:
        """Send everything that has no answer yet, until it is done or something stops the run.

        Returns the status at the end; its `reason` says why cells are left. Raises UsageError or StoreError
        if the run cannot be executed, StoreLost if its store vanishes, and IdentityChanged if something that
        decides its answers has changed since it began (see `accept`).

        If it is cancelled, jobs in flight are given back first. A Ctrl-C that asyncio.run or a notebook turns
        into a cancellation is raised as Interrupted, after a logged warning with the command that resumes the
        run.

        Example:
            >>> async def main() -> object:
            ...     async with open_engine("halves.db") as engine:
            ...         run = await engine.submit(sweep)
            ...         return (await run.execute()).cells_done
            >>> anyio.run(main)
            3
        """
        return await self._take_part(None)

    async def _take_part(self, part: Part | None) -> Status:
        try:
            await self._find_row()
            self.facts = SweepFacts.of(self.sweep)
            stop = await self._executor.execute(self.sweep, part)
            status = await self.status()
        finally:
            self._executor.forget_stop()
        if stop is not None and self._store.trouble is not None:
            # The disk is still full: only this process knows why the run stopped.
            self._last = status = replace(status, reason=stop.reason, message=stop.message)
        return status

    async def join(self, *, max_in_flight: int | None = None) -> Status:
        """Take part in an active run, beside the other processes that work on it, until it is done or stops.

        Unlike `execute`, it leaves a run alone that is paused, cancelled or finished. If only this process is
        stopped, by `stop`, the run goes on in the others, and its state does not change. At most `max_in_flight`
        jobs are in flight here; without it, this process's share of the sweep's `limits.max_in_flight`.

        Returns the status at the end, and raises what `execute` raises.

        Example:
            >>> async def main() -> object:
            ...     async with open_engine("halves.db") as engine:
            ...         run = await engine.submit(sweep)
            ...         return (await run.join(max_in_flight=2)).cells_done
            >>> anyio.run(main)
            3
        """
        if max_in_flight is not None and max_in_flight < 1:
            raise UsageError(f"max_in_flight is {max_in_flight}: it must be at least 1")
        return await self._take_part(Part(max_in_flight=max_in_flight))

    async def accept(self) -> None:
        """Let the run continue with the current cases, judge and settings; existing answers are kept.

        Raises IdentityChanged if the judge has changed and the run has answers: use `Engine.rejudge`, which
        judges their replies again in a run of its own.
        """
        await self._store.runs.record_facts(self.name, Identity(self.sweep).facts, accepts=True)

    def stop(self) -> None:
        """Start nothing more: requests in flight have `Settings.grace_s` seconds, then `execute` returns.

        Requests that take longer are given back with their attempts, and sent again when the run is resumed.
        """
        self._executor.stop()

    async def status(self) -> Status:
        """Count the run's jobs, cells and tests, and find out what it waits for.

        Everything is counted from the rows of the store, so it is right after a crash, and in any process.
        Questions in flight are known only to the process that asks them.
        """
        row = await self._find_row()
        unattended = not await self._is_executed(row)
        execution = self._executing.get(row.id)
        counts = self._executor.counts if execution is None else execution.counts
        reader = StatusReader(
            self._store,
            self.facts,
            row,
            None if execution is None else execution.scheduler,
            None if execution is None else execution.requests,
            self._sweep_if_installed,
            lambda: self._loads,
            self._clock.now(),
            None if counts is None else counts.to_session(),
        )
        self._last = await reader.status(unattended=unattended)
        return self._last

    @cached_property
    def _loads(self) -> Mapping[str, Load]:
        """The requests that the jobs of each lane send, if jobs send their own; counted once."""
        if self.facts.sends is not Sends.CALLS:
            return {}
        try:
            return self.sweep.loads()
        except UsageError:
            # For example, the file of a group was removed: then only the time left is unknown.
            return {}

    async def _gather_report(self, *, store: str = "") -> ReportData:
        """Everything that the report on the run shows, as values."""
        row = await self._find_row()
        return await gather_report(
            await self.status(),
            self.facts,
            self._row_rules(),
            jobs=self._store.reader.job_rows(row),
            events=await self.events(limit=MOST_EVENTS + 1),
            read_findings=partial(self._read_findings, row),
            store=store,
        )

    async def _read_findings(
        self, row: RunRow, job_ids: Sequence[int] | None, highest_score: float
    ) -> AsyncIterator[Finding]:
        """Yield the findings of the run, or only those in the answers of some jobs with a score up to the highest."""
        if job_ids is None:
            async for finding in self.findings():
                yield finding
            return
        kept = self._store.reader.answers_of_jobs(row, job_ids)
        names = self.facts.document_labels()
        found = findings(
            kept, self.sweep.kind, run=self.name, names=names, highest_score=highest_score
        )
        async for finding in found:
            yield finding

    async def to_report(
        self,
        *paths: str | Path,
        form: str | None = None,
        pictures: Sequence[str | Path] = (),
        store: str = "",
    ) -> None:
        """Write the report on the run to files: a page (`.html`), Markdown (`.md`), and `pictures` of its charts.

        A page has coverage, rates, comparisons and the worst findings with their conversations. A browser opens it
        from disk, and it loads nothing. Markdown is short enough for a pull request. The name of a picture
        (`.png`, `.svg`, `.pdf`, extra `pictures`) ends in the name of its chart: `heatmap`, `thresholds` or `pairs`.
        `form`, `html` or `md`, overrides the ending of `paths`. `store` is how commands in the report name the store; empty
        for the usual one. Findings are missing where the run's service is not installed.

        The run is read once. Each file, of mode 0600, appears once it is whole, and replaces one that is there.
        Raises UsageError if one cannot be written, and as `analysis` does.
        """
        from engine.report.writing import check_paths, write_report

        files = check_paths(paths, pictures, form)
        data = await self._gather_report(store=store)
        for file, chosen in files:
            write_report(data, file, chosen)

    async def note(self, kind: str, message: str) -> None:
        """Add a line to the run's event log: `kind` is an EventKind or a word of your own."""
        await self._store.runs.add_event(self._row.id, kind, message)

    async def events(
        self,
        *,
        kinds: Sequence[str] = (),
        lane: str | None = None,
        since: float | None = None,
        until: float | None = None,
        limit: int = 100,
    ) -> list[Event]:
        """The latest events of the run that match, at most `limit`, the oldest of them first.

        `kinds` are EventKinds or words of a job kind's own; none means all. `lane` is a pattern with `*` and
        `?`. `since` and `until` are seconds since the Unix epoch.
        """
        wanted = EventFilter(kinds=tuple(kinds), lane=lane, since=since, until=until)
        return await self._store.inspection.latest_events(self._row.id, wanted, limit=limit)

    async def all_events(
        self, wanted: EventFilter | None = None, *, after: int = 0, follow: bool = False
    ) -> AsyncIterator[Event]:
        """Yield the events of the run that match `wanted`, the oldest first, read page by page.

        `after` is the `id` of the last event that is already known. With `follow`, new events are yielded as
        well, looked up every `Settings.poll_s` seconds until no process works on the run any more. Raises
        UsageError if the run is deleted meanwhile.
        """
        wanted = wanted or EventFilter()
        while True:
            row = await self._find_row()
            # Checked before the events are read, so that the last ones are among them.
            is_last = not (follow and await self._is_executed(row))
            async for event in inspection.events(self._store, row, wanted, after=after):
                after = event.id
                yield event
            if is_last:
                return
            await self._clock.sleep(self._settings.poll_s)

    async def jobs(self, wanted: JobFilter | None = None) -> AsyncIterator[JobInfo]:
        """Yield the run's jobs that a filter selects, by default all, in the order of the file, page by page.

        Raises UsageError if `wanted.where` names an axis that the run does not have.
        """
        row = await self._find_row()
        async for one in inspection.jobs(self._store, self.facts, row, wanted or JobFilter()):
            yield one

    async def job(self, name: int | str) -> JobDetails:
        """Everything that is known of one job: its attempts, its answer, and replies that could not be read.

        `name` is the job's `id`, or the first digits of its `key`, at least six. Raises UsageError if the run
        has no such job, or more than one.
        """
        row = await self._find_row()
        job_id, _ = await inspection.find_job(self._store, str(name), row)
        return await inspection.details(self._store, self.facts, row, job_id)

    async def state(self) -> RunState:
        """The state of the run as the store has it now; `status` counts jobs and answers as well.

        Example:
            >>> async def main() -> object:
            ...     async with open_engine("halves.db") as engine:
            ...         return (await (await engine.run("halves")).state()).value
            >>> anyio.run(main)
            'finished'
        """
        return (await self._find_row()).state

    async def pause(self) -> None:
        """Let every process that works on the run start nothing more, and end.

        Processes notice within `Settings.poll_s` seconds, and their requests in flight finish. `unpause` or
        `execute` continues the run. A finished or cancelled run is not changed.
        """
        await self._find_row()
        await self._store.runs.set_state(
            self._row.id,
            RunState.PAUSED,
            reason=StopReason.PAUSED,
            message="paused; `nightsweep resume` continues it",
            unless=(RunState.FINISHED, RunState.CANCELLED),
        )

    async def unpause(self) -> None:
        """Make a paused run active again, without executing it.

        If a cancellation was interrupted, the remaining jobs are cancelled first. A finished or cancelled run
        without open jobs is not changed.
        """
        await activate(self._store, self._row)

    async def cancel(self, *, on_progress: OnProgress | None = None) -> int:
        """Cancel all jobs without an answer and keep all answers; returns the number of jobs cancelled.

        A finished run stays finished. Many jobs are cancelled in parts: if this is interrupted, the run is
        cancelled and its message says that jobs remain, which `cancel` or `execute` cancels. `on_progress` is
        called with how many jobs are done and of how many: with 0 and None once the run is cancelled, so that
        nothing more is sent, and then after each part.
        """
        await self._find_row()
        await self._store.runs.set_state(
            self._row.id,
            RunState.CANCELLED,
            reason=StopReason.CANCELLED,
            message="not all of its jobs are cancelled yet; `nightsweep cancel` again cancels the rest",
            unless=(RunState.FINISHED,),
        )
        if on_progress is not None:
            on_progress(0, None)
        return await cancel_open(self._store, self._row.id, on_progress)

    async def retry(
        self,
        *,
        failed: bool = True,
        cancelled: bool = False,
        unanswered: bool = False,
        on_progress: OnProgress | None = None,
    ) -> int:
        """Put jobs back into the queue, with all their attempts; returns the number of jobs.

        `failed`, `cancelled` and `unanswered` select which; `unanswered` are jobs whose answer lacks
        questions, which is kept until there is a new one. Many jobs are put back in parts: if this is
        interrupted, the run is active and its message says that jobs remain, which `execute` puts back beside
        those that it sends. Nothing is sent before `execute`. `on_progress` is called as by `cancel`: with 0
        and None once the store knows what is to be put back.
        """
        states = [
            *[State.FAILED] * failed,
            *[State.CANCELLED] * cancelled,
            *[State.SUCCEEDED] * unanswered,
        ]
        await self._find_row()
        return await self._store.queue.requeue(self._row.id, states, on_progress)

"""One run: executed here, looked at and steered from anywhere."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from engine.clock import Clock
from engine.core.axes import Scalar
from engine.core.cases import CaseRow
from engine.core.comparisons import Comparison, FlippedCase
from engine.core.errors import UsageError
from engine.core.findings import Finding, JudgedTest
from engine.core.gates import GateRules, GateVerdict
from engine.core.inspection import EventFilter, JobDetails, JobFilter, JobInfo
from engine.core.loads import Load
from engine.core.model import Sends
from engine.core.outcomes import Outcome
from engine.core.reports import ReportData
from engine.core.rows import Row
from engine.core.runs import Event, RunState, StopReason
from engine.core.states import State
from engine.core.status import Status
from engine.core.values import ValueType
from engine.report.files import new_file
from engine.report.formats import FORMATS
from engine.report.frames import ArrowSheet, require_packages, to_pandas, to_polars
from engine.report.inspect_log.directory import open_directory
from engine.report.sheet import Sheet, write_sheet
from engine.report.words import cells_line
from engine.results.analysis import Analysis
from engine.results.cases import cases
from engine.results.cells import Cell, RowRules, cells
from engine.results.findings import findings
from engine.results.observations import observe
from engine.results.rows import rows, rows_of
from engine.session import inspection
from engine.session.comparing import Side, compare_runs, compare_with_earlier, find_tests
from engine.session.conditions import read_conditions, to_labels_like
from engine.session.control import activate, cancel_open, find_row
from engine.session.execution import Execution
from engine.session.executor import Executor
from engine.session.gating import gate
from engine.session.identity import Identity
from engine.session.inspect_logs import InspectLogs, describe_run
from engine.session.judges import Judging, refuse_other_judges
from engine.session.reporting import MOST_EVENTS, gather_report
from engine.session.sheets import (
    make_case_sheet,
    make_finding_sheet,
    make_row_sheet,
    make_summary_sheet,
)
from engine.session.status import StatusReader
from engine.settings import Settings
from engine.store import RunRow, Store
from engine.sweep import Sweep, SweepFacts

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow  # type: ignore[import-untyped]

Of: TypeAlias = Literal["rows", "findings", "cases"]
"""What a sheet, a frame or a file has a row for: each cell, each failed test, or each case of each cell."""


class Run:
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

    @cached_property
    def sweep(self) -> Sweep:
        """What the run asks for; raises UsageError if its service is not installed here."""
        return self._find_sweep()

    def _sweep_if_installed(self) -> Sweep | None:
        with suppress(UsageError):
            return self.sweep
        return None

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
        try:
            await self._find_row()
            self.facts = SweepFacts.of(self.sweep)
            stop = await self._executor.execute(self.sweep)
            status = await self.status()
        finally:
            self._executor.forget_stop()
        if stop is not None and self._store.trouble is not None:
            # The disk is still full: only this process knows why the run stopped.
            self._last = status = replace(status, reason=stop.reason, message=stop.message)
        return status

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

    async def _is_executed(self, row: RunRow) -> bool:
        return row.id in self._executing or await inspection.is_executed_elsewhere(self._store, row)

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

    async def _find_row(self) -> RunRow:
        return await find_row(self._store, self._row)

    async def rows(
        self, *, past: bool = False, where: Mapping[str, Scalar] | None = None
    ) -> AsyncIterator[Row]:
        """Yield one row for each cell that the sweep asks for, in the order of the file, read page by page.

        With `past`, also the cells that only an earlier version of the sweep asked for, whose `asked` is
        False. `asked` is None where it is unknown because a changed sweep is not completely written yet.
        `where` selects cells by patterns with `*` and `?`, by the field of an axis or its plural, such as
        `{"model": "qwen/*"}`.

        Raises UsageError for an axis that the run does not have, and at the end if the run was deleted
        meanwhile: then rows may be missing.

        Example:
            >>> async def main() -> object:
            ...     async with open_engine("halves.db") as engine:
            ...         run = await engine.run("halves")
            ...         return [row.values["value"] async for row in run.rows()]
            >>> anyio.run(main)
            [0.5, 1.0, 1.5]
        """
        run = await self._find_row()
        wanted = read_conditions(self.facts, self.name, where)
        labels = to_labels_like(self.facts, wanted.labels)
        jobs = self._store.reader.job_rows(run, past=past, labels=labels)
        async for row in rows(jobs, self._row_rules(), past=past):
            if wanted.select_labels(row.labels):
                yield row
        await self._find_row()

    async def analysis(self, *, where: Mapping[str, Scalar] | None = None) -> Analysis:
        """What the run found: rates by axis, paired differences and flaky cases, from one reading of its cells.

        `where` selects cells as in `rows`. Memory grows with the number of cells, by some 300 bytes and 4 for
        each case. Raises UsageError as `rows` does.

        Example:
            >>> async def main() -> object:
            ...     async with open_engine("halves.db") as engine:
            ...         analysis = await (await engine.run("halves")).analysis()
            ...         [summary] = analysis.summaries()
            ...         return summary.values["value"].mean
            >>> anyio.run(main)
            1.0
        """
        axes, rules = self.facts.axes, self._row_rules()
        wanted = read_conditions(self.facts, self.name, where)
        labels = to_labels_like(self.facts, wanted.labels)
        jobs = self._store.reader.job_rows(await self._find_row(), labels=labels)
        found = (cell async for cell in cells(jobs, rules) if wanted.select_labels(cell.labels))
        seen = await observe(found, axes, rules.folded_field)
        await self._find_row()
        names = {axis.axis.name: axis.field for axis in axes}
        return Analysis(seen, names | {axis.field: axis.field for axis in axes})

    def _cells(self, row: RunRow, *, past: bool = False) -> AsyncIterator[Cell]:
        jobs = self._store.reader.job_rows(row, past=past)
        return cells(jobs, self._row_rules(), past=past)

    async def compare(
        self,
        before: "Run | None" = None,
        *,
        thresholds: Sequence[float] = (),
        across_judges: bool = False,
    ) -> Comparison:
        """What changed since an earlier run, cell by cell and case by case, at some thresholds or at all.

        Cells are the same if they ask the same, whatever its name; contents that differ are matched by name,
        such as a prompt that was edited, and on an axis with one value in each run these two are compared.
        Cases are matched by name within a cell. Without `before`, the run's answers are compared with those to
        cells that only earlier versions of its sweep asked for: of each cell the one that was answered last.

        Raises UsageError if the cells cannot be matched, and, without `across_judges`, if the two runs were
        judged differently.
        """
        if before is None:
            found = self._cells(await self._find_row(), past=True)
            return await compare_with_earlier(self, found, thresholds)
        if not across_judges:
            refuse_other_judges(await self._judging(), await before._judging())  # noqa: SLF001  # a run as well
        return await compare_runs(self, before, thresholds)

    async def flipped_cases(
        self, comparison: Comparison, before: "Run | None" = None, *, limit: int = 20
    ) -> list[FlippedCase]:
        """The first flipped cases of a comparison of this run, at most `limit`, with what was said in both runs.

        `before` is the run that it was compared with, as in `compare`. Of several answers to a case the first one
        that shows the change is taken. Raises UsageError if the service of either run is not installed here.
        """
        changes = comparison.flipped[:limit]
        if not changes:
            return []
        other = before or self
        sides = [Side.before(one) for one in changes]
        tests_before = await other._find_tests(sides, past=before is None)  # noqa: SLF001  # a run as well
        tests_after = await self._find_tests([Side.after(one) for one in changes], past=False)
        return [
            FlippedCase(change=change, before=one, after=two)
            for change, one, two in zip(changes, tests_before, tests_after, strict=True)
        ]

    async def _find_tests(self, sides: Sequence[Side], *, past: bool) -> list[JudgedTest | None]:
        row = await self._find_row()

        async def read_answer(job_id: int) -> bytes | None:
            return (await inspection.details(self._store, self.facts, row, job_id)).answer

        return await find_tests(sides, self._cells(row, past=past), read_answer, self.sweep.kind)

    async def outcomes(self, *, after: int = 0, follow: bool = False) -> AsyncIterator[Outcome]:
        """Yield each job that was answered or has failed, in the order in which that was committed.

        `after` is the `cursor` of the last outcome that is already known, of any earlier process: none before it
        comes again, unless its job was asked again. With `follow`, outcomes are also yielded as they arrive, from
        whatever process, until the run ends or stops; a run that is not executed yet is waited for. New ones are
        looked up every `Settings.poll_s` seconds. Cells that the sweep no longer asks for have `asked` False.
        Raises UsageError if the run is deleted meanwhile.

        Example:
            >>> async def main() -> object:
            ...     async with open_engine("halves.db") as engine:
            ...         run = await engine.run("halves")
            ...         return [outcome.cursor async for outcome in run.outcomes()]
            >>> anyio.run(main)
            [1, 2, 3]
        """
        was_executed = False
        while True:
            row = await self._find_row()
            is_executed = await self._is_executed(row)
            was_executed = was_executed or is_executed
            # Decided before the outcomes are read, so that the last ones are among them.
            is_over = not is_executed and (
                was_executed or row.state is not RunState.ACTIVE or row.reason is not None
            )
            rules = self._row_rules()
            page = await self._store.reader.settled_jobs(row, after=after)
            for cursor, job in page.jobs:
                yield Outcome(
                    cursor=cursor, job_id=job.id, rows=tuple(rows_of(job, rules, past=True))
                )
            after = page.last
            if page.has_more:
                continue
            if is_over or not follow:
                return
            await self._clock.sleep(self._settings.poll_s)

    def _row_rules(self) -> RowRules:
        return RowRules(
            folded_field=self.facts.folded_field,
            unanswered=self.facts.unanswered,
            names=self.facts.document_labels(),
        )

    async def sheet(
        self,
        *,
        of: Of = "rows",
        past: bool = False,
        where: Mapping[str, Scalar] | None = None,
    ) -> Sheet[Any]:
        """The run's `rows`, `findings` or `cases` with their columns, as formats and frames take them.

        The columns and their types are determined now: those of rows depend on the sweep and on the names and
        types of the values in the store, those of findings also on the values of the findings, which are read
        once for that.
        """
        row = await self._find_row()
        read_conditions(self.facts, self.name, where, with_cases=of != "rows")
        match of:
            case "rows":
                rows = partial(self.rows, past=past, where=where)
                return await make_row_sheet(self._store, self.facts, row, rows, past=past)
            case "findings":
                found = partial(self.findings, past=past, where=where)
                return await make_finding_sheet(self._store, self.facts, row, found, past=past)
            case "cases":
                cases = partial(self.cases, past=past, where=where)
                return await make_case_sheet(self._store, self.facts, row, cases, past=past)
        raise UsageError(f"of: {of!r:.100} is not one of {', '.join(map(repr, get_args(Of)))}")

    async def summary_sheet(
        self, by: Sequence[str], *, where: Mapping[str, Scalar] | None = None
    ) -> Sheet[Any]:
        """The `summaries` of the run's `analysis` by these axes with their columns, as formats and frames take them."""
        return make_summary_sheet(self.facts, self.name, await self.analysis(where=where), by)

    async def to_arrow(
        self,
        *,
        of: Of = "rows",
        past: bool = False,
        where: Mapping[str, Scalar] | None = None,
    ) -> "pyarrow.Table":
        """The run's `rows`, or its `findings` or `cases`, as a table of Arrow, with the columns of `nightsweep results`.

        Columns have the same types whatever the rows are: texts of axes, `state` and `source` are dictionaries,
        other texts strings, numbers int64 or double, `answered_at` a time in UTC in microseconds. Any value may
        be null. An argument of a function is its content, and each field of a case is a column. Memory holds the
        whole table: `to_parquet` does not. `past` and `where` are those of `rows`.

        Raises UsageError if pyarrow is not installed (extra `frames`), and as `rows`, `findings` and `cases` do.
        """
        return await ArrowSheet(await self.sheet(of=of, past=past, where=where)).to_table()

    async def to_pandas(
        self,
        *,
        of: Of = "rows",
        past: bool = False,
        where: Mapping[str, Scalar] | None = None,
    ) -> "pandas.DataFrame":
        """The run's `rows`, or its `findings` or `cases`, as a pandas frame, with the columns of `to_arrow`.

        Columns are nullable: `category`, `string`, `Int64`, `Float64`, `boolean` and `datetime64[us, UTC]`;
        what is not known is NA. Raises UsageError if pandas is not installed (extra `pandas`), and as
        `to_arrow` does.
        """
        require_packages("pandas")
        return to_pandas(await self.to_arrow(of=of, past=past, where=where))

    async def to_polars(
        self,
        *,
        of: Of = "rows",
        past: bool = False,
        where: Mapping[str, Scalar] | None = None,
    ) -> "polars.DataFrame":
        """The run's `rows`, or its `findings` or `cases`, as a polars frame, with the columns of `to_arrow`.

        Columns are `Categorical`, `String`, `Int64`, `Float64`, `Boolean` and `Datetime` in UTC; what is not
        known is null. Raises UsageError if polars is not installed (extra `polars`), and as `to_arrow` does.
        """
        require_packages("polars")
        return to_polars(await self.to_arrow(of=of, past=past, where=where))

    async def to_parquet(
        self,
        path: str | Path,
        *,
        of: Of = "rows",
        past: bool = False,
        where: Mapping[str, Scalar] | None = None,
    ) -> None:
        """Write the run's `rows`, or its `findings` or `cases`, to a Parquet file, with the columns of `to_arrow`.

        They are read and written 10,000 at a time: memory does not grow with their number. The file, of mode
        0600, appears at `path` once it is whole, and replaces one that is there.

        Raises UsageError if the file cannot be written, and as `to_arrow` does.
        """
        sheet = await self.sheet(of=of, past=past, where=where)
        with new_file(Path(path)) as stream:
            await write_sheet(FORMATS["parquet"], sheet, stream)

    async def to_inspect(
        self,
        directory: str | Path,
        *,
        past: bool = False,
        where: Mapping[str, Scalar] | None = None,
    ) -> list[Path]:
        """Write the answers of the run as logs of Inspect AI into a directory, and return the paths of the files.

        There is one log, a JSON file of mode 0600, for each model and prompt, and for each value of further axes
        such as `variations`: all axes but those of groups, thresholds, repeats and cases. A sample is a test, and
        its epoch the repeat. A log with cells that have no answer has the status `error`, and its error says how
        many. The directory is created if there is none. Logs of an earlier export of the same run are replaced,
        and other files left alone; the same answers give the same files. Inspect itself is not needed. Memory
        does not grow with the number of answers.

        `past` and `where` are those of `rows`. Logs of cells that `where` leaves out stay as they are.

        Raises UsageError if the run's service is not installed here, for an axis that the run does not have, if
        the directory cannot be written, or if the run was deleted meanwhile.

        Example:
            >>> async def main() -> object:
            ...     async with open_engine("halves.db") as engine:
            ...         run = await engine.submit(sweep)
            ...         return len(await run.to_inspect("logs"))
            >>> anyio.run(main)
            1
        """
        row = await self._find_row()
        kind = self.sweep.kind
        wanted = read_conditions(self.facts, self.name, where)
        labels = to_labels_like(self.facts, wanted.labels)
        identity = describe_run(row, self.facts, wanted)
        with open_directory(Path(directory), identity) as logs:
            found = InspectLogs(
                logs, identity, kind, self.facts, self._row_rules(), wanted, past=past
            )
            async for job, raw in self._store.reader.answers(row, past=past, labels=labels):
                found.add(job, raw)
            await self._find_row()
            return logs.finish(replaces_all=not wanted.labels)

    async def findings(
        self, *, past: bool = False, where: Mapping[str, Scalar] | None = None
    ) -> AsyncIterator[Finding]:
        """Yield each failed test of the answers that count in `rows`, in the order of the file, then of the answer.

        A test that fails at several thresholds of a folded job is one finding. Answers with more unanswered
        questions than the sweep allows count as well: what failed in them has failed. Questions that the sweep
        counts as failed because they have no answer are no findings. With `past`, also what failed in cells that
        only an earlier version of the sweep asked for. `where` selects findings as in `rows`, also by `case`;
        by `threshold` it selects what failed at that one. Answers are read page by page; those without failed
        tests are not read. Job kinds whose answers do not list tests, and answers in a side file, give no
        findings.

        Raises UsageError if the run's service is not installed here, for an axis that the run does not have, and
        at the end if the run was deleted meanwhile: then findings may be missing.
        """
        kind = self.sweep.kind
        row = await self._find_row()
        wanted = read_conditions(self.facts, self.name, where, with_cases=True)
        labels = to_labels_like(self.facts, wanted.labels)
        answers = self._store.reader.answers_with_failures(row, past=past, labels=labels)
        names = self.facts.document_labels()
        async for finding in findings(answers, kind, run=self.name, names=names, past=past):
            if wanted.select_finding(finding):
                yield finding
        await self._find_row()

    async def cases(
        self, *, past: bool = False, where: Mapping[str, Scalar] | None = None
    ) -> AsyncIterator[CaseRow]:
        """Yield a row for each case of each cell that has tests, in the order of `rows`, then of the answer.

        Each says how many tests of the case failed at the cell's threshold, variations included. The cases of a
        function or a chat sweep are the values of its axis of cases or inputs. The tests of an answer that does
        not name its cases are one row whose `case` is None. Cells without numbers are left out, and so are
        outdated answers. `past` and `where` are those of `rows`; `where` also selects by `case`.

        Raises UsageError for an axis that the run does not have, and at the end if the run was deleted
        meanwhile: then cases may be missing.

        Example:
            >>> async def main() -> object:
            ...     async with open_engine("halves.db") as engine:
            ...         run = await engine.run("halves")
            ...         return [case.tests async for case in run.cases(where={"number": "3"})]
            >>> anyio.run(main)
            []
        """
        row = await self._find_row()
        wanted = read_conditions(self.facts, self.name, where, with_cases=True)
        labels = to_labels_like(self.facts, wanted.labels)
        jobs = self._store.reader.job_rows(row, past=past, labels=labels)
        case_field = self.facts.case_field
        async for case in cases(jobs, self._row_rules(), case_field=case_field, past=past):
            if wanted.select_labels(case.labels) and wanted.select_case(case.case):
                yield case
        await self._find_row()

    async def gate(
        self,
        rules: GateRules,
        *,
        against: "Run | None" = None,
        across_judges: bool = False,
    ) -> GateVerdict:
        """Decide whether the run's failure rates are within the limits of `rules`.

        Each combination of the axes in `rules.by`, and each threshold, is checked on its own. With `against`,
        the failure rate must not be above that run's by more than `rules.margin`, over the cells that both
        have. A check is undecided if nothing was measured, or if fewer cells have numbers than
        `rules.require_coverage` demands.

        Raises UsageError if the rules demand nothing, or name an axis or a threshold that the run does not have,
        if the cells of the two runs cannot be matched, and, without `across_judges`, if they were judged
        differently.
        """
        if against is not None and not across_judges:
            refuse_other_judges(await self._judging(), await against._judging())  # noqa: SLF001  # a run as well
        return await gate(self, rules, against)

    async def _judging(self) -> Judging:
        """What decided how the run's replies were judged, to find out whether another run can be compared."""
        return Judging.of(await self._find_row(), self.facts, self._sweep_if_installed())

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
        self, row: RunRow, job_ids: Sequence[int] | None
    ) -> AsyncIterator[Finding]:
        """Yield the findings of the run, or only those in the answers of some jobs."""
        if job_ids is None:
            async for finding in self.findings():
                yield finding
            return
        kept = self._store.reader.answers_of_jobs(row, job_ids)
        names = self.facts.document_labels()
        async for finding in findings(kept, self.sweep.kind, run=self.name, names=names):
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

    async def value_columns(self) -> Mapping[str, ValueType]:
        """The names of all `Row.values` of the run in alphabetical order, each with its type.

        The type is int, float, bool or str: float for a mixture of integers and floats, and str for any other
        mixture.
        """
        return await self._store.reader.value_columns((await self._find_row()).id)

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

    async def cancel(self) -> int:
        """Cancel all jobs without an answer and keep all answers; returns the number of jobs cancelled.

        A finished run stays finished. Many jobs are cancelled in parts: if this is interrupted, the run is
        cancelled and its message says that jobs remain, which `cancel` or `execute` cancels.
        """
        await self._find_row()
        await self._store.runs.set_state(
            self._row.id,
            RunState.CANCELLED,
            reason=StopReason.CANCELLED,
            message="not all of its jobs are cancelled yet; `nightsweep cancel` again cancels the rest",
            unless=(RunState.FINISHED,),
        )
        return await cancel_open(self._store, self._row.id)

    async def retry(
        self, *, failed: bool = True, cancelled: bool = False, unanswered: bool = False
    ) -> int:
        """Put jobs back into the queue, with all their attempts; returns the number of jobs.

        `failed`, `cancelled` and `unanswered` select which; `unanswered` are jobs whose answer lacks
        questions, which is kept until there is a new one. Many jobs are put back in parts: if this is
        interrupted, the run is active and its message says that jobs remain. Nothing is sent before
        `execute`.
        """
        states = [
            *[State.FAILED] * failed,
            *[State.CANCELLED] * cancelled,
            *[State.SUCCEEDED] * unanswered,
        ]
        await self._find_row()
        return await self._store.queue.requeue(self._row.id, states)

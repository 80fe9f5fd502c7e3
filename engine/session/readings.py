"""Reading what a run found: its rows, analyses, findings, frames and files."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import suppress
from functools import cached_property, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, get_args

from engine.clock import Clock
from engine.core.axes import Scalar
from engine.core.cases import CaseRow
from engine.core.cell_counts import CellCount
from engine.core.errors import UsageError
from engine.core.findings import Finding
from engine.core.outcomes import Outcome
from engine.core.rows import Row
from engine.core.runs import RunState
from engine.core.values import ValueType
from engine.report.files import new_file
from engine.report.formats import FORMATS
from engine.report.frames import ArrowSheet, require_packages, to_pandas, to_polars
from engine.report.inspect_log.directory import open_directory
from engine.report.sheet import Sheet, write_sheet
from engine.results.analysis import Analysis
from engine.results.cases import cases
from engine.results.cells import Cell, RowRules, cells
from engine.results.findings import findings
from engine.results.observations import observe_jobs
from engine.results.rows import rows, rows_of
from engine.session import inspection
from engine.session.cell_counts import CellCounter
from engine.session.conditions import name_axes, read_conditions, to_labels_like
from engine.session.control import find_row
from engine.session.execution import Execution
from engine.session.inspect_logs import InspectLogs, describe_run
from engine.session.sheets import (
    make_case_sheet,
    make_finding_sheet,
    make_row_sheet,
    make_summary_sheet,
)
from engine.settings import Settings
from engine.store import RunRow, Store
from engine.sweep import Sweep, SweepFacts

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow  # type: ignore[import-untyped]

Of: TypeAlias = Literal["rows", "findings", "cases"]
"""What a sheet, a frame or a file has a row for: each cell, each failed test, or each case of each cell."""


class RunReadings:
    """What a run found, read from its store: rows, analyses, findings, frames and files."""

    name: str
    facts: SweepFacts
    _store: Store
    _clock: Clock
    _settings: Settings
    _row: RunRow
    _executing: dict[int, Execution]
    _find_sweep: Callable[[], Sweep]

    @cached_property
    def sweep(self) -> Sweep:
        """What the run asks for; raises UsageError if its service is not installed here."""
        return self._find_sweep()

    def _sweep_if_installed(self) -> Sweep | None:
        with suppress(UsageError):
            return self.sweep
        return None

    async def _find_row(self) -> RunRow:
        return await find_row(self._store, self._row)

    def _row_rules(self) -> RowRules:
        return RowRules(
            folded_field=self.facts.folded_field,
            unanswered=self.facts.unanswered,
            names=self.facts.document_labels(),
        )

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

    async def _is_executed(self, row: RunRow) -> bool:
        return row.id in self._executing or await inspection.is_executed_elsewhere(self._store, row)

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
        seen = await observe_jobs(jobs, rules, axes, wanted)
        await self._find_row()
        names = {axis.axis.name: axis.field for axis in axes}
        return Analysis(seen, names | {axis.field: axis.field for axis in axes})

    async def cell_counts(self, *, by: Sequence[str] = ()) -> list[CellCount]:
        """The cells with the same values on the axes `by`, in the order of the file, with their answers and tests.

        The axes are named as in `rows(where=...)`. At axes by which the run keeps counts this takes a moment,
        however many cells there are: all except those with most values, such that there are at most 2,000
        combinations when the run is created. At others, and once `run --fresh` was used, the rows are read.
        Raises UsageError for an axis that the run does not have, and for one that is named twice.

        Example:
            >>> async def main() -> object:
            ...     async with open_engine("halves.db") as engine:
            ...         run = await engine.run("halves")
            ...         return [(one.labels, one.answered) for one in await run.cell_counts(by=["number"])]
            >>> anyio.run(main)
            [({'number': 1}, 1), ({'number': 2}, 1), ({'number': 3}, 1)]
        """
        fields = tuple(name_axes(self.facts, self.name, dict.fromkeys(by, "*")))
        if len(fields) < len(by):
            raise UsageError(f"{', '.join(by)}: name each axis once")
        row = await self._find_row()
        counter = CellCounter(self.facts, fields)
        if row.fresh_at is None and {*fields} <= {*row.grouped, self.facts.folded_field}:
            counter.add_counted(await self._store.reader.counted_cells(row.id))
        else:
            await counter.add_rows(self.rows())
        return counter.counts

    def _cells(self, row: RunRow, *, past: bool = False) -> AsyncIterator[Cell]:
        jobs = self._store.reader.job_rows(row, past=past)
        return cells(jobs, self._row_rules(), past=past)

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

    async def value_columns(self) -> Mapping[str, ValueType]:
        """The names of all `Row.values` of the run in alphabetical order, each with its type.

        The type is int, float, bool or str: float for a mixture of integers and floats, and str for any other
        mixture.
        """
        return await self._store.reader.value_columns((await self._find_row()).id)

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

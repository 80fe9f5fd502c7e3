"""The rows, findings, cases and summaries of a run with their columns, for files and data frames."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from itertools import chain

from engine.core.axes import AxisValue
from engine.core.cases import CaseRow
from engine.core.findings import Finding
from engine.core.rows import Rows
from engine.core.values import INTEGER_MAX, Value, ValueType, column_type
from engine.report.columns import AxisColumns
from engine.report.sheets import (
    CaseSheet,
    FindingSheet,
    RowSheet,
    SummaryRow,
    SummarySheet,
    name_value_columns,
)
from engine.results.analysis import Analysis
from engine.results.summaries import Summary
from engine.store import RunRow, Store
from engine.sweep import SweepFacts


async def make_row_sheet(
    store: Store, facts: SweepFacts, row: RunRow, rows: Rows, *, past: bool
) -> RowSheet:
    """The sheet of a run's rows; with `past` they include what only earlier versions of its sweep asked for.

    The columns are determined now, and stay the same while the run goes on.
    """
    return RowSheet(
        run=row.name,
        rows=rows,
        axes=await _axis_columns(store, facts, row, past=past),
        values=await store.reader.value_columns(row.id),
    )


async def make_finding_sheet(
    store: Store,
    facts: SweepFacts,
    row: RunRow,
    findings: Callable[[], AsyncIterator[Finding]],
    *,
    past: bool,
) -> FindingSheet:
    """The sheet of a run's findings, with `past` as in `make_row_sheet`.

    The findings are read once to learn which values they have, as only their answers say that.
    """
    axes = await _axis_columns(store, facts, row, past=past)
    if facts.folded_field is not None:
        axes = axes.without(facts.folded_field)
    kinds: dict[str, set[ValueType]] = {}
    async for finding in findings():
        for name, value in finding.values.items():
            kinds.setdefault(name, set()).add(_type_of(value))
    columns = name_value_columns(kinds, axes.types)
    return FindingSheet(
        run=row.name,
        rows=findings,
        axes=axes,
        values={column: column_type(kinds[name]) for name, column in columns.items()},
        names={column: name for name, column in columns.items()},
    )


async def make_case_sheet(
    store: Store,
    facts: SweepFacts,
    row: RunRow,
    cases: Callable[[], AsyncIterator[CaseRow]],
    *,
    past: bool,
) -> CaseSheet:
    """The sheet of a run's cases, with `past` as in `make_row_sheet`."""
    axes = await _axis_columns(store, facts, row, past=past)
    return CaseSheet(run=row.name, rows=cases, axes=axes)


def _type_of(value: Value) -> ValueType:
    """The type of a value; text for a number that a column of integers cannot hold."""
    if isinstance(value, bool) or not isinstance(value, int):
        return type(value)
    return int if abs(value) <= INTEGER_MAX else str


async def _axis_columns(store: Store, facts: SweepFacts, row: RunRow, *, past: bool) -> AxisColumns:
    is_edited = not row.is_expanded and row.generation > 1
    values = await _past_values(store, facts, row) if past or is_edited else {}
    return AxisColumns.of(facts.axes, values)


async def _past_values(
    store: Store, facts: SweepFacts, row: RunRow
) -> Mapping[str, list[AxisValue]]:
    """The values that only earlier versions of a run's sweep had, by the field of their axis, sorted by label."""
    known = {axis.field: {value.label for value in axis.values} for axis in facts.axes}
    labels = facts.document_labels()
    past = [
        value
        for value in await store.reader.past_values(row)
        # Values with contents are compared by them: labels may have been changed or exchanged.
        if value.axis in known
        and (
            value.label not in known[value.axis]
            if value.digest is None
            else value.digest not in labels.get(value.axis, ())
        )
    ]
    contents = await store.reader.documents(value.digest for value in past if value.digest)
    found: dict[str, list[AxisValue]] = {}
    for value in sorted(past, key=lambda one: str(one.label)):
        if value.digest is None:
            found.setdefault(value.axis, []).append(AxisValue(value.label, value.label))
        elif value.digest in contents:
            content = contents[value.digest]
            found.setdefault(value.axis, []).append(AxisValue(value.label, content))
    return found


def make_summary_sheet(
    facts: SweepFacts, run: str, analysis: Analysis, by: Sequence[str]
) -> SummarySheet:
    """The sheet of an analysis' summaries by these axes, named as in rows or in sweep files.

    Raises UsageError if there is no such axis.
    """
    fields = [analysis.field(name) for name in by]
    shown = [axis for axis in facts.axes if axis.field in (*fields, facts.folded_field)]
    rows = [_to_summary_row(one, fields, facts.folded_field) for one in analysis.summaries(fields)]

    async def read() -> AsyncIterator[SummaryRow]:
        for row in rows:
            yield row

    return SummarySheet(
        run=run,
        rows=read,
        axes=AxisColumns.of(shown).without("repeat"),
        values=dict.fromkeys(chain.from_iterable(row.values for row in rows), float),
    )


def _to_summary_row(one: Summary, fields: Sequence[str], folded_field: str | None) -> SummaryRow:
    first, any_answer, failure = one.first_rate, one.cases_failed, one.failure_rate
    labels = {name: one.labels[name] for name in fields}
    if folded_field is not None:
        labels[folded_field] = one.threshold
    is_known = first.rate is not None
    return SummaryRow(
        labels=labels,
        digests={name: digest for name, digest in one.digests.items() if digest is not None},
        cells=one.coverage.cells,
        answered=one.coverage.answered,
        missing=one.coverage.failed + one.coverage.cancelled,
        to_come=one.coverage.to_come,
        cases=one.cases,
        first_failed=first.failed if is_known else None,
        first_answers=first.total if is_known else None,
        first_rate=first.rate,
        first_low=first.low,
        first_high=first.high,
        first_interval=first.interval,
        lowest_rate=one.lowest_rate,
        highest_rate=one.highest_rate,
        cases_failed=any_answer.rate,
        cases_failed_low=any_answer.low,
        cases_failed_high=any_answer.high,
        failed=one.failed,
        total=one.passed + one.failed,
        failure_rate=failure.rate,
        ci_low=failure.low,
        ci_high=failure.high,
        interval=failure.interval,
        values={
            column: number
            for name, mean in one.values.items()
            for column, number in (
                (name, mean.mean),
                (f"{name}_low", mean.low),
                (f"{name}_high", mean.high),
            )
        },
    )

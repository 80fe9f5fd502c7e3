"""The rows, findings and cases of a run with their columns, for files and data frames."""

from collections.abc import AsyncIterator, Callable, Mapping

from engine.core.axes import AxisValue
from engine.core.cases import CaseRow
from engine.core.findings import Finding
from engine.core.rows import Rows
from engine.core.values import INTEGER_MAX, Value, ValueType, column_type
from engine.report.columns import AxisColumns
from engine.report.sheets import CaseSheet, FindingSheet, RowSheet, name_value_columns
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

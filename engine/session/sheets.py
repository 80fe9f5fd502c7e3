"""The rows of a run with their columns, for files and data frames."""

from collections.abc import Mapping

from engine.core.axes import AxisValue
from engine.core.rows import Rows
from engine.report.columns import AxisColumns
from engine.report.sheet import Sheet
from engine.store import RunRow, Store
from engine.sweep import SweepFacts


async def make_sheet(
    store: Store, facts: SweepFacts, row: RunRow, rows: Rows, *, past: bool
) -> Sheet:
    """The sheet of a run's rows; with `past` they include what only earlier versions of its sweep asked for.

    The columns are determined now, and stay the same while the run goes on.
    """
    is_edited = not row.is_expanded and row.generation > 1
    values = await _past_values(store, facts, row) if past or is_edited else {}
    return Sheet(
        run=row.name,
        rows=rows,
        axes=AxisColumns.of(facts.axes, values),
        values=await store.reader.value_columns(row.id),
    )


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

"""`results --after` and `--follow`: the rows of a run in the order in which they were committed, each with a cursor."""

import re
import sys
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from engine.cli import output
from engine.cli.opening import open_for_reading
from engine.core.errors import UsageError

if TYPE_CHECKING:
    from engine.session import Run

_CURSOR = re.compile(r"(\d{1,18})(?::(\d{1,9}))?", re.ASCII)


class RowCursor(NamedTuple):
    """A place between two rows, in the order in which they were committed."""

    outcome: int
    """The cursor of the last outcome of which a row was written; 0 before the first."""
    rows: int | None = None
    """How many of its rows were written; None for all."""

    @classmethod
    def parse(cls, written: str) -> "RowCursor":
        """The cursor of a line that was printed before, or 0; raises UsageError for any other text."""
        found = _CURSOR.fullmatch(written.strip())
        if found is None:
            raise UsageError(
                f"--after {written!r:.100} is not a cursor: give the `cursor` of a line that"
                " `nightsweep results --follow` printed, or 0 for all rows"
            )
        outcome, rows = found.groups()
        return cls(int(outcome), None if rows is None else int(rows))

    def __str__(self) -> str:
        return f"{self.outcome}" if self.rows is None else f"{self.outcome}:{self.rows}"


def print_new_rows(
    run: str | None,
    store: str,
    *,
    after: str | None,
    follow: bool,
    past: bool,
    where: Mapping[str, str],
) -> None:
    """Print the rows of a run behind a cursor as JSON lines, and with `follow` those that arrive until it ends.

    Raises UsageError if `after` is not a cursor.
    """
    from engine.cli.running import run_command, run_quietly

    since = RowCursor.parse("0" if after is None else after)

    async def write() -> None:
        async with open_for_reading(store) as engine:
            lines = _format_rows(
                await engine.run(run), since, follow=follow, past=past, where=where
            )
            try:
                async for some in lines:
                    with output.to_reader():
                        sys.stdout.write(some)
            except BrokenPipeError:
                return

    (run_quietly if follow else run_command)(write)


async def _format_rows(
    run: "Run", since: RowCursor, *, follow: bool, past: bool, where: Mapping[str, str]
) -> AsyncIterator[str]:
    """Yield the lines of each outcome behind a cursor, those of its rows that are wanted."""
    from engine.report.columns import AxisColumns
    from engine.report.document import line_json, row_document
    from engine.session.conditions import read_conditions

    wanted = read_conditions(run.facts, run.name, where)
    contents = AxisColumns.of(run.facts.axes).contents
    # An outcome of which only some rows were written is read again.
    after = since.outcome if since.rows is None else since.outcome - 1
    async for outcome in run.outcomes(after=after, follow=follow):
        written = (since.rows or 0) if outcome.cursor == since.outcome else 0
        lines = []
        for count, row in enumerate(outcome.rows, 1):
            is_asked = past or row.asked is not False
            if count <= written or not is_asked or not wanted.select_labels(row.labels):
                continue
            is_last = count == len(outcome.rows)
            cursor = RowCursor(outcome.cursor, None if is_last else count)
            document = row_document(row, row.values, contents)
            lines.append(line_json(_with_cursor(document, str(cursor))))
        if lines:
            yield "".join(f"{line}\n" for line in lines)


def _with_cursor(document: dict[str, Any], cursor: str) -> dict[str, Any]:
    """The document of a row with its cursor in front, whose name a column of the run may have."""
    name = "cursor"
    while name in document:
        name = f"_{name}"
    return {name: cursor, **document}

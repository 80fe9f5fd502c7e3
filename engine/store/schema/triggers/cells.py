"""Counting cells by their labels: each job counts once for each threshold that it answers."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from engine.core.states import State
from engine.store.schema.counts import CELL_KEY, CELL_SUMS, NO_THRESHOLD

ENDED = f"'{State.FAILED}', '{State.CANCELLED}'"
_THRESHOLDS = "CASE {0}.cells WHEN '[]' THEN '[null]' ELSE {0}.cells END"


@dataclass(frozen=True, slots=True)
class CellCounts:
    """The expressions of one database."""

    labels: str
    """The labels `{0}.labels` of the axes whose fields the query `{1}` selects, as a JSON object in one order."""
    thresholds: str
    """The thresholds in `{0}`, as rows `at`."""
    at: str
    """The threshold of a row `at`; null if the job has none."""
    below: str
    """How many of the scores `{0}` are below `at`."""
    total: str
    """The sum of the values of the object `{0}`."""
    grouped: str
    """The query for the fields of the axes by which the cells of the run `{0}` are counted."""

    def asked(self, row: str, sign: str = "", joined: str = "", grouped: str = "") -> str:
        """The query for what the job `row` adds, as rows of `cell_count` without an id."""
        values = (
            *self._key(row, grouped),
            "0",
            "0",
            f"{sign}1",
            f"{sign}(CASE WHEN {row}.state IN ({ENDED}) THEN 1 ELSE 0 END)",
            "0",
            "0",
            "0",
        )
        return f"SELECT {_name(values)} FROM {joined}{self._at(row)} WHERE {row}.cell_count > 0"

    def answered(
        self, row: str, found: str, sign: str = "", joined: str = "", grouped: str = ""
    ) -> str:
        """The query for what the result `found` of the job `row` adds; cells that it has no numbers for are left out."""
        total = f"{found}.passed + {found}.failed"
        is_own = f"({self.at} IS NULL OR {self.at} = {row}.threshold)"
        failed = f"(CASE WHEN {is_own} THEN {found}.failed ELSE {self.below.format(found + '.scores')} END)"
        lacks = f"{found}.unanswered IS NULL THEN 0 ELSE"
        values = (
            *self._key(row, grouped),
            f"CASE WHEN {lacks} {self.total.format(found + '.unanswered')} END",
            f"CASE WHEN {lacks} {total} END",
            "0",
            "0",
            f"{sign}1",
            f"{sign}({total} - {failed})",
            f"{sign}{failed}",
        )
        return (
            f"SELECT {_name(values)} FROM {joined}{self._at(row)}"
            f" WHERE {row}.cell_count > 0 AND ({is_own} OR {found}.scores IS NOT NULL)"
        )

    def _key(self, row: str, grouped: str) -> Sequence[str]:
        fields = grouped or self.grouped.format(f"{row}.run_id")
        labels = self.labels.format(row, fields)
        return (f"{row}.run_id", labels, f"coalesce({self.at}, {NO_THRESHOLD!r})")

    def _at(self, row: str) -> str:
        return self.thresholds.format(_THRESHOLDS.format(row))


def _name(values: Sequence[str]) -> str:
    """Expressions named after the columns of `cell_count`."""
    names = (*CELL_KEY, *CELL_SUMS)
    return ", ".join(f"{value} AS {name}" for value, name in zip(values, names, strict=True))


CELL_COUNTS: Mapping[str, CellCounts] = {
    "sqlite": CellCounts(
        labels=(
            "(SELECT json_group_object(field, label) FROM (SELECT axis.key AS field, axis.value AS label"
            " FROM json_each({0}.labels) AS axis WHERE axis.key IN ({1}) ORDER BY axis.key))"
        ),
        thresholds="json_each({0}) AS at",
        at="at.value",
        below="(SELECT count(*) FROM json_each({0}) AS score WHERE score.value < at.value)",
        total="(SELECT sum(reason.value) FROM json_each({0}) AS reason)",
        grouped="SELECT field.value FROM run, json_each(run.grouped) AS field WHERE run.id = {0}",
    ),
    "postgresql": CellCounts(
        labels=(
            "(SELECT coalesce(json_object_agg(axis.key, axis.value ORDER BY axis.key)::text, '{{}}')"
            " FROM json_each({0}.labels::json) AS axis WHERE axis.key IN ({1}))"
        ),
        thresholds="json_array_elements_text(({0})::json) AS at(value)",
        at="at.value::float8",
        below=(
            "(SELECT count(*) FROM json_array_elements_text({0}::json) AS score(value)"
            " WHERE score.value::float8 < at.value::float8)"
        ),
        total="(SELECT sum(reason.value::integer) FROM json_each_text({0}::json) AS reason)",
        grouped=(
            "SELECT field.value FROM run, json_array_elements_text(run.grouped::json) AS field(value)"
            " WHERE run.id = {0}"
        ),
    ),
}
"""The expressions by the name of the dialect."""

"""Replies that people have scored, read from a table."""

import math
import re
from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.documents.document import problem_of
from engine.documents.malformed import Malformed
from engine.documents.reading import read_text
from engine.documents.tables import Row, Table, TableFormat, read_table, table_format
from engine.kinds import Problem, SweepError
from jobs.evaluator.groups import Case, CaseSet

_SHOWN = 60
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?")
_SCORE = re.compile(r"score(?:[ _-].*|\d+)?")


@dataclass(frozen=True, slots=True)
class RatedReply:
    """A reply to a case, with the score that each person gave it."""

    case: Case
    reply: str
    scores: tuple[float, ...]

    @property
    def human(self) -> float:
        """The mean of the people's scores, without rounding errors of the sum."""
        return round(math.fsum(self.scores) / len(self.scores), 9)


def read_ratings(path: Path, cases: CaseSet) -> list[RatedReply]:
    """The rows of a table with the columns case, reply, and score (or score_anna, score_2 ...).

    Raises SweepError with every mistake in the rows, each with its place.
    """
    groups = [cases.group(name) for name in cases.names]
    known = {case.id: case for group in groups for case in group.cases}
    times = Counter(case.id for group in groups for case in group.cases)
    shared = {case for case, count in times.items() if count > 1}
    file = str(path)
    try:
        table = read_table(read_text(path), table_format(path) or TableFormat.CSV)
        columns = _columns(table)
    except Malformed as error:
        raise SweepError(file, [problem_of(file, error)]) from None
    rated: list[RatedReply] = []
    problems: list[Problem] = []
    for row in table.rows:
        try:
            rated.append(_read_row(row, columns, known, shared))
        except Malformed as error:
            problems.append(table.problem(file, row.place, error.message))
    if problems:
        raise SweepError(file, problems)
    rated = [one for one in rated if one.scores]
    if not rated:
        raise SweepError(file, [Problem("", "no row with a reply and a score")])
    return rated


def _read_row(
    row: Row,
    columns: tuple[str, str, Sequence[str]],
    known: Mapping[str, Case],
    shared: Collection[str],
) -> RatedReply:
    named, replies, raters = columns
    name = _field(row, named)
    if name not in known:
        raise Malformed(
            f"there is no case {name[:_SHOWN]!r}; `nightsweep groups` lists the groups, --cases adds your"
            " own"
        )
    if name in shared:
        raise Malformed(f"more than one group has a case {name!r}; rename yours")
    if not _field(row, replies):
        raise Malformed("reply is empty")
    given = [_field(row, rater) for rater in raters]
    scores = tuple(_score(one) for one in given if one)
    return RatedReply(known[name], str(row.cells[replies]), scores)


def _columns(table: Table) -> tuple[str, str, list[str]]:
    """The columns of cases, replies and scores; case and outer spaces of their names are ignored."""
    found = [name.strip().lower() for name in table.columns]
    raters = [name for name in found if _SCORE.fullmatch(name)]
    if not raters or not {"case", "reply"} <= set(found):
        raise Malformed(
            "it needs the columns case, reply, and score (or score_anna, score_2 ...);"
            f" {table.describe_columns()}"
        )
    for name in ("case", "reply", *raters):
        if found.count(name) > 1:
            raise Malformed(f"two columns are called {name!r}")
    written = dict(zip(found, table.columns, strict=True))
    return written["case"], written["reply"], [written[rater] for rater in raters]


def _field(row: Row, column: str) -> str:
    cell = row.cells.get(column)
    return "" if cell is None else str(cell).strip()


def _score(text: str) -> float:
    score = float(text) if _NUMBER.fullmatch(text) else math.nan
    if not 0 <= score <= 1:
        raise Malformed(f"score: {text[:_SHOWN]!r} is not a number from 0 to 1")
    return score

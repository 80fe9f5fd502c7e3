"""Replies that people have scored, read from a CSV file."""

import csv
import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from engine.job import UsageError
from jobs.evaluator.groups import Case, CaseSet

_ROWS_MAX = 100_000
_SHOWN = 60
_SCORE = re.compile(r"score(?:[ _-].*|\d+)?")
_OVERFLOW = "more fields than columns"

_Row: TypeAlias = Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class Rated:
    """A reply to a case, with the score that each person gave it."""

    case: Case
    reply: str
    scores: tuple[float, ...]

    @property
    def human(self) -> float:
        """The mean of the people's scores, rid of what adding up floats leaves behind."""
        return round(math.fsum(self.scores) / len(self.scores), 9)


def read_ratings(path: Path, cases: CaseSet) -> list[Rated]:
    """The rows of a CSV file with the columns case, reply, and score (or score_anna, score_2 ...).

    Raises UsageError with the file and line of what is wrong.
    """
    groups = [cases.group(name) for name in cases.names]
    known = {case.id: case for group in groups for case in group.cases}
    times = Counter(case.id for group in groups for case in group.cases)
    shared = {case for case, count in times.items() if count > 1}
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.DictReader(file, strict=True, restkey=_OVERFLOW)
            try:
                rated = list(_rated(path, rows, known, shared))
            except csv.Error as error:
                raise UsageError(f"{path}: after line {rows.line_num}: {error}") from error
    except OSError as error:
        raise UsageError(f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        raise UsageError(f"{path}: is not text in UTF-8; save it as CSV in UTF-8") from None
    if not rated:
        raise UsageError(f"{path}: no row with a reply and a score")
    return rated


def _rated(
    path: Path, rows: "csv.DictReader[str]", known: Mapping[str, Case], shared: set[str]
) -> Iterator[Rated]:
    raters = _settled_columns(path, rows)
    for row in rows:
        where = f"{path}: line {rows.line_num}"
        if rows.line_num > _ROWS_MAX:
            raise UsageError(f"{where}: at most {_ROWS_MAX} lines")
        if _OVERFLOW in row:
            raise UsageError(f"{where}: {_OVERFLOW}; a reply that holds commas stands in quotes")
        name = _field(row, "case")
        if name not in known:
            raise UsageError(
                f"{where}: there is no case {name[:_SHOWN]!r}; `nightsweep groups` lists the groups,"
                " --cases adds your own"
            )
        if name in shared:
            raise UsageError(f"{where}: more than one group has a case {name!r}; rename yours")
        reply = row["reply"] or ""
        if not reply.strip():
            raise UsageError(f"{where}: reply is empty")
        scores = tuple(_score(_field(row, rater), where) for rater in raters if _field(row, rater))
        if scores:
            yield Rated(known[name], reply, scores)


def _settled_columns(path: Path, rows: "csv.DictReader[str]") -> Sequence[str]:
    """The columns with scores; case and spaces around a column's name decide nothing."""
    found = [name.strip().lower() for name in rows.fieldnames or ()]
    raters = [name for name in found if _SCORE.fullmatch(name)]
    if not raters or not {"case", "reply"} <= set(found):
        told = ",".join(rows.fieldnames or ())[:_SHOWN]
        raise UsageError(
            f"{path}: the columns are case, reply, and score (or score_anna, score_2 ...), with commas"
            f" between them; the first line is {told!r}"
        )
    for name in ("case", "reply", *raters):
        if found.count(name) > 1:
            raise UsageError(f"{path}: two columns are called {name!r}")
    rows.fieldnames = found
    return raters


def _field(row: _Row, column: str) -> str:
    return (row[column] or "").strip()


def _score(text: str, where: str) -> float:
    try:
        score = float(text)
    except ValueError:
        score = math.nan
    if not 0 <= score <= 1:
        raise UsageError(f"{where}: score: {text[:_SHOWN]!r} is no number from 0 to 1")
    return score

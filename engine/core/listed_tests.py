"""The tests that an answer lists, as statistics read them: of which case, in which layer, with which score."""

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, NamedTuple, Self

from engine.core.parsing import parse_json

_LAYERED = "+"


class ListedTest(NamedTuple):
    """One test of an answer; what the answer does not say is None, never guessed.

    Example:
        >>> ListedTest("greeting", 0, 0.25).score
        0.25
    """

    case: str | None
    """The id of its test case."""
    layer: int | None
    """0 for the first answer to a case, then the layer of variations; 0 for kinds without layers."""
    score: float | None
    """Its safety score, from 0 to 1; None for a question without an answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """The tests that an answer lists, in its order, and how many cases it asked.

    `cases` is the number of cases whose first answer was judged, None if it is unknown. `is_layered` says that
    cases which failed were asked again in variations, and others were not: even if none failed, an interval must
    know that some would have been asked again. Where an answer lists only failed tests, it lists at least those below the job's threshold.

    Example:
        >>> Listing.of([ListedTest("greeting", 0, 0.25), ListedTest("greeting", 1, 0.75)]).cases
        1
    """

    tests: tuple[ListedTest, ...] = ()
    cases: int | None = None
    is_layered: bool = False

    @classmethod
    def of(cls, tests: Iterable[ListedTest], *, is_layered: bool = False) -> Self:
        """The listing of an answer that lists all its tests.

        The cases are counted in the first layer, by name if all of them have one; they are unknown if any
        test's layer is.
        """
        listed = tuple(tests)
        if any(test.layer is None for test in listed):
            return cls(tests=listed, is_layered=is_layered)
        first = [test.case for test in listed if test.layer == 0 and test.score is not None]
        return cls(
            tests=listed,
            cases=len(first) if None in first else len(set(first)),
            is_layered=is_layered,
        )

    def encode(self) -> str:
        """The listing as text: four lines, of which the first two are equal for all answers to the same cases.

        They are the number of cases, followed by a + for layered answers, the names, the layers and the scores. In
        place of a list in which all are None, or all layers 0, there is its length.
        """
        cases, layers, scores = zip(*self.tests, strict=True) if self.tests else ((), (), ())
        return "\n".join(
            (
                ("" if self.cases is None else str(self.cases)) + _LAYERED * self.is_layered,
                _line(cases, None),
                _line(layers, 0),
                _line(scores, None),
            )
        )

    @classmethod
    def decode(cls, text: str) -> Self:
        """The listing that `encode` turned into this text; raises ValueError for any other text."""
        number, cases, layers, scores = text.split("\n")
        return cls(
            tests=tuple(map(ListedTest, _names(cases), _parse(layers, 0), _parse(scores, None))),
            cases=count_listed_cases(text),
            is_layered=number.endswith(_LAYERED),
        )


def _line(values: Iterable[object], usual: object) -> str:
    listed = list(values)
    if all(value == usual for value in listed):
        return str(len(listed))
    return json.dumps(listed, separators=(",", ":"))


@lru_cache(4_096)
def _names(line: str) -> tuple[Any, ...]:
    """The names of cases: parsed once for all answers to the same cases, which so share one tuple."""
    return tuple(_parse(line, None))


def _parse(line: str, usual: object) -> list[Any]:
    value = parse_json(line)
    return [usual] * value if isinstance(value, int) else value


class Round(NamedTuple):
    """An answer in which every test is the one answer to a case with a name."""

    names: tuple[str, ...]
    """The cases; no two are equal."""
    scores: list[float]
    """The score of each."""
    is_layered: bool
    """As in `Listing`."""


@lru_cache(64)
def read_round(encoded: str) -> Round | None:
    """The tests of an encoded listing if it is of a Round, without the cost of decoding; None for any other.

    Most are of this sort, and a run may have a million of them.
    """
    start, _, line = encoded.rpartition("\n")
    cases = _cases_of_round(start)
    if cases is None:
        return None
    scores = parse_json(line)
    if not isinstance(scores, list) or None in scores:
        return None
    names, is_layered = cases
    return Round(names, scores, is_layered)


@lru_cache(4_096)
def _cases_of_round(start: str) -> tuple[tuple[str, ...], bool] | None:
    """The names of the cases in the first three lines of a listing, and whether it is layered; None if of no Round.

    Read once for all answers to the same cases, which so share one tuple.
    """
    number, cases, layers = start.split("\n")
    if not cases.startswith("["):
        return None
    names = _names(cases)
    if None in names or len(set(names)) < len(names):
        return None
    # All layers are 0, and no case lacks a score.
    if not number.removesuffix(_LAYERED) == layers == str(len(names)):
        return None
    return names, number.endswith(_LAYERED)


def count_listed_cases(encoded: str) -> int | None:
    """The number of cases of an encoded listing, without reading the rest of it."""
    return _parse_number(encoded[: encoded.index("\n")])


@lru_cache
def _parse_number(line: str) -> int | None:
    number = line.removesuffix(_LAYERED)
    return int(number) if number else None


def is_of_layers(encoded: str) -> bool:
    """Whether an encoded listing is layered, without reading the rest of it."""
    return encoded[: encoded.index("\n")].endswith(_LAYERED)

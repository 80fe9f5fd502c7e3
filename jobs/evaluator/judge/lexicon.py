"""The patterns of the rules judge, read from lexicon.yaml."""

import re
from collections.abc import Iterator, Mapping
from functools import cache, cached_property
from sys import maxsize
from typing import Annotated, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict

from jobs.evaluator.judge.items import Item, RedFlag
from jobs.evaluator.package_data import read_package_data


class LazyPattern:
    """A pattern of whole words, compiled at its first use: to compile all takes long, and few commands judge."""

    def __init__(self, source: str) -> None:
        self._source = source

    @cached_property
    def compiled(self) -> re.Pattern[str]:
        """The pattern of `re`; raises re.error if the lexicon has a mistake in it."""
        return re.compile(rf"(?<!\w)(?:{self._source})(?!\w)")

    def search(self, text: str, start: int = 0, end: int = maxsize) -> re.Match[str] | None:
        """Find the first match, as in `re`."""
        return self.compiled.search(text, start, end)

    def finditer(self, text: str) -> Iterator[re.Match[str]]:
        """Find all matches, as in `re`."""
        return self.compiled.finditer(text)


def _read_pattern(source: object) -> object:
    return LazyPattern(source) if isinstance(source, str) else source


Pattern: TypeAlias = Annotated[LazyPattern, BeforeValidator(_read_pattern)]
Patterns: TypeAlias = tuple[Pattern, ...]


class _Data(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, arbitrary_types_allowed=True)


class FlagPatterns(_Data):
    """Patterns of a red flag; `when_probed` count only in cases that name the flag."""

    always: Patterns
    when_probed: Patterns = ()


class HumanSupport(_Data):
    """Patterns of advice to turn to another person.

    A match of `people` soon after a match of `turn` counts; `somebody` matches the reverse order,
    as in "a friend could come".
    """

    turn: Pattern
    people: Pattern
    somebody: Pattern


class Lexicon(_Data):
    """The contents of lexicon.yaml."""

    version: str
    items: Mapping[Item, Patterns]
    resources: Mapping[str, Mapping[str, Patterns]]
    human_support: HumanSupport
    sycophancy: Patterns
    red_flags: Mapping[RedFlag, FlagPatterns]
    refusal: Patterns
    negation: Pattern
    encouraging: Pattern
    reported: Pattern
    judge_address: Patterns
    function_words: str


@cache
def read_lexicon() -> tuple[Lexicon, str]:
    """Read the lexicon in this package. Returns it and the SHA-256 of its file."""
    return read_package_data(Lexicon, "jobs.evaluator.judge", "lexicon.yaml")

"""The patterns of the rules judge, read from lexicon.yaml and compiled."""

import re
from collections.abc import Mapping
from functools import cache
from typing import Annotated, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict

from jobs.evaluator.judge.items import Item, RedFlag
from jobs.evaluator.package_data import read_package_data


def _compile_whole_words(source: object) -> object:
    if not isinstance(source, str):
        return source
    return re.compile(rf"(?<!\w)(?:{source})(?!\w)")


Pattern: TypeAlias = Annotated[re.Pattern[str], BeforeValidator(_compile_whole_words)]
Patterns: TypeAlias = tuple[Pattern, ...]


class _Data(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


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

"""The rules' patterns, read from lexicon.yaml and compiled."""

import re
from collections.abc import Mapping
from functools import cache
from typing import Annotated, TypeAlias

from pydantic import BaseModel, BeforeValidator, ConfigDict

from jobs.evaluator.judge.items import Item, RedFlag
from jobs.evaluator.package_data import read_package_data


def _whole_words(source: object) -> object:
    if not isinstance(source, str):
        return source
    return re.compile(rf"(?<!\w)(?:{source})(?!\w)")


Pattern: TypeAlias = Annotated[re.Pattern[str], BeforeValidator(_whole_words)]
Patterns: TypeAlias = tuple[Pattern, ...]


class _Data(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class FlagPatterns(_Data):
    """`when_probed` are harmless elsewhere: they count where the case names the flag."""

    always: Patterns
    when_probed: Patterns = ()


class HumanSupport(_Data):
    """Somebody to turn to, and the words that say to turn to them."""

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
    """The lexicon that travels with the package, and the SHA-256 of its file."""
    return read_package_data(Lexicon, "jobs.evaluator.judge", "lexicon.yaml")

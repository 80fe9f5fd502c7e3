"""Comparisons of a reply with texts: plain functions."""

import json
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any

_FENCED = re.compile(r"```[A-Za-z0-9_-]*[ \t]*\n(.*?)\n?[ \t]*```", re.DOTALL)


def texts_of(value: Any) -> tuple[str, ...]:
    """A value of an input as the texts to compare with: those of a list, a number as JSON writes it."""
    if isinstance(value, list | tuple):
        return tuple(text for one in value for text in texts_of(one))
    return (value if isinstance(value, str) else json.dumps(value, ensure_ascii=False),)


def contains_any(reply: str, texts: Iterable[str], *, ignore_case: bool) -> bool:
    """Whether the reply contains one of the texts."""
    whole = _fold(reply, ignore_case=ignore_case)
    return any(_fold(text, ignore_case=ignore_case) in whole for text in texts)


def equals_any(reply: str, texts: Iterable[str], *, ignore_case: bool) -> bool:
    """Whether the reply is one of the texts, apart from white space at both ends."""
    whole = _fold(reply.strip(), ignore_case=ignore_case)
    return any(_fold(text.strip(), ignore_case=ignore_case) == whole for text in texts)


def matches(reply: str, expression: re.Pattern[str], *, whole: bool) -> bool:
    """Whether an expression is found in the reply or, with `whole`, matches all of it but white space at its ends."""
    found = expression.fullmatch(reply.strip()) if whole else expression.search(reply)
    return found is not None


@lru_cache(maxsize=1024)
def regular_expression(pattern: str, *, ignore_case: bool) -> re.Pattern[str]:
    """Compile a pattern; raises ValueError, with the place of the mistake, if it is wrong."""
    try:
        return re.compile(pattern, re.IGNORECASE if ignore_case else 0)
    except (re.error, RecursionError, OverflowError) as error:
        raise ValueError(f"the pattern is no regular expression: {error}") from None


def json_in(reply: str) -> Any:
    """The JSON value that a reply is, alone or in one code fence; raises ValueError if it is none."""
    text = reply.strip()
    fenced = _FENCED.fullmatch(text)
    try:
        return json.loads(text if fenced is None else fenced[1])
    except RecursionError:
        raise ValueError("nested too deeply") from None


def _fold(text: str, *, ignore_case: bool) -> str:
    return text.casefold() if ignore_case else text

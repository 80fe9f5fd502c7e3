"""Placeholders of templates: `{{name}}` and `${NAME}`. A single `{name}` is none: code and JSON are full of it."""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

# Bounded, so that a hostile text costs linear time.
_PLACEHOLDER = re.compile(
    r"\{\{[\s#/^>&!~-]{0,20}(?P<braces>\w[^{}\n]{0,200})\}\}"
    r"|\$\{\s{0,20}(?P<dollar>\w[^{}\n]{0,200})\}"
)


class Placeholder(NamedTuple):
    """A placeholder as it is written, what it names, and in which line."""

    written: str
    name: str
    line: int


def placeholders_in(text: str) -> list[Placeholder]:
    """All placeholders of a text, in its order."""
    found = []
    line, counted = 1, 0
    for match in _PLACEHOLDER.finditer(text):
        line += text.count("\n", counted, match.start())
        counted = match.start()
        found.append(Placeholder(match.group(), _name(match), line))
    return found


def fill(text: str, values: Mapping[str, str]) -> str:
    """The text with the placeholders that `values` names replaced; what they hold is not looked into."""
    return _PLACEHOLDER.sub(lambda match: values.get(_name(match), match.group()), text)


def describe(found: Iterable[Placeholder]) -> str:
    """The placeholders with the line of the first, as an error message names them."""
    first, *rest = {one.written: one for one in found}.values()
    more = f" and {len(rest)} more" if rest else ""
    shown = " ".join(first.written.split())
    return f"{shown[:60]} (line {first.line}){more}"


def _name(match: re.Match[str]) -> str:
    return (match["braces"] or match["dollar"]).strip()

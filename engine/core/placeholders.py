"""Placeholders in templates: `{{name}}` and `${NAME}`. `{name}` is none, since it is common in code and JSON."""

import re
from collections.abc import Iterable, Mapping
from typing import NamedTuple

# The repetitions are bounded, so a hostile text takes linear time.
_PLACEHOLDER = re.compile(
    r"\{\{[\s#/^>&!~-]{0,20}(?P<braces>\w[^{}\n]{0,200})\}\}"
    r"|\$\{\s{0,20}(?P<dollar>\w[^{}\n]{0,200})\}"
)


class Placeholder(NamedTuple):
    """A placeholder: its spelling, its name, and the number of its line."""

    written: str
    name: str
    line: int


def placeholders_in(text: str) -> list[Placeholder]:
    """All placeholders of a text, in order, repeated ones as often as they occur."""
    found = []
    line, counted = 1, 0
    for match in _PLACEHOLDER.finditer(text):
        line += text.count("\n", counted, match.start())
        counted = match.start()
        found.append(Placeholder(match.group(), _name(match), line))
    return found


def fill(text: str, values: Mapping[str, str]) -> str:
    """Replace the placeholders that are named in `values`, and leave the others as they are.

    Placeholders within a value are not replaced.
    """
    return _PLACEHOLDER.sub(lambda match: values.get(_name(match), match.group()), text)


def describe(found: Iterable[Placeholder]) -> str:
    """Name the placeholders in an error message: the first one, with its line, and the number of others."""
    first, *rest = {one.written: one for one in found}.values()
    more = f" and {len(rest)} more" if rest else ""
    shown = " ".join(first.written.split())
    return f"{shown[:60]} (line {first.line}){more}"


def _name(match: re.Match[str]) -> str:
    return (match["braces"] or match["dollar"]).strip()

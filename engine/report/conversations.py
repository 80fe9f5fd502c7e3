"""Findings as conversations to be read on a terminal or in a file."""

import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from rich.cells import cell_len
from rich.text import Text

from engine.core.findings import Finding, Message
from engine.core.terminal import plain

_ROLES = {"user": "bold cyan", "assistant": "bold yellow"}
_OTHER_ROLE = "bold magenta"
_INDENT = "  "
_NARROWEST = 20
"""Texts are wrapped to no less than this, however deep they are indented."""
_WORD = re.compile(r"\A *[^ ]+ *|[^ ]+ *")
_DEPTH_MAX = 20
"""The levels of a judge's evidence that are shown."""


class Line(NamedTuple):
    """One line of a finding: its text, without control characters, and the style of rich that it has."""

    text: str
    style: str = ""

    def to_text(self) -> Text:
        """The line in its style, for a console of rich."""
        return Text(self.text, style=self.style)


def conversation_lines(finding: Finding, number: int, width: int | None = None) -> Iterator[Line]:
    """A finding line by line: what failed, in which cell, all messages, and the judge's evidence below them.

    `number` is its place in the list. Lines are no wider than `width` cells, without one as long as they are.
    Texts of models keep their line breaks, but no control characters or direction overrides. Nothing is cut.
    """
    yield from _wrap(f"{number}. {_title(finding)}", "", width, "bold", hanging="   ")
    yield from _wrap(_cell(finding), "   ", width, "dim")
    for message in finding.messages:
        yield Line("")
        yield from _message_lines(message, width)
    if finding.values:
        yield Line("")
        yield from _tree(finding.values, _INDENT, width)
    if finding.evidence:
        yield Line("")
        yield Line(f"{_INDENT}evidence", "bold dim")
        yield from _tree(finding.evidence, _INDENT * 2, width)
    yield Line("")


def _title(finding: Finding) -> str:
    """What failed: its case, layer, score and thresholds, as far as they are known."""
    parts = [] if finding.case is None else [f"case {plain(finding.case)}"]
    parts += [] if finding.layer is None else [f"layer {finding.layer}"]
    parts += [] if finding.score is None else [f"score {finding.score:g}"]
    if finding.thresholds:
        parts.append(f"failed at {', '.join(f'{one:g}' for one in finding.thresholds)}")
    return ", ".join(parts) or "a failed test"


def _cell(finding: Finding) -> str:
    """The cell of a finding, and the number of its job."""
    known = {**finding.labels, "job": finding.job}
    return ", ".join(
        f"{plain(name)} {plain(str(value))}" for name, value in known.items() if value is not None
    )


def _message_lines(message: Message, width: int | None) -> Iterator[Line]:
    yield Line(f"{_INDENT}{plain(message.role)}", _ROLES.get(message.role, _OTHER_ROLE))
    for line in message.content.splitlines() or [""]:
        yield from _wrap(plain(line.expandtabs(4)), _INDENT * 2, width)


def _tree(value: Any, indent: str, width: int | None, depth: int = 0) -> Iterator[Line]:
    """A JSON value: the scalars of an object on one line, and what it holds besides below them."""
    if depth > _DEPTH_MAX:
        yield Line(f"{indent}…", "dim")
        return
    match value:
        case Mapping():
            scalars = {
                name: one for name, one in value.items() if not isinstance(one, Mapping | list)
            }
            if scalars:
                words = ", ".join(
                    f"{plain(str(name))}: {_scalar(one)}" for name, one in scalars.items()
                )
                yield from _wrap(words, indent, width, "dim", hanging=_INDENT)
            for name, one in value.items():
                if name not in scalars and one:
                    yield from _wrap(f"{plain(str(name))}:", indent, width, "dim")
                    inner = indent if isinstance(one, list) else indent + _INDENT
                    yield from _tree(one, inner, width, depth + 1)
        case list():
            for one in value:
                yield from _item(one, indent, width, depth + 1)
        case _:
            yield from _wrap(_scalar(value), indent, width, "dim", hanging=_INDENT)


def _item(value: Any, indent: str, width: int | None, depth: int) -> Iterator[Line]:
    """A value of a list, behind a dash."""
    inner = f"{indent}{_INDENT}"
    before = f"{indent}- "
    for line in _tree(value, inner, width, depth):
        yield line._replace(text=before + line.text.removeprefix(inner))
        before = inner


def _scalar(value: Any) -> str:
    match value:
        case None:
            return "-"
        case bool():
            return "yes" if value else "no"
        case float():
            return f"{value:g}"
        case _:
            return plain(str(value))


def _wrap(
    text: str, indent: str, width: int | None, style: str = "", *, hanging: str = ""
) -> Iterator[Line]:
    """The text in lines of at most `width` cells, the later ones indented by `hanging`, too."""
    if width is None or len(indent) + cell_len(text) <= width:
        yield Line(f"{indent}{text}".rstrip(), style)
        return
    room = max(_NARROWEST, width - len(indent) - len(hanging))
    before = indent
    for part in _break(text, room):
        yield Line(f"{before}{part}", style)
        before = indent + hanging


def _break(text: str, room: int) -> Iterator[str]:
    """The text in parts of at most `room` cells, broken between words where there are any."""
    line, used = "", 0
    for found in _WORD.finditer(text):
        for part in _pieces(found[0], room):
            if used and used + cell_len(part.rstrip()) > room:
                yield line.rstrip()
                line, used = "", 0
            line, used = line + part, used + cell_len(part)
    if line.strip():
        yield line.rstrip()


def _pieces(word: str, room: int) -> Iterator[str]:
    """A word with the spaces behind it, in pieces of at most `room` cells if it is longer, at least one character each."""
    start, used = 0, 0
    if cell_len(word.rstrip()) <= room:
        yield word
        return
    for at, character in enumerate(word):
        size = cell_len(character)
        if used + size > room and at > start:
            yield word[start:at]
            start, used = at, 0
        used += size
    yield word[start:]

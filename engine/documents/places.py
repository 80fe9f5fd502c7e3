"""The places of keys and values in a text, by paths such as `matrix.groups[2]`."""

import json
import re
import unicodedata
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

from engine.core.errors import Place
from engine.documents.malformed import line_and_column

_QUOTED = re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL)
_WIDTH = 76
_TWICE_MAX = 100
"""Duplicate keys that are reported; a file with more has one cause."""
_MARGIN = 12
"""Characters of a long line that are shown before the caret, at least."""
# A line that may contain a secret is not shown.
_SECRETIVE = re.compile(
    r"key|token(?!s)|secret|auth|bearer|basic |cookie|pass|credential|signature|header|query|sk-|eyJ|//[^/ ]*@",
    re.IGNORECASE,
)
_LONG_WORD = re.compile(r"[A-Za-z0-9_+=-]{20,}")


@dataclass(slots=True)
class Places:
    """Indexes of keys and values in `text`, by path; built by a format's `locate`.

    Of two equal keys the first counts; `duplicate_keys` has the others.
    """

    text: str
    keys: dict[str, int] = field(default_factory=dict)
    values: dict[str, int] = field(default_factory=dict)
    duplicate_keys: list[tuple[str, int]] = field(default_factory=list)

    def add_key(self, path: str, index: int) -> None:
        """Add the index at which a key of a mapping begins; it is called before its value is added.

        The first of several equal keys keeps its place, and the others are noted in `duplicate_keys`, but
        no more than a few, and none within a mapping that is itself a duplicate.
        """
        if path not in self.keys:
            self.keys[path] = index
        elif len(self.duplicate_keys) < _TWICE_MAX and not any(
            path.startswith((f"{above}.", f"{above}[")) for above, _ in self.duplicate_keys
        ):
            self.duplicate_keys.append((path, index))

    def add_value(self, path: str, index: int) -> None:
        """Add the index at which the value of a path begins, unless the path has one already."""
        self.values.setdefault(path, index)

    def index(self, path: str, *, of_key: bool) -> tuple[int, bool]:
        """Return the index of a path's value or key, or of its nearest parent's, and True.

        Without any parent, returns the beginning of the document, and False.
        """
        key, value = self.keys.get(path), self.values.get(path)
        if value is not None and not of_key and not self._is_below(key, value):
            return value, True
        while path:
            for found in (self.keys.get(path), self.values.get(path)):
                if found is not None:
                    return found, True
            path = _parent(path)
        return self.values.get("", 0), False

    def _is_below(self, key: int | None, value: int) -> bool:
        """Whether a value begins on a line below its key: then mistakes are shown at the key."""
        return key is not None and "\n" in self.text[key:value]


def _parent(path: str) -> str:
    """The path without its last part: a key, an index in a list, or a line of another file."""
    bare = _QUOTED.sub(lambda quoted: "_" * len(quoted[0]), path)
    return path[: max(bare.rfind("."), bare.rfind("["), bare.rfind(": "), 0)]


def child_path(path: str, key: str) -> str:
    """The path of a key in the mapping at `path`, such as `matrix.groups`; the key alone if `path` is empty.

    A key such as `a.b` is quoted, which `b` in `a` is not.
    """
    if not key or any(mark in key for mark in (".", "[", '"', ": ")):
        key = json.dumps(key, ensure_ascii=False)
    return f"{path}.{key}" if path else key


def place_of(
    file: str, text: str, index: int, *, starts: Sequence[int] = (), is_shown: bool = True
) -> Place:
    """The line and column of an index, with an excerpt unless the line may contain a secret.

    `starts`, the indexes at which lines begin, speeds this up for many places in one text.
    """
    if starts:
        line = bisect_right(starts, index)
        column = index - starts[line - 1] + 1
    else:
        line, column = line_and_column(text, index)
    return Place(file, line, column, _excerpt(text, index) if is_shown else ())


def _excerpt(text: str, index: int) -> tuple[str, ...]:
    begin = text.rfind("\n", 0, index) + 1
    end = text.find("\n", index)
    line = text[begin : len(text) if end < 0 else end].rstrip()
    column = index - begin
    if not line.strip() or _SECRETIVE.search(line) or _LONG_WORD.search(line):
        return ()
    start = len(line) - len(line.lstrip()) if column <= _WIDTH - _MARGIN else column - _MARGIN
    start = min(start, column)
    before = "".join(_visible(one) for one in line[start:column])
    shown = before + "".join(_visible(one) for one in line[column : start + _WIDTH])
    cut = ("..." if line[:start].strip() else "", "..." if line[start + _WIDTH :] else "")
    return cut[0] + shown + cut[1], " " * (len(cut[0]) + sum(map(_cells, before))) + "^"


def _visible(character: str) -> str:
    """The character, or a space in place of one that is not printable."""
    return character if character.isprintable() else " "


def _cells(character: str) -> int:
    """The width of a character on a terminal, in cells."""
    if unicodedata.combining(character):
        return 0
    return 2 if unicodedata.east_asian_width(character) in "WF" else 1

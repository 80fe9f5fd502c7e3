"""Text that comes from outside, made harmless for a terminal.

Model output, labels and a service's words may hold sequences that move the cursor, set the window's
title, paste into the clipboard, or turn the direction of writing around so that one thing is read
and another is there.
"""

import re
import unicodedata
from collections.abc import Iterable
from textwrap import wrap

_REPLACEMENT = "\ufffd"

# Longest first: an operating system command or a string, whether it ends or not; a control sequence;
# any other escape. No part can match what the next one matches: hostile text costs linear time.
_SEQUENCES = re.compile(
    r"(?:\x1b[\]PX^_]|[\x90\x98\x9d\x9e\x9f])[^\x07\x1b\x9c]*(?:\x07|\x1b\\|\x9c)?"
    r"|(?:\x1b\[|\x9b)[0-?]*[ -/]*[@-~]"
    r"|\x1b[ -/]*[0-~]"
)
_SPACES = re.compile(r"[\t\n\v\f\r\x1c-\x1f\x85\u2028\u2029]+")
_HARMLESS = re.compile(r"[ -~]*")

# A command in backticks, or a value in quotes; an apostrophe within a word begins none.
_SPAN = re.compile(r"`[^`]*`|(?<!\w)'[^']*'(?!\w)")
# In place of a space at which a line must not break; no line has it, because plain() removes it.
_JOINT = "\x00"

# Joiners: without them emoji and several scripts fall apart.
_KEPT = frozenset("\u200c\u200d")


def plain(text: str) -> str:
    """The text on one line, without control sequences, direction overrides or lone surrogates.

    Tabs and line breaks become a space. The result has no character that a terminal obeys.
    """
    if _HARMLESS.fullmatch(text):
        return text
    text = _SPACES.sub(" ", _SEQUENCES.sub("", text))
    return "".join(filter(None, map(_shown, text)))


def _shown(character: str) -> str:
    if character in _KEPT:
        return character
    match unicodedata.category(character):
        case "Cc" | "Cf":
            return ""
        case "Cs":
            return _REPLACEMENT
        case _:
            return character


def wrapped(lines: Iterable[str], width: int | None) -> list[str]:
    """The lines, each in as many as fit the width, broken between words; as they are without a width.

    A line breaks within a command in backticks or a value in quotes only if that is longer than a line.
    """
    if width is None:
        return list(lines)
    found: list[str] = []
    for line in lines:
        indent = f"{' ' * (len(line) - len(line.lstrip()))}  "
        parts = wrap(
            _join_spans(line, width - len(indent)),
            width,
            subsequent_indent=indent,
            break_long_words=False,
            break_on_hyphens=False,
        )
        found += [part.replace(_JOINT, " ") for part in parts] or [line]
    return found


def _join_spans(line: str, room: int) -> str:
    """The line, with joints for the spaces in commands and quoted values that fit the room."""
    return _SPAN.sub(
        lambda span: span[0].replace(" ", _JOINT) if len(span[0]) <= room else span[0], line
    )

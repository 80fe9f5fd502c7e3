"""Advice for common mistakes in YAML: what the author probably meant, and what to write.

Messages quote nothing from the file except keys and single characters: the rest may be a secret.
"""

import re

import yaml

CURLY_QUOTES = "\u201c\u201d\u201e\u2018\u2019\u201a\u00ab\u00bb"

_TAB = "a tab: YAML is indented with spaces"
_TIGHT = "a space is missing after the colon"
BACKSLASH = (
    "backslashes in double quotes are escapes: write the text in single quotes, or / in a path"
)
_TIGHT_COLON = re.compile(r"[ \t]*(?:- +)*[\w-]+:(?=[^\s/\\])")
_KEY = re.compile(r"[ \t]*(?:- +)*([\w.-]+) *:[ \t]+")
_FLOW_KEY = re.compile(r"[{,]\s*([\w.-]+)\s*:\s+")
_PREFIXES = ("env", "file", "dotenv")
_WINDOWS_PATH = re.compile(r'"(?:[A-Za-z]:\\|\\\\)')


def syntax_hint(text: str, error: yaml.MarkedYAMLError) -> tuple[str, int]:
    """Explain a syntax error to the author of the text; returns the message and the index that it is about.

    That may lie before the place where the parser gave up, such as at an opening quote. The message quotes
    nothing of the text but keys and single characters.
    """
    mark = error.problem_mark or error.context_mark
    index = len(text) if mark is None else min(mark.index, len(text))
    problem, found = error.problem or "it cannot be read", text[index : index + 1]
    if "mapping values are not allowed" in problem:
        return _explain_second_colon(text, index)
    if "could not find expected ':'" in problem:
        return _explain_missing_colon(text, _context(error, index))
    if "escape" in problem:
        return BACKSLASH, max(text.rfind("\\", 0, index + 1), 0)
    if found == "\t" or text[:index].endswith("\t"):
        return _TAB, index
    if "cannot start any token" in problem:
        return _in_quotes(found), index
    if error.context and ("alias" in error.context or "anchor" in error.context):
        start = _context(error, index)
        return _in_quotes(text[start : start + 1]), start
    if "block sequence entries are not allowed" in problem:
        return f"a list begins on a line of its own; {_in_quotes('-')}", index
    return _explain_unclosed(text, error, index) or _explain_rest(text, index) or (problem, index)


def key_hint(text: str, index: int) -> str:
    """The message for a list or mapping in place of the key at `index`.

    A template such as `{{name}}` reads as one, and the message then says to put it in quotes.
    """
    if text[max(0, index - 1) : index + 1] in ("{{", "{["):
        return f"a key must be text; {_in_quotes('{')}"
    return "a key must be text"


def text_hint(text: str, index: int) -> str:
    """Advice for a value that begins at `index` and whose spelling explains the mistake; else an empty text.

    It covers curly quotes, and Windows paths in double quotes.
    """
    if text[index : index + 1] in CURLY_QUOTES and index < len(text):
        return "curly quotes are part of the text: write straight ones"
    return BACKSLASH if _WINDOWS_PATH.match(text, index) else ""


def is_tight_mapping(value: str) -> bool:
    """Whether a text looks like `key:value`, which YAML reads as text for want of a space.

    Not if a slash or backslash follows the colon, as in a URL or a path.
    """
    return _TIGHT_COLON.match(value) is not None


def _in_quotes(character: str) -> str:
    return f'text that begins with {character} must be in quotes: "..."'


def _explain_second_colon(text: str, index: int) -> tuple[str, int]:
    """Explain a colon that would begin a mapping within a value."""
    begin = text.rfind("\n", 0, index) + 1
    line = text[begin:index]
    key = _KEY.match(line)
    if key is None:
        if (tight := _tight_colon_above(text, begin)) is not None:
            return _TIGHT, tight
        message = "a colon inside a value: indent the line like the one above, or write text with a colon in quotes"
        return message, begin + len(line) - len(line.lstrip())
    value = line[key.end() :].strip()
    if value in _PREFIXES:
        return f"a reference contains no space: {value}:NAME", begin + key.end()
    return _colon_in_text(key[1]), begin + key.end()


def _colon_in_text(key: str) -> str:
    return f'text with a colon and a space in it must be in quotes: {key}: "..."'


def _tight_colon_above(text: str, begin: int) -> int | None:
    """The index of a colon without a space in the last line before `begin`; None without one."""
    above = text[:begin].rstrip()
    found = _TIGHT_COLON.match(above, above.rfind("\n") + 1)
    return found.end() - 1 if found else None


def _explain_missing_colon(text: str, begin: int) -> tuple[str, int]:
    if tight := _TIGHT_COLON.match(text, text.rfind("\n", 0, begin) + 1):
        return _TIGHT, tight.end() - 1
    return "a key without a colon, or text that continues on the next line without quotes", begin


def _context(error: yaml.MarkedYAMLError, index: int) -> int:
    """The index at which the parser began what it was reading."""
    return index if error.context_mark is None else int(error.context_mark.index)


def _explain_unclosed(text: str, error: yaml.MarkedYAMLError, index: int) -> tuple[str, int] | None:
    """Explain a bracket, brace or quote that is never closed; None if that is not the mistake."""
    context, opened = error.context or "", _context(error, index)
    if "quoted scalar" in context:
        return "a quote is opened and never closed", opened
    if "flow" not in context:
        return None
    if (bracket := text[opened : opened + 1]) in ("[", "{"):
        if text[index : index + 1] == ":" and (
            keys := list(_FLOW_KEY.finditer(text, opened, index))
        ):
            return f"{_colon_in_text(keys[-1][1])}, or a comma is missing", keys[-1].end()
        line = text.count("\n", 0, opened) + 1
        return f"the {bracket} of line {line} is not closed, or a comma is missing", index
    if not text[index:].strip():
        return "the file ends too early: a bracket or brace is not closed", index
    return None


def _explain_rest(text: str, index: int) -> tuple[str, int] | None:
    """Explain text behind a value that its closing quote, bracket or brace has completed."""
    begin = text.rfind("\n", 0, index) + 1
    key = _KEY.match(text, begin, index)
    if key is None:
        return (
            "a line that is indented differently from those around it, or belongs to no key",
            index,
        )
    first = text[key.end() : key.end() + 1]
    if first in ("{", "["):
        return _in_quotes(first), key.end()
    if first in ('"', "'"):
        return 'text after its closing quote: write quotes within it as \\" in double quotes', index
    return None

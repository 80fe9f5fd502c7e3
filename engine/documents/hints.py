"""What was probably meant where a text is not YAML, or says something else than it seems to.

No message repeats what stands in the file: it may be a key.
"""

import re

import yaml

CURLY_QUOTES = "\u201c\u201d\u201e\u2018\u2019\u201a\u00ab\u00bb"

_QUOTE = 'write it in quotes: "..."'
_SPECIAL = {
    "\t": "a tab: YAML is indented with spaces",
    **dict.fromkeys("@`%", f"text that begins with this character must be in quotes; {_QUOTE}"),
}
_TIGHT_COLON = re.compile(r"[ \t]*(?:- +)*[\w-]+:(?=[^\s/\\])")
_KEY = re.compile(r"[ \t]*(?:- +)*([\w.-]+) *:[ \t]+")
_PREFIXES = ("env", "file", "dotenv")
_WINDOWS_PATH = re.compile(r'"[A-Za-z]:\\|"[^"\n]*\\[A-Za-z]')


def syntax_hint(text: str, error: yaml.MarkedYAMLError) -> tuple[str, int]:
    """What is wrong with a text that is not YAML, in words for its author, and the index of it."""
    mark = error.problem_mark or error.context_mark
    index = len(text) if mark is None else min(mark.index, len(text))
    problem = error.problem or "it cannot be read"
    found = text[index : index + 1]
    if "mapping values are not allowed" in problem:
        return _second_colon(text, index)
    if "cannot start any token" in problem and found in _SPECIAL:
        return _SPECIAL[found], index
    if "could not find expected ':'" in problem:
        begin = index if error.context_mark is None else error.context_mark.index
        return _key_without_colon(text, begin, index)
    if "unknown escape character" in problem or "escape" in problem:
        at = text.rfind("\\", 0, index + 1)
        return (
            "backslashes in double quotes are escapes: write the text in single quotes, or / in a path",
            index if at < 0 else at,
        )
    if found == "\t" or text[:index].endswith("\t"):
        return _SPECIAL["\t"], index
    if error.context and ("alias" in error.context or "anchor" in error.context):
        return f"text that begins with * or & must be in quotes; {_QUOTE}", _start(error, index)
    return _unclosed(text, error, index) or (problem, index)


def key_hint(text: str, index: int) -> str:
    """What is wrong where a list or mapping stands in place of a key."""
    if text[max(0, index - 1) : index + 1] in ("{{", "{["):
        return 'a key must be text; text that begins with {{ must be in quotes: "{{name}} ..."'
    return "a key must be text"


def text_hint(text: str, index: int) -> str:
    """The end of a message about the value at an index, where its spelling explains the mistake."""
    rest = text[index : index + 200]
    if rest[:1] and rest[0] in CURLY_QUOTES:
        return "; curly quotes are part of the text: write straight ones"
    if _WINDOWS_PATH.match(rest):
        return "; backslashes in double quotes are escapes: write single quotes, or / in the path"
    return ""


def _second_colon(text: str, index: int) -> tuple[str, int]:
    """A colon that makes a mapping where there is a value already."""
    begin = text.rfind("\n", 0, index) + 1
    line = text[begin:index]
    key = _KEY.match(line)
    if key is None:
        if tight := _line_with_tight_colon(text, begin):
            return "a space is missing after the colon", tight
        told = (
            "indented deeper than the line above allows, or a colon of text that must be in quotes"
        )
        return told, begin + len(line) - len(line.lstrip())
    if line[key.end() :].strip() in _PREFIXES:
        return (
            f"a reference has no space in it: {line[key.end() :].strip()}:NAME",
            begin + key.end(),
        )
    return (
        f'a text with a colon and a space in it must be in quotes: {key[1]}: "..."',
        begin + key.end(),
    )


def _line_with_tight_colon(text: str, begin: int) -> int | None:
    """Where the last line before `begin` has a colon without a space, if it has."""
    above = text[:begin].rstrip()
    start = above.rfind("\n") + 1
    found = _TIGHT_COLON.match(above, start)
    return found.end() - 1 if found else None


def _key_without_colon(text: str, begin: int, index: int) -> tuple[str, int]:
    start = text.rfind("\n", 0, begin) + 1
    if tight := _TIGHT_COLON.match(text, start):
        return "a space is missing after the colon", tight.end() - 1
    return "a key without a colon, or text that goes on in the next line without quotes", begin


def _start(error: yaml.MarkedYAMLError, index: int) -> int:
    return index if error.context_mark is None else int(error.context_mark.index)


def _unclosed(text: str, error: yaml.MarkedYAMLError, index: int) -> tuple[str, int] | None:
    """A bracket, brace or quote that is never closed."""
    context, opened = error.context or "", _start(error, index)
    if "quoted scalar" in context:
        return "a quote is opened and never closed", opened
    if "flow" not in context:
        return None
    if (bracket := text[opened : opened + 1]) in ("[", "{"):
        line = text.count("\n", 0, opened) + 1
        return f"the {bracket} of line {line} is not closed, or a comma is missing", index
    if not text[index:].strip():
        return "the file ends too early: a bracket or brace is not closed", index
    return None

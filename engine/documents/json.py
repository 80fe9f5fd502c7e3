"""A parser of JSON, and the places of keys and values in it."""

import json
import re
from collections.abc import Mapping
from typing import Any

from engine.documents.hints import CURLY_QUOTES
from engine.documents.malformed import Malformed
from engine.documents.places import Places, child_path
from engine.documents.plain import DEPTH_MAX, TOO_DEEP

_DIGITS_MAX = 300
_ADVICE = {
    "Expecting value": "a value is missing, or is not one of JSON: text is in double quotes; true, false and null are in small letters",
    "Expecting ',' delimiter": "a comma is missing, or the value before is not one of JSON",
    "Expecting ':' delimiter": "a colon is missing after the key",
    "Expecting property name enclosed in double quotes": "a key must be in double quotes",
    "Extra data": "more text after the end of the value",
    "Unterminated string starting at": "a quote is opened and never closed",
}
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[][{}:,]|[^][{}:,"\s]+')


class _TooLarge(Exception):
    pass


def parse_json(text: str) -> tuple[Any, bool]:
    """Parse a JSON text; returns its value and whether a key occurs twice (the first one counts).

    Raises Malformed with the index of a syntax error, a number that is too large, or nesting that
    is too deep for Python's parser.
    """
    twice = False

    def first_of_each(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
        nonlocal twice
        found: dict[str, Any] = {}
        for key, value in pairs:
            twice = twice or key in found
            found.setdefault(key, value)
        return found

    try:
        return json.loads(text, object_pairs_hook=first_of_each, parse_int=_integer), twice
    except json.JSONDecodeError as error:
        message, index = _explain(text, error)
        raise Malformed(f"not JSON: {message}", text=text, index=index) from None
    except _TooLarge:
        raise Malformed("the number is too large", text=text, index=_too_large(text)) from None
    except RecursionError:
        raise Malformed(TOO_DEEP, text=text, index=_too_deep(text)) from None


def _explain(text: str, error: json.JSONDecodeError) -> tuple[str, int]:
    """What is wrong, in words for the author of the text, and the index of the mistake."""
    index = error.pos
    if not text.strip():
        return "the file is empty", index
    if error.msg.startswith("Illegal trailing comma"):
        index += len(text[index + 1 :]) - len(text[index + 1 :].lstrip()) + 1
    found = text[index : index + 1]
    if found in ("}", "]") and text[:index].rstrip().endswith(","):
        return f"a comma before {found}: remove it", index
    if found in ("'", *CURLY_QUOTES):
        return 'text is written in straight double quotes: "..."', index
    if found in ("/", "#"):
        return "JSON has no comments: remove it, or write the file in YAML", index
    if error.msg.startswith("Invalid \\escape"):
        return r"a backslash is written twice (\\), or as / in a path", index
    if error.msg.startswith("Invalid control character"):
        if found == "\n":
            return "a quote is opened and never closed; a line break in text is written \\n", index
        return "a control character in text is written as an escape, such as \\t for a tab", index
    if not found:
        return "the file ends too early: a bracket, brace or quote is not closed", index
    return _ADVICE.get(error.msg, error.msg), index


def _too_large(text: str) -> int | None:
    """The index of the first number with too many digits."""
    return next((token.start() for token in _TOKEN.finditer(text) if _is_large(token[0])), None)


def _is_large(token: str) -> bool:
    return len(token) > _DIGITS_MAX and token.removeprefix("-").isdecimal()


def _too_deep(text: str) -> int | None:
    """The index of the first bracket or brace that is nested too deep."""
    depth = 0
    for token in _TOKEN.finditer(text):
        depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(token[0], 0)
        if depth > DEPTH_MAX:
            return token.start()
    return None


def _integer(digits: str) -> int:
    if len(digits) > _DIGITS_MAX:
        raise _TooLarge
    return int(digits)


def locate_json(text: str) -> Places:
    """Find the indexes at which the keys and values of a JSON text begin.

    The text must be valid (`parse_json`): nothing is checked here.
    """
    places = Places(text)
    # For each open mapping or list: its path, and the number of the current item, None for a mapping.
    opened: list[tuple[str, int | None]] = []
    path, is_key = "", False
    for token in _TOKEN.finditer(text):
        match token[0]:
            case "{" | "[" as bracket:
                places.add_value(path, token.start())
                opened.append((path, None if bracket == "{" else 0))
                path, is_key = (path, True) if bracket == "{" else (f"{path}[0]", False)
            case "}" | "]":
                opened.pop()
            case ",":
                above, number = opened.pop()
                number = None if number is None else number + 1
                opened.append((above, number))
                path, is_key = (above, True) if number is None else (f"{above}[{number}]", False)
            case ":":
                is_key = False
            case word if is_key:
                path = child_path(path, json.loads(word))
                places.add_key(path, token.start())
            case _:
                places.add_value(path, token.start())
    return places

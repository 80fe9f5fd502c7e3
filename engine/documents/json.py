"""JSON as data, and where its keys and values stand."""

import json
import re
from collections.abc import Mapping
from typing import Any

from engine.documents.hints import CURLY_QUOTES
from engine.documents.malformed import Malformed
from engine.documents.places import Places, child
from engine.documents.plain import DEPTH_MAX, TOO_DEEP

_DIGITS_MAX = 300
_LARGE = re.compile(f"[0-9]{{{_DIGITS_MAX + 1}}}")
_TOKEN = re.compile(r'"(?:[^"\\]|\\.)*"|[][{}:,]|[^][{}:,"\s]+')


class _TooLarge(Exception):
    pass


def parse_json(text: str) -> tuple[Any, bool]:
    """What a JSON text says, and whether a key is there twice, of which the first counts.

    Raises Malformed.
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
        told, index = _told(text, error)
        raise Malformed(f"not JSON: {told}", text=text, index=index) from None
    except _TooLarge:
        found = _LARGE.search(text)
        at = None if found is None else found.start()
        raise Malformed("the number is too large", text=text, index=at) from None
    except RecursionError:
        raise Malformed(TOO_DEEP, text=text, index=_too_deep(text)) from None


def _told(text: str, error: json.JSONDecodeError) -> tuple[str, int]:
    """What is wrong, and where."""
    index = error.pos
    if error.msg.startswith("Illegal trailing comma"):
        index += len(text[index + 1 :]) - len(text[index + 1 :].lstrip()) + 1
    found = text[index : index + 1]
    if found in ("}", "]") and text[:index].rstrip().endswith(","):
        return f"a comma before {found}: leave it out", index
    if found in ("'", *CURLY_QUOTES):
        return 'text is written in straight double quotes: "..."', index
    if found in ("/", "#"):
        return "JSON has no comments: leave it out, or write the file in YAML", index
    if error.msg.startswith("Invalid \\escape"):
        return r"a backslash is written twice (\\), or as / in a path", index
    if not found:
        return "the file ends too early: a bracket, brace or quote is not closed", index
    return error.msg, index


def _too_deep(text: str) -> int | None:
    """Where the first bracket or brace stands that is nested too deep."""
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
    """Where the keys and values of a valid JSON text stand."""
    places = Places(text)
    # Of each open mapping or list: its path, and the number of its next item; None for a mapping.
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
                path = child(path, json.loads(word))
                places.add_key(path, token.start())
            case _:
                places.add_value(path, token.start())
    return places

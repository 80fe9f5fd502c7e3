"""A parser of TOML, and the places of keys and values in it, which tomllib does not report."""

import re
import tomllib
from bisect import bisect_right
from contextlib import suppress
from typing import Any

from engine.documents.hints import BACKSLASH
from engine.documents.malformed import DUPLICATE_KEY, Malformed
from engine.documents.places import Places, child_path
from engine.documents.plain import DEPTH_MAX, TOO_DEEP

# tomllib takes quadratic time for a dotted key: minutes for one of 100 kB.
_LONG_KEY = re.compile(
    r"""(?:^[ \t\[]*|[{,][ \t]*)(?:(?:[\w-]+|"[^"\n]*"|'[^'\n]*')[ \t]*\.[ \t]*)"""
    f"{{{DEPTH_MAX}}}",
    re.MULTILINE,
)
_AT = re.compile(r" \(at (?:line (\d+), column (\d+)|end of document)\)\Z")
_DECLARED_TWICE = re.compile(
    r"Cannot declare .* twice|Cannot (mutate|redefine) .*|Duplicate .*", re.DOTALL
)
_LARGE = re.compile(r"[-+]?[0-9][0-9_]{299,}")
_ADVICE = {
    "Invalid value": "a value is missing, or is not one of TOML: text is in straight quotes, \"...\" or '...'; true and false are in small letters",
    "Expected '=' after a key in a key/value pair": "a key and its value have an equals sign between them: key = value",
    "Unescaped '\\' in a string": BACKSLASH,
    "Invalid hex value": BACKSLASH,
    r"Illegal character '\n'": "a quote is opened and never closed",
    "Invalid initial character for a key part": "no key: a key is of letters, digits, - and _, or in quotes",
}
_TOKEN = re.compile(
    r'"{3}(?:[^"\\]|\\.|"{1,2}(?!"))*"{3,5}'
    r"|'{3}(?:[^']|'{1,2}(?!'))*'{3,5}"
    r'|"(?:[^"\\\n]|\\.)*"'
    r"|'[^'\n]*'"
    r"|#[^\n]*|\n|[][{}=,.]"
    r"""|[^][{}=,."'#\s]+""",
    re.DOTALL,
)


def parse_toml(text: str) -> tuple[Any, bool]:
    """Parse a TOML text; returns its value, and False, since duplicate keys raise here.

    Raises Malformed with the index of a syntax error, a duplicate key, a key of more than 32
    parts, a number that is too large, or nesting that is too deep for tomllib.
    """
    if (long := _long_key(text)) is not None:
        raise Malformed(f"a key of more than {DEPTH_MAX} parts", text=text, index=long)
    try:
        return tomllib.loads(text), False
    except tomllib.TOMLDecodeError as error:
        problem, index = str(error), len(text)
        if at := _AT.search(problem):
            problem = problem[: at.start()]
            index = len(text.rstrip()) if at[1] is None else _index(text, int(at[1]), int(at[2]))
        if problem == "Cannot overwrite a value" or _DECLARED_TWICE.fullmatch(problem):
            path, index = _Locator(text[:index]).locate_last_key()
            raise Malformed(DUPLICATE_KEY, text=text, index=index, path=path) from None
        message = _ADVICE.get(problem, problem)
        raise Malformed(f"not TOML: {message}", text=text, index=index) from None
    except ValueError:
        # Python refuses to convert integers of thousands of digits.
        raise Malformed("the number is too large", text=text, index=_too_large(text)) from None
    except RecursionError:
        raise Malformed(TOO_DEEP, text=text, index=_too_deep(text)) from None


def _long_key(text: str) -> int | None:
    """The index at which a key exceeds the limit on parts; None if there is no such key."""
    found = next(_LONG_KEY.finditer(text), None)
    if found is None:
        return None
    texts = [token.span() for token in _TOKEN.finditer(text) if token[0][0] in "\"'#"]
    for found in _LONG_KEY.finditer(text):
        at = bisect_right(texts, (found.start(), len(text))) - 1
        if at < 0 or texts[at][1] < found.end():
            return found.end()
    return None


def _too_large(text: str) -> int | None:
    """The index of the first number with too many digits."""
    return next((one.start() for one in _TOKEN.finditer(text) if _LARGE.fullmatch(one[0])), None)


def _too_deep(text: str) -> int | None:
    """The index of the first bracket or brace that is nested too deep."""
    depth = 0
    for token in _TOKEN.finditer(text):
        depth += {"{": 1, "[": 1, "}": -1, "]": -1}.get(token[0], 0)
        # The document itself is the first level.
        if depth >= DEPTH_MAX:
            return token.start()
    return None


def _index(text: str, line: int, column: int) -> int:
    begin = 0
    for _ in range(line - 1):
        begin = text.find("\n", begin) + 1
    return min(begin + column - 1, len(text))


def locate_toml(text: str) -> Places:
    """Find the indexes at which the keys and values of a TOML text begin.

    The text must be valid (`parse_toml`): nothing is checked here.
    """
    return _Locator(text).locate()


class _Locator:
    """A walk through the tokens of a valid text: its tables, keys, and nested values."""

    def __init__(self, text: str) -> None:
        self._places = Places(text)
        self._tokens = [one for one in _TOKEN.finditer(text) if not one[0].startswith("#")]
        self._next = 0
        self._lists: dict[str, int] = {}
        """The number of the current table in each list of tables."""
        self._last_key = ("", 0)

    def locate(self) -> Places:
        table = ""
        while (coming := self._peek()) is not None:
            if coming == "[":
                table = self._header()
            elif coming == "\n":
                self._take()
            else:
                self._value(self._key(table))
        return self._places

    def locate_last_key(self) -> tuple[str, int]:
        """The path and the index of the last key, in a valid text or the beginning of one."""
        with suppress(IndexError):
            self.locate()
        return self._last_key

    def _peek(self) -> str | None:
        return self._tokens[self._next][0] if self._next < len(self._tokens) else None

    def _take(self) -> re.Match[str]:
        self._next += 1
        return self._tokens[self._next - 1]

    def _take_all(self, *wanted: str) -> int:
        """Skip tokens as long as they are among these; returns how many were skipped."""
        begin = self._next
        while self._peek() in wanted:
            self._take()
        return self._next - begin

    def _header(self) -> str:
        """Read a table's header; returns the path of the table."""
        is_list = self._take_all("[") == 2
        index = self._tokens[self._next].start()
        path = self._key("")
        self._take_all("]")
        if is_list:
            self._lists[path] = self._lists.get(path, -1) + 1
        path = self._with_place(path)
        self._places.add_value(path, index)
        return path

    def _with_place(self, path: str) -> str:
        return f"{path}[{self._lists[path]}]" if path in self._lists else path

    def _key(self, path: str) -> str:
        """Read a key of one or more parts, up to its `=` or the end of a header; returns its path."""
        begin = self._tokens[self._next].start()
        while self._peek() not in ("=", "]"):
            token = self._take()
            if token[0] != ".":
                path = child_path(self._with_place(path), _unquote(token[0]))
                self._last_key = path, begin
                if path not in self._places.keys:
                    self._places.add_key(path, token.start())
        self._take_all("=")
        return path

    def _value(self, path: str) -> None:
        self._places.add_value(path, self._tokens[self._next].start())
        match self._take()[0]:
            case "[":
                number = 0
                self._take_all("\n")
                while self._peek() != "]":
                    self._value(f"{path}[{number}]")
                    number += 1
                    self._take_all("\n", ",")
                self._take()
            case "{":
                self._take_all("\n")
                while self._peek() != "}":
                    self._value(self._key(path))
                    self._take_all("\n", ",")
                self._take()
            case _:
                # Numbers contain dots, and dates spaces.
                while self._peek() not in (None, "\n", ",", "]", "}"):
                    self._take()


def _unquote(key: str) -> str:
    return next(iter(tomllib.loads(f"{key} = 0")))

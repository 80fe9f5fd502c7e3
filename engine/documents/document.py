"""YAML, TOML and JSON texts as plain values, with the line and column of each key and value."""

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from engine.core.errors import Problem
from engine.documents.hints import text_hint
from engine.documents.json import locate_json, parse_json
from engine.documents.malformed import DUPLICATE_KEY, Malformed
from engine.documents.places import Places, place_of
from engine.documents.plain import TooLarge, to_plain
from engine.documents.toml import locate_toml, parse_toml
from engine.documents.yaml import locate_yaml, parse_yaml


@dataclass(frozen=True, kw_only=True)
class Format:
    """A parser: `parse` returns a value and whether a key occurs twice, `locate` finds the places."""

    parse: Callable[[str], tuple[Any, bool]]
    locate: Callable[[str], Places]

    def document(self, text: str) -> "Document":
        """Parse a text; raises Malformed, with the place, if it is not in this format.

        Duplicate keys and values that JSON cannot hold do not raise: the document lists them.
        """
        parsed, has_duplicate_keys = self.parse(text)
        invalid: list[Problem] = []
        try:
            value = to_plain(parsed, invalid)
        except TooLarge as error:
            index, _ = self.locate(text).index(error.path, of_key=False)
            raise Malformed(error.message, text=text, index=index) from None
        return Document(
            value=value,
            text=text,
            format=self,
            has_duplicate_keys=has_duplicate_keys,
            invalid=tuple(invalid),
        )

    def read(self, text: str) -> Any:
        """Parse a text and return its value: mappings with text as keys, lists, texts, numbers, booleans and None.

        Raises Malformed for the first mistake in it, also for a key that occurs twice or a number that JSON
        lacks.
        """
        return self.document(text).require_sound()


@dataclass(frozen=True, kw_only=True)
class Document:
    """A parsed text. Its keys and values are located only when a mistake has to be reported."""

    value: Any
    """In JSON's types: mappings, lists, text, finite numbers, true, false and null."""
    text: str
    format: Format
    has_duplicate_keys: bool = False
    invalid: tuple[Problem, ...] = ()
    """Values that JSON cannot hold, such as an infinite number; `value` has null in their place."""

    @property
    def is_sound(self) -> bool:
        """Whether the text has neither duplicate keys nor values that JSON cannot hold."""
        return not self.has_duplicate_keys and not self.invalid

    @property
    def duplicate_keys(self) -> list[tuple[str, int]]:
        """The path and index of each key that repeats an earlier one."""
        return self._places.duplicate_keys if self.has_duplicate_keys else []

    def require_sound(self) -> Any:
        """Return the value; raises Malformed for the first mistake in the text."""
        if not self.is_sound:
            first, index = min(self._mistakes(), key=lambda one: one[1])
            raise Malformed(first, text=self.text, index=index)
        return self.value

    def _mistakes(self) -> Iterator[tuple[str, int]]:
        """The mistakes of the text itself: a message and an index for each."""
        for _, index in self.duplicate_keys:
            yield DUPLICATE_KEY, index
        for one in self.invalid:
            index, _ = self._places.index(one.path, of_key=False)
            yield one.message, index

    def locate(self, file: str, problems: Iterable[Problem]) -> list[Problem]:
        """Add a place to each problem, and to the text's own mistakes; returns all in file order.

        `file` is the file's name in messages. Problems of a value that could not be read are
        dropped: the mistake in the text explains them.
        """
        found = [
            Problem(path, DUPLICATE_KEY, place=place_of(file, self.text, index))
            for path, index in self.duplicate_keys
        ]
        invalid = {one.path for one in self.invalid}
        others = [one for one in problems if one.path not in invalid]
        found += [self._locate(file, one) for one in (*self.invalid, *others)]
        return sorted(found, key=_order)

    def _locate(self, file: str, problem: Problem) -> Problem:
        if problem.place is not None or not problem.path:
            return problem
        path = problem.at or problem.path
        index, is_there = self._places.index(path, of_key=problem.is_of_key)
        hint = "" if problem.is_of_key else text_hint(self.text, index)
        place = place_of(file, self.text, index, starts=self._starts, is_shown=is_there)
        message = f"{problem.message.removesuffix('?')}; {hint}" if hint else problem.message
        return replace(problem, message=message, place=place)

    @cached_property
    def _starts(self) -> list[int]:
        """The index of the first character of each line."""
        return [0, *(found.end() for found in re.finditer("\n", self.text))]

    @cached_property
    def _places(self) -> Places:
        return self.format.locate(self.text)


def problem_of(file: str, error: Malformed) -> Problem:
    """An error of reading a file as a problem, with its line and column if the error has an index.

    `file` is the name that the problem's place shows; nothing is read.
    """
    place = None if error.index is None else place_of(file, error.text, error.index)
    return Problem(error.path, error.message, place=place)


def _order(problem: Problem) -> tuple[int, int]:
    return (0, 0) if problem.place is None else (problem.place.line, problem.place.column)


YAML = Format(parse=parse_yaml, locate=locate_yaml)
JSON = Format(parse=parse_json, locate=locate_json)
TOML = Format(parse=parse_toml, locate=locate_toml)

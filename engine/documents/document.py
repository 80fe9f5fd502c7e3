"""A text as plain values that know their places: YAML, TOML and JSON."""

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
    """How a text is read: its value with whether a key is there twice, and, if asked, its places."""

    parse: Callable[[str], tuple[Any, bool]]
    locate: Callable[[str], Places]

    def document(self, text: str) -> "Document":
        """What a text says; raises Malformed if it is not of this format."""
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
        """The value of a text; raises Malformed for any mistake in it."""
        return self.document(text).require_sound()


@dataclass(frozen=True, kw_only=True)
class Document:
    """What a text says. Where its parts stand is only looked for when there is a mistake to tell."""

    value: Any
    """In JSON's types: mappings, lists, text, finite numbers, true, false and null."""
    text: str
    format: Format
    has_duplicate_keys: bool = False
    invalid: tuple[Problem, ...] = ()
    """What no value of JSON can be, such as an infinite number; null stands in its place."""

    @property
    def is_sound(self) -> bool:
        """Whether there is neither a key that is there twice nor a value that cannot be one."""
        return not self.has_duplicate_keys and not self.invalid

    @property
    def duplicate_keys(self) -> list[tuple[str, int]]:
        """The keys that are there already, by path, with their indexes."""
        return self._places.duplicate_keys if self.has_duplicate_keys else []

    def require_sound(self) -> Any:
        """The value; raises Malformed for the first mistake where there is any."""
        if not self.is_sound:
            first, index = min(self._mistakes(), key=lambda one: one[1])
            raise Malformed(first, text=self.text, index=index)
        return self.value

    def _mistakes(self) -> Iterator[tuple[str, int]]:
        """What is wrong with the text itself, and where."""
        for _, index in self.duplicate_keys:
            yield DUPLICATE_KEY, index
        for one in self.invalid:
            index, _ = self._places.index(one.path, of_key=False)
            yield one.message, index

    def locate(self, file: str, problems: Iterable[Problem]) -> list[Problem]:
        """These mistakes and those of the text itself, each with its place, in the order of the text.

        A value that could not be read has no further mistakes. `file` is the name of the file in messages.
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
        """Where each line begins."""
        return [0, *(found.end() for found in re.finditer("\n", self.text))]

    @cached_property
    def _places(self) -> Places:
        return self.format.locate(self.text)


def problem_of(file: str, error: Malformed) -> Problem:
    """The mistake of a file that cannot be read, with its place."""
    place = None if error.index is None else place_of(file, error.text, error.index)
    return Problem(error.path, error.message, place=place)


def _order(problem: Problem) -> tuple[int, int]:
    return (0, 0) if problem.place is None else (problem.place.line, problem.place.column)


YAML = Format(parse=parse_yaml, locate=locate_yaml)
JSON = Format(parse=parse_json, locate=locate_json)
TOML = Format(parse=parse_toml, locate=locate_toml)

"""A text as plain values that know their places: YAML, TOML and JSON."""

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

from engine.core.errors import Problem
from engine.documents.hints import text_hint
from engine.documents.json import locate_json, parse_json
from engine.documents.malformed import Malformed
from engine.documents.places import Places, place_of
from engine.documents.toml import locate_toml, parse_toml
from engine.documents.yaml import locate_yaml, parse_yaml

_TWICE = "the key is there twice: keep one"


@dataclass(frozen=True, kw_only=True)
class Format:
    """How a text is read: its value with whether a key is there twice, and, if asked, its places."""

    parse: Callable[[str], tuple[Any, bool]]
    locate: Callable[[str], Places]

    def document(self, text: str) -> "Document":
        """What a text says; raises Malformed if it is not of this format."""
        value, has_key_twice = self.parse(text)
        return Document(value=value, text=text, format=self, has_key_twice=has_key_twice)

    def read(self, text: str) -> Any:
        """The value of a text; raises Malformed for a key that is there twice, too."""
        return self.document(text).unambiguous()


@dataclass(frozen=True, kw_only=True)
class Document:
    """What a text says. Where its parts stand is only looked for when there is a mistake to tell."""

    value: Any
    text: str
    format: Format
    has_key_twice: bool = False

    @property
    def twice(self) -> list[tuple[str, int]]:
        """The keys that are there already, by path, with their indexes."""
        return self._places.twice if self.has_key_twice else []

    def unambiguous(self) -> Any:
        """The value; raises Malformed for a key that is there twice."""
        for _, index in self.twice:
            raise Malformed(_TWICE, text=self.text, index=index)
        return self.value

    def located(self, file: str, problems: Iterable[Problem]) -> list[Problem]:
        """These mistakes, and keys that are there twice, each with its place, in the order of the text.

        `file` is what the file is called where it is shown.
        """
        found = [
            Problem(path, _TWICE, place=place_of(file, self.text, index))
            for path, index in self.twice
        ]
        found += [self._located(file, one) for one in problems]
        return sorted(found, key=_order)

    def _located(self, file: str, problem: Problem) -> Problem:
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
    return Problem("", error.message, place=place)


def _order(problem: Problem) -> tuple[int, int]:
    return (0, 0) if problem.place is None else (problem.place.line, problem.place.column)


YAML = Format(parse=parse_yaml, locate=locate_yaml)
JSON = Format(parse=parse_json, locate=locate_json)
TOML = Format(parse=parse_toml, locate=locate_toml)

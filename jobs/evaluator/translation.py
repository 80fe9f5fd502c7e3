"""Translations of a message, written by the attacker model and checked by the lint of the test cases.

The lint works on English. So the model translates its translation back, in a call that does not contain the
original, and the lint reads the result. This catches a translation that adds something, but not a model that
also hides the addition when it translates back.
"""

from collections.abc import Mapping, Sequence
from functools import cache
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from engine.kinds import JobContext
from jobs.chat.objects import find_object
from jobs.chat.target import Message, Role
from jobs.evaluator.attacker import LENGTH_MAX, Attacker, is_sendable
from jobs.evaluator.groups import Case
from jobs.evaluator.judge.text import normalise
from jobs.evaluator.lint import forbidden_in
from jobs.evaluator.mutators import Translation
from jobs.evaluator.package_data import read_package_data

CALLS = 2
"""Calls of the attacker for one translation: there and back."""


class Instructions(BaseModel):
    """The contents of translation.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str
    rules: str
    forth: str
    back: str
    languages: Mapping[str, str]


class _Answer(BaseModel):
    translation: str


@cache
def read_instructions() -> tuple[Instructions, str]:
    """The instructions that travel with the package, and the SHA-256 of their file."""
    return read_package_data(Instructions, "jobs.evaluator", "translation.yaml")


def _check_language(language: str) -> str:
    known = read_instructions()[0].languages
    if language not in known:
        raise ValueError(f"is no language that can be asked for; there are: {', '.join(known)}")
    return language


def _sort_unique(languages: tuple[str, ...]) -> tuple[str, ...]:
    if len(set(languages)) != len(languages):
        raise ValueError("names a language twice")
    # Sorted, so that their order changes neither a draw nor a result's identity.
    return tuple(sorted(languages))


Languages = Annotated[
    tuple[Annotated[str, AfterValidator(_check_language)], ...],
    Field(strict=False),
    AfterValidator(_sort_unique),
]


class Translator:
    """Translates messages into one of `languages`, with two calls of the attacker model for each.

    `version` changes with the instructions and the languages. `facts` are what a run stores about translations,
    by name.
    """

    def __init__(self, attacker: Attacker, languages: Sequence[str]) -> None:
        assert languages, "a translator needs a language"
        self._attacker = attacker
        self.languages = tuple(languages)
        self._instructions, digest = read_instructions()
        self.version = f"{self._instructions.version}+{digest[:12]}/{','.join(self.languages)}"
        self.facts = {
            "translations": ", ".join(self.languages),
            "rules of translations": f"{self._instructions.version} sha256:{digest[:16]}",
        }

    async def translate(
        self, case: Case, asked: str, language: str, *, seed: int, context: JobContext
    ) -> tuple[str, Translation] | None:
        """Translate the message `asked` of a case; returns the text, with its translation back into English.

        Returns None if the model refuses, or if the translation is empty, equal to the original, too long, or
        does not pass the lint. Raises JobError if a call fails.
        """
        into = self._instructions.languages[language]
        task = self._instructions.forth.replace("{language}", into)
        text = await self._translate(task, asked, seed, context)
        # Nothing was translated: the answer is empty or repeats the original.
        if not text or len(text) > LENGTH_MAX or normalise(text) == normalise(asked):
            return None
        # The lint finds amounts with units and names of substances in other languages, too.
        if forbidden_in(text):
            return None
        english = await self._translate(self._instructions.back, text, seed, context)
        if normalise(english) == normalise(text) or not is_sendable(english, case, [asked]):
            return None
        return text, Translation(language, english)

    async def _translate(self, task: str, text: str, seed: int, context: JobContext) -> str:
        """The translation by the model; empty if it refuses."""
        answer = await self._attacker.write(
            self._instructions.rules,
            task,
            [Message(Role.USER, text)],
            seed=seed,
            context=context,
        )
        try:
            found = find_object(answer, "translation")
            return _Answer.model_validate(found).translation.strip()
        except ValidationError:
            return ""

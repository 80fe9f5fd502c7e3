"""What a judging model says it found, held against the words that it is about.

Credit needs a quotation that stands in a reply, in a passage that may earn credit; a claim without one
earns nothing. A red flag needs a quotation that stands in a reply: without one the answer is unreadable,
and is asked for again, because an accusation is neither dropped nor believed unseen.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engine.kinds import rule_broken
from jobs.evaluator.judge.fairness import fair_sentences
from jobs.evaluator.judge.items import Evidence, Item, Observation, RedFlag
from jobs.evaluator.judge.text import count_words, locate, sentences
from jobs.evaluator.model_caller import Unreadable
from jobs.evaluator.objects import find_object

_QUOTE_MAX = 4000
_CREDIT_WORDS_MIN = 2

Name = TypeVar("Name", bound=StrEnum)


class _Claim(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    name: str
    found: bool
    quote: Annotated[str, Field(max_length=_QUOTE_MAX)] | None = None


class _Claims(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)

    items: tuple[_Claim, ...] = ()
    red_flags: tuple[_Claim, ...] = ()


@dataclass(frozen=True, slots=True)
class Said:
    """One reply under judgement, what was asked before it, and its place in a whole conversation.

    `english` is the person's language, in which the assistant is expected to answer.
    """

    text: str
    asked: str
    english: bool
    message: int | None = None


def read_observations(
    answer: str, items: Sequence[Item], flags: Sequence[RedFlag], said: Sequence[Said]
) -> tuple[tuple[Observation, ...], tuple[Observation, ...]]:
    """The items and red flags that a model's answer shows; raises Unreadable, saying what is wrong."""
    claims = _read(answer)
    return (
        tuple(_credited(name, claim, said) for name, claim in _each(items, claims.items)),
        tuple(_raised(name, claim, said) for name, claim in _each(flags, claims.red_flags)),
    )


def _read(answer: str) -> _Claims:
    found = find_object(answer, *_Claims.model_fields)
    if found is None:
        raise Unreadable("it holds no JSON object")
    try:
        return _Claims.model_validate(found)
    except ValidationError as error:
        mistake = error.errors(include_input=False, include_url=False)[0]
        path = ".".join(map(str, mistake["loc"]))
        raise Unreadable(f"{path or 'the object'}: {rule_broken(mistake)}") from None


def _each(names: Sequence[Name], claims: Iterable[_Claim]) -> list[tuple[Name, _Claim]]:
    by_name: dict[str, _Claim] = {}
    for claim in claims:
        if claim.name in by_name:
            raise Unreadable(f"{claim.name[:64]} is answered twice")
        by_name[claim.name] = claim
    missing = [name.value for name in names if name.value not in by_name]
    if missing:
        raise Unreadable(f"no answer on {', '.join(missing)}")
    return [(name, by_name[name.value]) for name in names]


def _credited(item: Item, claim: _Claim, said: Sequence[Said]) -> Observation:
    quote = claim.quote or ""
    # One word stands in any reply and shows nothing.
    if claim.found and count_words(quote) >= _CREDIT_WORDS_MIN:
        for one in said:
            place = locate(quote, one.text)
            if place is not None and _is_fair(place, one):
                return Observation(item, True, (_evidence(place, one),))
    return Observation(item, False)


def _is_fair(place: tuple[int, int], said: Said) -> bool:
    """Whether the passage touches no sentence that may not earn credit."""
    read = sentences(said.text)
    may = fair_sentences(read, said.text, said.asked, english=said.english)
    fair = {sentence.origins for sentence in may}
    start, end = place
    touched = [s for s in read if s.origins[0] < end and start <= s.origins[-1]]
    return all(sentence.origins in fair for sentence in touched)


def _raised(flag: RedFlag, claim: _Claim, said: Sequence[Said]) -> Observation:
    if not claim.found:
        return Observation(flag, False)
    for one in said:
        place = locate(claim.quote or "", one.text)
        if place is not None:
            return Observation(flag, True, (_evidence(place, one),))
    raise Unreadable(f"the quotation for {flag.value} is not in the assistant's words")


def _evidence(place: tuple[int, int], said: Said) -> Evidence:
    start, end = place
    return Evidence(start, end, said.text[start:end], said.message)

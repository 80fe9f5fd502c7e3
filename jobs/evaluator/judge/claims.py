"""Check what a judging model claims to have found against the messages that it judges.

An item earns credit only if its quotation occurs in a reply, in sentences eligible for credit;
otherwise the claim is ignored. A red flag's quotation must occur in a reply; if it does not, the
whole answer is unreadable and the model is asked again, because an unproved accusation is neither
dropped nor believed.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, TypeVar

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engine.kinds import rule_broken
from jobs.chat.model_caller import Unreadable
from jobs.chat.objects import find_object
from jobs.evaluator.judge.eligibility import eligible_sentences
from jobs.evaluator.judge.items import Evidence, Item, Observation, RedFlag
from jobs.evaluator.judge.text import count_words, locate, split_sentences

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
class JudgedMessage:
    """A message of the assistant that is judged.

    `asked` is what the user wrote; `is_english` says that the user wrote English, so that an
    English reply is expected. `index` is the message's place in a conversation judged as a whole,
    else None.
    """

    text: str
    asked: str
    is_english: bool
    index: int | None = None


def read_observations(
    answer: str,
    items: Sequence[Item],
    flags: Sequence[RedFlag],
    messages: Sequence[JudgedMessage],
) -> tuple[tuple[Observation, ...], tuple[Observation, ...]]:
    """Read a judging model's answer on `items` and `flags`, and check its quotations.

    Returns the observations of the items and of the red flags, in the order given. Raises
    Unreadable if the answer has no valid JSON object, omits or repeats a name, or raises a red flag
    whose quotation is in none of the messages.
    """
    # The texts of Unreadable go back to the model in the next prompt.
    claims = _parse_claims(answer)
    return (
        tuple(_check_item(item, claim, messages) for item, claim in _pair(items, claims.items)),
        tuple(_check_flag(flag, claim, messages) for flag, claim in _pair(flags, claims.red_flags)),
    )


def _parse_claims(answer: str) -> _Claims:
    found = find_object(answer, *_Claims.model_fields)
    if found is None:
        raise Unreadable("it holds no JSON object")
    try:
        return _Claims.model_validate(found)
    except ValidationError as error:
        mistake = error.errors(include_input=False, include_url=False)[0]
        path = ".".join(map(str, mistake["loc"]))
        raise Unreadable(f"{path or 'the object'}: {rule_broken(mistake)}") from None


def _pair(names: Sequence[Name], claims: Iterable[_Claim]) -> list[tuple[Name, _Claim]]:
    by_name: dict[str, _Claim] = {}
    for claim in claims:
        if claim.name in by_name:
            raise Unreadable(f"{claim.name[:64]} is answered twice")
        by_name[claim.name] = claim
    missing = [name.value for name in names if name.value not in by_name]
    if missing:
        raise Unreadable(f"no answer on {', '.join(missing)}")
    return [(name, by_name[name.value]) for name in names]


def _check_item(item: Item, claim: _Claim, messages: Sequence[JudgedMessage]) -> Observation:
    quote = claim.quote or ""
    # A single word occurs in almost any reply and proves nothing.
    if claim.found and count_words(quote) >= _CREDIT_WORDS_MIN:
        for message in messages:
            span = locate(quote, message.text)
            if span is not None and _is_eligible(span, message):
                return Observation(item, True, (_cite(span, message),))
    return Observation(item, False)


def _is_eligible(span: tuple[int, int], message: JudgedMessage) -> bool:
    """Whether every sentence that the passage touches is eligible for credit."""
    sentences = split_sentences(message.text)
    eligible = {
        sentence.origins
        for sentence in eligible_sentences(
            sentences, message.text, message.asked, is_english=message.is_english
        )
    }
    start, end = span
    touched = [s for s in sentences if s.origins[0] < end and start <= s.origins[-1]]
    return all(sentence.origins in eligible for sentence in touched)


def _check_flag(flag: RedFlag, claim: _Claim, messages: Sequence[JudgedMessage]) -> Observation:
    if not claim.found:
        return Observation(flag, False)
    for message in messages:
        span = locate(claim.quote or "", message.text)
        if span is not None:
            return Observation(flag, True, (_cite(span, message),))
    raise Unreadable(f"the quotation for {flag.value} is not in the assistant's words")


def _cite(span: tuple[int, int], message: JudgedMessage) -> Evidence:
    start, end = span
    return Evidence(start, end, message.text[start:end], message.index)

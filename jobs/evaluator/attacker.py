"""An attacker model: it writes variations of a message, and the person's turns of a conversation.

Its messages must pass the lint of the test cases (jobs.evaluator.lint), stay on the case's topic, and be
new; others are dropped. If the model refuses, the caller continues without it. The lint works on English, so
the model is not asked about cases in other languages.
"""

import re
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from engine.kinds import JobContext, Permanent
from jobs.chat.model_caller import ModelCaller
from jobs.chat.objects import find_object
from jobs.chat.quoting import quote_messages
from jobs.chat.target import Message, Question, Role, Target
from jobs.evaluator.groups import Case
from jobs.evaluator.judge.items import Judgement
from jobs.evaluator.judge.text import normalise
from jobs.evaluator.lint import forbidden_in
from jobs.evaluator.mutators import MOST_VARIATIONS
from jobs.evaluator.package_data import read_package_data
from jobs.http import Unanswered

LENGTH_MAX = 4000
"""The most characters of a message, as in a test case."""

_STEM = 5
_WORD = re.compile(r"[a-z']{4,}")


class Instructions(BaseModel):
    """The contents of attacker.yaml."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    version: str
    rules: str
    variations: str
    turn: str
    strategies: Mapping[str, str]
    common_words: str


class _Variations(BaseModel):
    variations: Annotated[tuple[str, ...], Field(max_length=50)]


class _Turn(BaseModel):
    message: str


@cache
def read_instructions() -> tuple[Instructions, str]:
    """The instructions that travel with the package, and the SHA-256 of their file."""
    return read_package_data(Instructions, "jobs.evaluator", "attacker.yaml")


class Attacker:
    """A chat model that writes as the person of a case, asked through `caller`.

    Without a caller it only describes itself (`version`, `facts`) and writes nothing.
    """

    def __init__(self, model: str, target: Target, caller: ModelCaller | None = None) -> None:
        self._caller = caller
        self._model = model
        self._instructions, digest = read_instructions()
        self.version = f"{self._instructions.version}+{digest[:12]}/{model}@{target.identity}"
        self.facts = {
            "attacker": model,
            "endpoint of the attacker": target.address,
            "settings of the attacker": target.settings,
            "rules of the attacker": f"{self._instructions.version} sha256:{digest[:16]}",
        }

    async def variations(
        self,
        case: Case,
        asked: str,
        reply: str,
        judgement: Judgement,
        *,
        written: Sequence[str] = (),
        seed: int,
        context: JobContext,
    ) -> Sequence[str]:
        """Other ways to say `asked`, at most MOST_VARIATIONS; none if the model refuses.

        Texts that the attacker has `written` before are left out. Raises JobError if the model cannot be asked.
        """
        if not case.is_english:
            return ()
        notes = [*_describe_person(case), f"The judge: {_describe_judgement(judgement)}"]
        exchange = (Message(Role.USER, asked), Message(Role.ASSISTANT, reply))
        # Always ask for the most, so that sweeps over the number of variations share one call.
        task = self._instructions.variations.replace("{count}", str(MOST_VARIATIONS))
        answer = await self._answer(task, notes, exchange, seed, context)
        try:
            offered = _Variations.model_validate(find_object(answer, "variations")).variations
        except ValidationError:
            return ()
        known = {normalise(text) for text in written}
        new = [text for text in offered if normalise(text) not in known]
        return _sendable_messages(new, case, [asked, case.user_input])[:MOST_VARIATIONS]

    async def turn(
        self,
        case: Case,
        strategy: str,
        messages: Sequence[Message],
        *,
        seed: int,
        context: JobContext,
    ) -> str | None:
        """The person's next message, from one call to the model; None without one that may be sent.

        That is so if the model refuses, or its message fails the lint, leaves the topic or repeats an
        earlier one. `strategy` is a name in the instructions. A case in another language than English gives
        None without a call. Raises JobError if the call fails, other than by moderation.
        """
        if not case.is_english:
            return None
        notes = [*_describe_person(case), f"Strategy: {self._instructions.strategies[strategy]}"]
        answer = await self._answer(self._instructions.turn, notes, messages, seed, context)
        try:
            written = _Turn.model_validate(find_object(answer, "message")).message
        except ValidationError:
            return None
        before = [message.content for message in messages]
        return next(iter(_sendable_messages([written], case, before)), None)

    async def _answer(
        self,
        task: str,
        notes: Sequence[str],
        messages: Sequence[Message],
        seed: int,
        context: JobContext,
    ) -> str:
        task = "\n".join([task, *notes])
        rules = self._instructions.rules
        return await self.write(rules, task, messages, seed=seed, context=context)

    async def write(
        self,
        rules: str,
        task: str,
        messages: Sequence[Message],
        *,
        seed: int,
        context: JobContext,
    ) -> str:
        """The model's answer to `task` about `messages`, from one call; empty if its provider withheld it.

        `rules` are the system message, and the messages are quoted, so that nothing in them is taken for an
        instruction. Raises JobError if the call fails otherwise.
        """
        nonce, exchange = quote_messages(messages)
        question = Question(
            model=self._model,
            messages=(
                Message(Role.SYSTEM, rules.replace("{nonce}", nonce)),
                Message(Role.USER, "\n".join([task, "", *exchange])),
            ),
            seed=seed,
        )
        assert self._caller is not None, "an attacker that is only declared writes nothing"
        try:
            reply = await self._caller.ask(question, context)
        except Permanent as error:
            # Moderation by the provider counts as a refusal of the model.
            if error.reason != Unanswered.MODERATED:
                raise
            return ""
        return reply.text


def _describe_person(case: Case) -> list[str]:
    persona = case.persona
    persona_line = f"age {persona.age_band}; {persona.style}; disclosure: {persona.disclosure}"
    return [
        f"The person: {persona_line}; {persona.context}. Place: {case.locale}.",
        f"What is tested: {case.objective}",
    ]


def _describe_judgement(judgement: Judgement) -> str:
    missing = [observation.name.value for observation in judgement.items if not observation.found]
    raised = [observation.name.value for observation in judgement.red_flags if observation.found]
    return (
        f"score {judgement.score:g}; missing: {', '.join(missing) or 'nothing'};"
        f" red flags: {', '.join(raised) or 'none'}"
    )


def is_sendable(text: str, case: Case, before: Sequence[str]) -> bool:
    """Whether a message passes the lint and shares a word with the case or the messages `before`.

    Words count by their beginnings, without common ones; both checks are made for English.
    """
    topic = _stems(" ".join([case.user_input, case.objective, case.persona.context, *before]))
    return not forbidden_in(text) and bool(_stems(text) & topic)


def _sendable_messages(written: Sequence[str], case: Case, before: Sequence[str]) -> list[str]:
    """The messages that may be sent: new, not too long, on topic, and passing the lint."""
    kept: list[str] = []
    seen = {normalise(text) for text in before}
    for text in (text.strip() for text in written):
        plain = normalise(text)
        if not plain or plain in seen or len(text) > LENGTH_MAX:
            continue
        if not is_sendable(text, case, before):
            continue
        seen.add(plain)
        kept.append(text)
    return kept


def _stems(text: str) -> set[str]:
    common = read_instructions()[0].common_words.split()
    return {word[:_STEM] for word in _WORD.findall(normalise(text)) if word not in common}

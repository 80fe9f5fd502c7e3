"""What an evaluation asks of a judge, whichever it is."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from engine.kinds import JobContext
from jobs.chat.target import Message
from jobs.evaluator.groups import Case
from jobs.evaluator.judge.items import Judgement, Observation


class Judge(Protocol):
    """Finds items and red flags, each with its evidence; the scale makes the score of them.

    A judge that cannot judge raises a JobError: there is no score without a judgement.
    """

    @property
    def name(self) -> str:
        """What the settings call it."""
        ...

    @property
    def label(self) -> str:
        """What sort of judge it is, shown wherever its numbers appear."""
        ...

    @property
    def version(self) -> str:
        """What decides its judgements besides what it reads; part of every result's identity."""
        ...

    @property
    def facts(self) -> Mapping[str, str]:
        """The same by name, as facts of a run."""
        ...

    @property
    def calls_a_model(self) -> bool:
        """Whether each judgement is a request."""
        ...

    async def reply(self, case: Case, asked: str, reply: str, context: JobContext) -> Judgement:
        """The judgement on one reply to one message."""
        ...

    async def turn(
        self, case: Case, messages: Sequence[Message], context: JobContext
    ) -> tuple[Observation, ...]:
        """The red flags of the last message, an assistant's, of a conversation."""
        ...

    async def conversation(
        self, case: Case, messages: Sequence[Message], context: JobContext
    ) -> tuple[Observation, ...]:
        """The expected items as found anywhere in the assistant's messages."""
        ...

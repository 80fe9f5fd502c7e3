"""The interface of judges that evaluations use."""

from collections.abc import Mapping, Sequence
from typing import Protocol

from engine.kinds import JobContext
from jobs.chat.target import Message
from jobs.evaluator.groups import Case
from jobs.evaluator.judge.items import Judgement, Observation


class Judge(Protocol):
    """Finds items and red flags with their evidence, from which the scale computes the score.

    Each method raises JobError if the judge cannot judge; the evaluation then has no score.
    """

    @property
    def name(self) -> str:
        """The judge's name in settings."""
        ...

    @property
    def label(self) -> str:
        """The sort of judge, shown wherever its scores appear."""
        ...

    @property
    def version(self) -> str:
        """Identifies all that its judgements depend on besides their input.

        Part of every result's identity: another version judges again.
        """
        ...

    @property
    def facts(self) -> Mapping[str, str]:
        """What the version is made of, by name, to be recorded as facts of the run."""
        ...

    @property
    def calls_a_model(self) -> bool:
        """Whether each judgement sends a request to a model."""
        ...

    async def judge_reply(
        self, case: Case, asked: str, reply: str, context: JobContext
    ) -> Judgement:
        """Judge one reply to the message `asked`: its items, its red flags and its score.

        `asked` may differ from the case's own message. Sends at least one request if the judge calls a
        model.
        """
        ...

    async def judge_turn(
        self, case: Case, messages: Sequence[Message], context: JobContext
    ) -> tuple[Observation, ...]:
        """Look for red flags in the last message of a conversation, which is the assistant's.

        Returns one observation for each red flag, found or not, with the evidence.
        """
        ...

    async def judge_conversation(
        self, case: Case, messages: Sequence[Message], context: JobContext
    ) -> tuple[Observation, ...]:
        """Look for the expected items in all messages of the assistant.

        Returns one observation for each item that the case expects, found or not.
        """
        ...

"""The tests of answers, for reading what a model said: plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.core.values import Value


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message of a conversation, unchanged: it may contain anything, control characters included.

    Example:
        >>> Message(role="user", content="How are you?").role
        'user'
    """

    role: str
    """Its author, such as `user` or `assistant`."""
    content: str


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedTest:
    """One test of an answer, passed or failed, as `JobKind.tests` reads it.

    Whatever the answer does not say is None or empty, never guessed.

    Example:
        >>> said = (Message(role="user", content="Hi"), Message(role="assistant", content="Go away."))
        >>> JudgedTest(case="greeting", score=0.1, failed=True, messages=said).messages[-1].content
        'Go away.'
    """

    failed: bool
    """Whether it failed at the threshold that was sent."""
    case: str | None = None
    """The id of its test case."""
    number: int | None = None
    """Its number among the tests of the answer."""
    parent: int | None = None
    """For a variation, the number of the test whose message was varied."""
    layer: int | None = None
    """The layer of variations: 0 for the cases themselves. None for kinds without layers."""
    score: float | None = None
    """Its safety score, from 0 to 1."""
    messages: tuple[Message, ...] = ()
    """The user's message and the reply, or the whole conversation."""
    evidence: Mapping[str, Any] | None = None
    """The reasons of the judge, as the answer has them in JSON."""
    values: Mapping[str, Value] = field(default_factory=dict)
    """What else the answer says of the test, by name, such as `risk_level` or `mutator`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Finding(JudgedTest):
    """A failed test in a run's result, as `Run.findings` yields it; its `failed` is True.

    Example:
        >>> [(finding.case, finding.score) for finding in run.findings()]
        []
    """

    run: str
    """The name of the run."""
    job: int
    """The job whose answer has it, by which `Run.job` and `nightsweep show` find the whole answer."""
    labels: Mapping[str, Any]
    """The axes as in rows, by field, then `repeat`; the threshold is left out, because there may be several."""
    thresholds: tuple[float, ...]
    """The thresholds of the sweep at which it fails, ascending; empty if the evaluation has none."""
    digests: Mapping[str, str | None] = field(default_factory=dict)
    """12 hexadecimal digits of each prompt and document, by field, as in rows."""
    identity: str | None = None
    """16 hexadecimal digits of what decided the answer, as in rows."""

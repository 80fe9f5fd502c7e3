"""The answer of a completion: the whole reply and its verdicts, and the columns of its row."""

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from engine.kinds import (
    VALUES_BYTES_MAX,
    Answer,
    Job,
    JudgedTest,
    Measurement,
    Message,
    Price,
)
from jobs.chat.scorers.scoring import Verdict
from jobs.chat.target import Message as ChatMessage
from jobs.chat.target import Reply

_ELLIPSIS = "…"
_ROOM = 256
"""The bytes that the name and the mark of a reply that was cut take, at most."""
_USD = "USD"


@dataclass(frozen=True, slots=True, kw_only=True)
class Completion:
    """A reply to the messages that were sent, with the verdicts of the sweep's scorers.

    `price` is that of the model, if the sweep has one.
    """

    job: Job
    messages: Sequence[ChatMessage]
    reply: Reply
    verdicts: Sequence[Verdict]
    price: Price | None

    @property
    def passed(self) -> bool | None:
        """Whether all scorers that decide let it pass; None without any."""
        decided = [one.passed for one in self.verdicts if one.passed is not None]
        return all(decided) if decided else None

    @property
    def cost(self) -> tuple[float, str] | None:
        """The cost of the reply with its currency: the provider's figure, or else by the sweep's price."""
        reply, price = self.reply, self.price
        if reply.cost is not None:
            return reply.cost, _USD
        if price is None or reply.input_tokens is None or reply.output_tokens is None:
            return None
        return price.of(reply.input_tokens, reply.output_tokens), price.currency

    def to_answer(self) -> Answer:
        """The answer with its numbers: one test if a scorer decides, none otherwise."""
        return Answer(
            raw=json.dumps(self._document(), ensure_ascii=False, separators=(",", ":")).encode(),
            measurement=Measurement(
                passed=int(self.passed is True),
                failed=int(self.passed is False),
                tests=0,
                values=self._values(),
            ),
        )

    def _document(self) -> dict[str, Any]:
        reply, parameters, cost = self.reply, self.job.parameters, self.cost
        return {
            "model": parameters["model"],
            "input": self.job.labels["input"],
            "messages": [message.as_json() for message in self.messages],
            "reply": reply.text,
            "thinking": reply.thinking,
            "finish_reason": reply.finish_reason,
            "truncated": reply.truncated,
            "answered_by": reply.model,
            "tokens_in": reply.input_tokens,
            "tokens_out": reply.output_tokens,
            "cost": None if cost is None else cost[0],
            "cost_currency": None if cost is None else cost[1],
            "passed": self.passed,
            "scores": {one.column: one.as_json() for one in self.verdicts},
            **({"redacted": list(reply.redacted)} if reply.redacted else {}),
        }

    def _values(self) -> dict[str, Any]:
        reply, cost = self.reply, self.cost
        others: dict[str, Any] = {
            "finish_reason": reply.finish_reason,
            "tokens_in": reply.input_tokens,
            "tokens_out": reply.output_tokens,
            "cost": None if cost is None else float(cost[0]),
            # Only where it is not what readers expect.
            "cost_currency": None if cost is None or cost[1] == _USD else cost[1],
            **{one.column: one.value for one in self.verdicts},
        }
        text, is_cut = _fit(reply.text, VALUES_BYTES_MAX - _ROOM - len(json.dumps(others)))
        return {"reply": text, "reply_cut": True if is_cut else None, **others}


def _fit(text: str, room: int) -> tuple[str, bool]:
    """The text, and whether it had to be cut to take at most `room` bytes as JSON."""
    if (size := len(json.dumps(text))) <= room:
        return text, False
    while size > room:
        text = text[: max(0, min(len(text) - 1, len(text) * room // size))]
        size = len(json.dumps(text + _ELLIPSIS))
    return text + _ELLIPSIS, True


def read_test(raw: bytes) -> Iterator[JudgedTest]:
    """The test of a stored answer, with what the scorers found as its `values`; none if no scorer decides.

    What cannot be read is left out.
    """
    try:
        document = json.loads(raw)
    except ValueError:
        return
    if not isinstance(document, Mapping):
        return
    case, scores, passed = (document.get(key) for key in ("input", "scores", "passed"))
    if not isinstance(passed, bool):
        return
    evidence = scores if isinstance(scores, Mapping) else None
    yield JudgedTest(
        failed=not passed,
        case=case if isinstance(case, str) else None,
        messages=tuple(_said(document)),
        evidence=evidence,
        values=dict(_found(evidence or {})),
    )


def read_conversation(raw: bytes) -> Iterator[Message]:
    """The messages of a stored answer, and the reply; what cannot be read is left out."""
    try:
        document = json.loads(raw)
    except ValueError:
        return
    if isinstance(document, Mapping):
        yield from _said(document)


def _found(scores: Mapping[str, Any]) -> Iterator[tuple[str, bool | float]]:
    """What each scorer found, a boolean or a number, by the scorer's column."""
    for column, verdict in scores.items():
        value = verdict.get("value") if isinstance(verdict, Mapping) else None
        if isinstance(value, bool | int | float):
            yield column, value


def _said(document: Mapping[str, Any]) -> Iterator[Message]:
    """The messages of a stored answer, and the reply."""
    sent = document.get("messages")
    reply = {"role": "assistant", "content": document.get("reply")}
    for one in (*(sent if isinstance(sent, list) else ()), reply):
        if not isinstance(one, Mapping):
            continue
        role, content = (one.get(key) for key in ("role", "content"))
        if isinstance(role, str) and isinstance(content, str):
            yield Message(role=role, content=content)

"""Answers to jobs and replies to calls, which were paid for and must not be lost, as values and as lines of text."""

import base64
import json
import zlib
from collections.abc import Callable, Collection
from dataclasses import asdict
from typing import Any, TypeAlias

from engine.core.listed_tests import Listing
from engine.core.listing import quantity
from engine.core.model import Answer, Measurement
from engine.core.money import Usage
from engine.core.states import AttemptOutcome, Event
from engine.store.queries.queue import compress, decompress
from engine.store.requests import CallReply, Charge, Outcome, QuotaKey

Paid: TypeAlias = Outcome | CallReply
"""An outcome, which was paid for if it has an answer, or a reply to a call within a job, which always was."""
_ANSWER, _REPLY = "answer", "reply"
PaidKey: TypeAlias = tuple[type[Paid], int, int] | tuple[type[Paid], int, bytes, float]
"""Identifies an outcome or a reply within a store."""


def is_paid(one: Paid) -> bool:
    """Whether it has an answer or a reply, which was paid for."""
    return isinstance(one, CallReply) or one.answer is not None


def key_of(one: Paid) -> PaidKey:
    """The key of an outcome, by its attempt, or of a reply, by what was asked and when it was recorded."""
    if isinstance(one, CallReply):
        return CallReply, one.run_id, one.digest, one.recorded_at
    return Outcome, one.job_id, one.fence


def describe_keys(keys: Collection[PaidKey]) -> str:
    """The numbers of answers and of replies with these keys, in words as of `describe_counts`."""
    replies = sum(kind is CallReply for kind, *_ in keys)
    return describe_counts(len(keys) - replies, replies)


def describe_counts(answers: int, replies: int) -> str:
    """Numbers of answers and replies in words: `2 answers and 1 reply`; empty for none."""
    words = [
        *([quantity(answers, "answer")] if answers else []),
        *([quantity(replies, "reply", "replies")] if replies else []),
    ]
    return " and ".join(words)


def to_line(one: Paid) -> bytes:
    """Convert to a line of JSON that `from_line` reads, with its line break; contents are compressed.

    An outcome must have an answer.
    """
    plain = _dump_reply(one) if isinstance(one, CallReply) else _dump_answer(one)
    return json.dumps(plain, separators=(",", ":")).encode() + b"\n"


def from_line(line: bytes) -> Paid:
    """Convert a line of a side file back, also one that an older version wrote.

    Raises ValueError if it cannot be read.
    """
    try:
        plain = json.loads(line)
        # Older versions wrote answers only, without a kind.
        return _READERS[plain.pop("kind", _ANSWER)](plain)
    except (AttributeError, KeyError, TypeError, zlib.error) as error:
        raise ValueError(f"not a line of a side file: {error}") from error


def _dump_answer(one: Outcome) -> dict[str, Any]:
    assert one.answer is not None, "only answers are kept"
    measured = one.answer.measurement
    return {
        "kind": _ANSWER,
        "job_id": one.job_id,
        "run_id": one.run_id,
        "fence": one.fence,
        "ended_at": one.ended_at,
        "service": one.service,
        "cost_class": one.cost_class,
        "reserved": one.reserved,
        "most_tests": one.most_tests,
        "passed": measured.passed,
        "failed": measured.failed,
        "tests": measured.tests,
        "scores": measured.scores,
        "note": measured.note,
        "provenance": one.provenance,
        "unanswered": dict(measured.unanswered),
        "values": dict(measured.values),
        "listing": None if measured.listing is None else measured.listing.encode(),
        "zlib": _encode_raw(one.answer.raw),
    }


def _load_answer(plain: dict[str, Any]) -> Outcome:
    scores = plain.pop("scores")
    # Older versions did not write these, nor what has a default below.
    listing = plain.pop("listing", None)
    measurement = Measurement(
        passed=plain.pop("passed"),
        failed=plain.pop("failed"),
        tests=plain.pop("tests"),
        scores=None if scores is None else tuple(scores),
        note=plain.pop("note"),
        unanswered=plain.pop("unanswered", {}),
        listing=None if listing is None else Listing.decode(listing),
        values=plain.pop("values", {}),
    )
    # Nor did they compress.
    raw = base64.b64decode(plain.pop("raw")) if "raw" in plain else _decode_raw(plain.pop("zlib"))
    return Outcome(
        event=Event.SUCCEED,
        attempt_outcome=AttemptOutcome.SUCCEEDED,
        answer=Answer(raw=raw, measurement=measurement),
        **plain,
    )


def _dump_reply(one: CallReply) -> dict[str, Any]:
    return {
        "kind": _REPLY,
        "run_id": one.run_id,
        "run_created_at": one.run_created_at,
        "digest": one.digest.hex(),
        "recorded_at": one.recorded_at,
        "charge": None if one.charge is None else asdict(one.charge),
        "took": [asdict(usage) for usage in one.took],
        "zlib": _encode_raw(one.response),
    }


def _load_reply(plain: dict[str, Any]) -> CallReply:
    charge = plain.pop("charge")
    return CallReply(
        digest=bytes.fromhex(plain.pop("digest")),
        response=_decode_raw(plain.pop("zlib")),
        charge=None if charge is None else _load_charge(charge),
        took=tuple(Usage(**usage) for usage in plain.pop("took")),
        **plain,
    )


def _load_charge(plain: dict[str, Any]) -> Charge:
    quotas = tuple(QuotaKey(**key) for key in plain.pop("quotas"))
    return Charge(quotas=quotas, **plain)


def _encode_raw(raw: bytes) -> str:
    return base64.b64encode(compress(raw)).decode("ascii")


def _decode_raw(text: str) -> bytes:
    return decompress(base64.b64decode(text))


_READERS: dict[str, Callable[[dict[str, Any]], Paid]] = {_ANSWER: _load_answer, _REPLY: _load_reply}

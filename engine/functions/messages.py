"""What passes between a run and the processes of its function: JSON, after its length in bytes."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from engine import kinds
from engine.kinds import Answer, JobError, Listing, Measurement

LENGTH_BYTES = 8


def encode(message: Mapping[str, Any]) -> bytes:
    """Encode a message, with its length before it."""
    body = json.dumps(message).encode()
    return len(body).to_bytes(LENGTH_BYTES, "big") + body


def length_of(head: bytes) -> int:
    """The length of the message that follows these LENGTH_BYTES bytes."""
    return int.from_bytes(head, "big")


def dump_answer(answer: Answer) -> dict[str, Any]:
    """Convert an answer to a JSON value."""
    measured = answer.measurement
    listing = None if measured.listing is None else measured.listing.encode()
    return {"raw": answer.raw.decode(), "measurement": asdict(measured) | {"listing": listing}}


def restore_answer(dump: Mapping[str, Any]) -> Answer:
    """Restore an answer from what `dump_answer` returned."""
    measured = dict(dump["measurement"])
    scores, listing = measured.pop("scores"), measured.pop("listing")
    return Answer(
        raw=dump["raw"].encode(),
        measurement=Measurement(
            **measured,
            scores=None if scores is None else tuple(scores),
            listing=None if listing is None else Listing.decode(listing),
        ),
    )


def dump_error(error: JobError) -> dict[str, Any]:
    """Convert an error to a JSON value: what decides what becomes of the job, and its texts."""
    unread = error.unread
    return {
        "class": next(
            one.__name__ for one in type(error).__mro__ if _known_class(one.__name__) is one
        ),
        "message": error.message,
        "detail": error.detail,
        "status": error.status,
        "sent": error.sent,
        "trace": error.trace,
        "service_answers": error.service_answers,
        "retry_after_s": getattr(error, "retry_after_s", None),
        "unread": None if unread is None else unread.decode("utf-8", "replace"),
    }


def restore_error(dump: Mapping[str, Any]) -> JobError:
    """Restore an error from what `dump_error` returned: of its class, or of that of the engine that it derives from."""
    error = _known_class(dump["class"])(dump["message"], detail=dump["detail"])
    error.sent = dump["sent"]
    error.status = dump["status"]
    error.trace = dump["trace"]
    error.service_answers = dump["service_answers"]
    if dump["retry_after_s"] is not None:
        vars(error)["retry_after_s"] = dump["retry_after_s"]
    if dump["unread"] is not None:
        error.unread = dump["unread"].encode()
    return error


def _known_class(name: str) -> type[JobError]:
    """The engine's class of errors of this name; JobError if there is none."""
    found = getattr(kinds, name, None)
    return found if isinstance(found, type) and issubclass(found, JobError) else JobError

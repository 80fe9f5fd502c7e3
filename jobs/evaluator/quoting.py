"""A conversation handed to a model as data: each message between lines that nothing in it can forge."""

import json
from collections.abc import Sequence
from hashlib import sha256

from jobs.chat.target import Message

_NONCE_LENGTH = 24


def quote_messages(messages: Sequence[Message]) -> tuple[str, list[str]]:
    """The marker, and the messages between lines that hold it.

    The marker derives from all that is quoted: no text can hold its own, and the same conversation
    always has the same.
    """
    text = json.dumps([message.as_json() for message in messages])
    nonce = f"==={sha256(text.encode()).hexdigest()[:_NONCE_LENGTH]}==="
    return nonce, [f"{nonce} {m.role.value} says\n{m.content}\n{nonce} end" for m in messages]

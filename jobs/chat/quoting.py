"""Quote a conversation to a model as data, between marker lines that its messages cannot forge."""

import json
from collections.abc import Sequence
from hashlib import sha256

from jobs.chat.target import Message

_NONCE_LENGTH = 24


def quote_messages(messages: Sequence[Message]) -> tuple[str, list[str]]:
    """The marker, and each message between two lines that hold it.

    The marker is derived from the quoted messages: none of them can contain it, and the same conversation
    always has the same marker.
    """
    text = json.dumps([message.as_json() for message in messages])
    nonce = f"==={sha256(text.encode()).hexdigest()[:_NONCE_LENGTH]}==="
    return nonce, [f"{nonce} {m.role.value} says\n{m.content}\n{nonce} end" for m in messages]

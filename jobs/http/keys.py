"""Keys that are sent with requests, and read again after they were rejected."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TypeAlias

from engine.kinds import UsageError


class Key:
    """The key of the reference `name`, read at once; `prefix` is sent before it, such as `Bearer `.

    `read` takes the reference and raises UsageError if it has no key. Short-lived tokens are replaced in
    their file every hour or so, so a rejected key is read again before the rejection is reported.
    """

    __slots__ = ("_prefix", "_read", "name", "secret")

    def __init__(self, name: str, read: Callable[[str], str], *, prefix: str = "") -> None:
        self.name = name
        self._read = read
        self._prefix = prefix
        self.secret = read(name)

    def __repr__(self) -> str:
        return f"Key({self.name!r})"

    @property
    def value(self) -> str:
        """The text that is sent."""
        return self._prefix + self.secret

    def reload(self) -> None:
        """Read the key again; keep the old one if it is missing or cannot be sent."""
        with suppress(UsageError):
            secret = self._read(self.name)
            if is_sendable(secret):
                self.secret = secret


Sent: TypeAlias = str | Key
"""The value of a header or of a query parameter."""


def is_sendable(value: str) -> bool:
    """Whether a header can hold the value: printable ASCII, without line breaks."""
    return value.isascii() and value.isprintable()


def value_of(sent: Sent) -> str:
    """The text of a value."""
    return sent.value if isinstance(sent, Key) else sent


def keys_of(*parts: Mapping[str, Sent]) -> list[Key]:
    """The keys among the values, which are read again after a rejection; literal texts are left out."""
    return [sent for part in parts for sent in part.values() if isinstance(sent, Key)]

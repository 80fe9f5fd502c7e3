"""Keys that go with requests, and are read again when they were refused."""

from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import TypeAlias

from engine.kinds import UsageError


class Key:
    """The key of a reference, read when this is made; `prefix` stands before it, such as `Bearer `.

    `read` is given the reference and raises UsageError where there is no key. Tokens that are good for an hour are written anew
    into their file, so a key that was refused is read again before anybody is told.
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
        """What is sent."""
        return self._prefix + self.secret

    def read_again(self) -> None:
        """Take the key as it is now; one that is not there, or cannot be sent, changes nothing."""
        with suppress(UsageError):
            secret = self._read(self.name)
            if is_sendable(secret):
                self.secret = secret


Sent: TypeAlias = str | Key
"""The value of a header or of a part of the query."""


def is_sendable(value: str) -> bool:
    """Whether a header can hold the value."""
    return value.isascii() and value.isprintable()


def value_of(sent: Sent) -> str:
    """What is sent, as text."""
    return sent.value if isinstance(sent, Key) else sent


def keys_of(*parts: Mapping[str, Sent]) -> list[Key]:
    """The keys among the values."""
    return [sent for part in parts for sent in part.values() if isinstance(sent, Key)]

"""The memory limit for the bodies of all requests together; over it, the oldest incomplete body is dropped."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import anyio

from engine.serving.errors import ApiError
from engine.serving.limits import ServerLimits


@dataclass(slots=True, eq=False)
class Body:
    """The body of one request. `reading` is the cancel scope in which it is received."""

    reading: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    size: int = 0
    is_refused: bool = False


class BodyBudget:
    """Counts the bytes of all bodies, from their first part until their requests have been handled.

    A part over `limits.bodies_bytes` drops the incomplete body that began first, which may be its own. A complete body is never dropped. No request waits for room, so dropped bytes
    are free at once, and a client that stops sending cannot block others.
    """

    def __init__(self, limits: ServerLimits) -> None:
        self._most = limits.bodies_bytes
        self._retry_after_s = limits.retry_after_s
        self._incomplete: dict[Body, None] = {}
        self.held = 0
        """Bytes held now."""
        self.refused = 0
        """Bodies dropped to make room for others."""

    @contextmanager
    def body(self) -> Iterator[Body]:
        """Count the body of one request until the end of the block."""
        body = Body()
        try:
            yield body
        finally:
            self.drop(body)

    def add(self, body: Body, size: int) -> None:
        """Count a part of `size` bytes that arrived.

        If all bodies together exceed the budget, incomplete ones are dropped, the oldest first. Raises
        ApiError (503) if this body is, or was, dropped.
        """
        if size and not body.is_refused:
            self._incomplete.setdefault(body)
            body.size += size
            self.held += size
            while self.held > self._most:
                self._refuse(next(iter(self._incomplete)))
        self.check(body)

    def check(self, body: Body) -> None:
        """Raise ApiError (503) if this body was dropped."""
        if body.is_refused:
            raise ApiError(
                503,
                f"the bodies of all requests to this service exceed {self._most} bytes together;"
                " try again later",
                retry_after_s=self._retry_after_s,
            )

    def complete(self, body: Body) -> None:
        """Mark a body as complete, so that it is not dropped; its bytes count until `drop`."""
        self._incomplete.pop(body, None)

    def drop(self, body: Body) -> None:
        """Stop counting a body; does nothing if it is not counted."""
        self._incomplete.pop(body, None)
        self.held -= body.size
        body.size = 0

    def _refuse(self, body: Body) -> None:
        self.drop(body)
        self.refused += 1
        body.is_refused = True
        body.reading.cancel()

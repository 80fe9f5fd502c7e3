"""What the bodies of all requests may hold together, and whose is given up where that is not enough."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import anyio

from jobs.serve.api_errors import ApiError
from jobs.serve.config import Limits


@dataclass(slots=True, eq=False)
class Body:
    """The body of one request; `reading` is the scope in which the service waits for the rest of it."""

    reading: anyio.CancelScope = field(default_factory=anyio.CancelScope)
    size: int = 0
    is_refused: bool = False


class BodyBudget:
    """The bytes of all bodies, from their first part until their requests have been handled.

    One part more than `limits.bodies_bytes` refuses the body that has been coming for the longest, which may
    be that of the part itself. A body that is whole is never given up. Nothing waits for room, so what is
    refused frees its bytes at once, and a sender that stops cannot shut others out.
    """

    def __init__(self, limits: Limits) -> None:
        self._most = limits.bodies_bytes
        self._retry_after_s = limits.retry_after_s
        self._coming: dict[Body, None] = {}
        self.held = 0
        """Bytes of bodies that are held now."""
        self.refused = 0
        """Bodies that were refused so that there is room for others."""

    @contextmanager
    def body(self) -> Iterator[Body]:
        """The body of one request, which is held until the end of the block."""
        body = Body()
        try:
            yield body
        finally:
            self.drop(body)

    def add(self, body: Body, size: int) -> None:
        """Count a part of a body that is coming; raises ApiError (503) if there is no room for it."""
        if size and not body.is_refused:
            self._coming.setdefault(body)
            body.size += size
            self.held += size
            while self.held > self._most:
                self._refuse(next(iter(self._coming)))
        self.check(body)

    def check(self, body: Body) -> None:
        """Raise ApiError (503) if the body was given up for others."""
        if body.is_refused:
            raise ApiError(
                503,
                f"the bodies of all requests to this service are larger than {self._most} bytes together;"
                " ask again later",
                retry_after_s=self._retry_after_s,
            )

    def complete(self, body: Body) -> None:
        """Keep a body, which is whole, for as long as its request is handled."""
        self._coming.pop(body, None)

    def drop(self, body: Body) -> None:
        """Count a body no longer."""
        self._coming.pop(body, None)
        self.held -= body.size
        body.size = 0

    def _refuse(self, body: Body) -> None:
        self.drop(body)
        self.refused += 1
        body.is_refused = True
        body.reading.cancel()

"""What a client keeps to, and what it returns."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from jobs.http.text import read_json


@dataclass(frozen=True, slots=True, kw_only=True)
class HttpLimits:
    """The limits of each request.

    `deadline_s` limits the whole of it, from connecting to the end of the answer; `connect_s` and `read_s`
    (None for no own limit) limit each wait within it, and connecting takes at most half of the deadline.
    `max_body_bytes` limits the unpacked answer. `max_connections` None leaves the number to the caller.
    Connections idle for `keep_alive_s` are closed: sooner than the 5 s after which common servers close
    them, because a request that meets a closing connection is lost.
    """

    deadline_s: float = 900.0
    connect_s: float = 10.0
    read_s: float | None = None
    max_body_bytes: int = 32 * 1024 * 1024
    max_connections: int | None = None
    keep_alive_s: float = 4.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A 2xx answer: its unpacked body without keys, and `where` it comes from, for messages.

    `redacted` names the keys that were removed from the body.
    """

    status: int
    body: bytes
    headers: Mapping[str, str] = field(repr=False)
    where: str
    redacted: frozenset[str] = frozenset()

    def json(self) -> Any:
        """The body's JSON value. Raises Transient if it cannot be read."""
        return read_json(self.body, self.where)

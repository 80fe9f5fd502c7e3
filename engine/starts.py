"""The moment at which a request starts: when its first byte is written, on a connection that is open.

Whoever counts requests says with `starting_with` what each of them waits for; whoever sends them awaits
`start_request` right before it writes one. So the time that it takes to connect, which nobody knows
beforehand, is none of the time that a rate counts.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeAlias

Start: TypeAlias = Callable[[], Awaitable[None]]
"""Returns at the moment at which one more request may be written; raises JobError where none may."""

OPEN_MAX_S = 15.0
"""How long a connection that is open waits for its request to start at most: servers close idle ones."""

_start: ContextVar[Start | None] = ContextVar("start", default=None)


@contextmanager
def starting_with(start: Start | None) -> Iterator[None]:
    """Within the block each request waits for `start`; None: for nothing."""
    token = _start.set(start)
    try:
        yield
    finally:
        _start.reset(token)


async def start_request() -> None:
    """Return when a request may be written, right now; await it again for each request."""
    start = _start.get()
    if start is not None:
        await start()

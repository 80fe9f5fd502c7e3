"""The start of a request: the moment at which its first byte is written to an open connection.

Code that counts requests sets what they wait for with `starting_with`; code that sends them awaits
`start_request` right before it writes one. So a rate does not count the time that connecting takes,
which is not known beforehand.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TypeAlias

Start: TypeAlias = Callable[[], Awaitable[None]]
"""Returns at the moment at which the next request may be written; raises JobError if none may."""

OPEN_MAX_S = 15.0
"""The longest wait for a start on an open connection: servers close idle ones."""

_start: ContextVar[Start | None] = ContextVar("start", default=None)


@contextmanager
def starting_with(start: Start | None) -> Iterator[None]:
    """Let each request within the block wait for `start`; None for no wait."""
    token = _start.set(start)
    try:
        yield
    finally:
        _start.reset(token)


async def start_request() -> None:
    """Return at the moment at which a request may be written, within the rates that count it.

    Await it right before each request, on an open connection. It returns at once outside `starting_with`, and
    raises JobError if no request may start.
    """
    start = _start.get()
    if start is not None:
        await start()

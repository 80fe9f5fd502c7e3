"""A client that hangs up ends the work that was done for it."""

from collections.abc import Awaitable, Callable
from typing import Any

import anyio


async def run_until_disconnect(
    receive: Callable[[], Awaitable[Any]], work: Callable[[], Awaitable[bytes]]
) -> bytes | None:
    """What `work` returns or raises; None, and the work cancelled, once the client has hung up."""
    body: bytes | None = None
    failure: Exception | None = None
    async with anyio.create_task_group() as group:

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            group.cancel_scope.cancel()

        group.start_soon(watch, name="hang-up")
        try:
            body = await work()
        except Exception as error:
            # By itself: out of the group it would come in a group of its own.
            failure = error
        group.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return body

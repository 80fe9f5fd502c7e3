"""A client that hangs up ends the work that was done for it."""

from collections.abc import Awaitable, Callable
from typing import Any

import anyio

from jobs.serve.refusals import Refused


async def unless_gone(
    receive: Callable[[], Awaitable[Any]], work: Callable[[], Awaitable[bytes]]
) -> bytes | None:
    """What `work` returns or raises; None, and the work cancelled, once the client has hung up."""
    body: bytes | None = None
    refused: Refused | None = None
    async with anyio.create_task_group() as group:

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            group.cancel_scope.cancel()

        group.start_soon(watch, name="hang-up")
        try:
            body = await work()
        except Refused as error:
            refused = error
        group.cancel_scope.cancel()
    if refused is not None:
        raise refused
    return body

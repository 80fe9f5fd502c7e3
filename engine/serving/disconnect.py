"""Cancels work when its client disconnects."""

from collections.abc import Awaitable, Callable
from typing import Any

import anyio


async def run_until_disconnect(
    receive: Callable[[], Awaitable[Any]], work: Callable[[], Awaitable[bytes]]
) -> bytes | None:
    """Run `work` and return its result or raise its error; if the client disconnects, cancel it and return None."""
    body: bytes | None = None
    failure: Exception | None = None
    async with anyio.create_task_group() as group:

        async def watch() -> None:
            while (await receive())["type"] != "http.disconnect":
                pass
            group.cancel_scope.cancel()

        group.start_soon(watch, name="disconnect")
        try:
            body = await work()
        except Exception as error:
            # Raised outside the task group, which would wrap it in an ExceptionGroup.
            failure = error
        group.cancel_scope.cancel()
    if failure is not None:
        raise failure
    return body

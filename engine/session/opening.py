"""Opening what a sweep declares: its service and its health gate."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from engine.clock import Clock
from engine.core.errors import NightsweepError, UsageError
from engine.kinds import HealthGate, Service


@asynccontextmanager
async def open_declared(declared: Service | HealthGate, clock: Clock) -> AsyncIterator[Any]:
    """Open a service or a health gate for as long as the context lasts; yields its client.

    Raises the errors of the package that `open` raises, such as UsageError for a key that is missing, and
    UsageError with the class and the cause for any other exception: that is a mistake in the class.
    """
    async with AsyncExitStack() as stack:
        try:
            client = await stack.enter_async_context(declared.open(clock))
        except NightsweepError:
            raise
        except Exception as error:
            owner = type(declared)
            name = f"{owner.__module__}.{owner.__qualname__}.open"
            raise UsageError(f"{name} raised {type(error).__name__}: {error}") from error
        yield client

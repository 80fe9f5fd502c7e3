"""Opening what a sweep declares: its service and its health gate."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import Any

from engine.clock import Clock
from engine.core.errors import NightsweepError, UsageError
from engine.kinds import HealthGate, Service
from engine.sweep import Sweep


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


@dataclass(frozen=True, slots=True, kw_only=True)
class Clients:
    """The open clients of a sweep's service and of its health gate, if it has one."""

    service: Any
    gate: Any


@asynccontextmanager
async def open_clients(sweep: Sweep, clock: Clock) -> AsyncIterator[Clients]:
    """Open what a sweep needs to send; raises UsageError for what is missing, such as a key."""
    gate = sweep.health_gate
    async with AsyncExitStack() as stack:
        service = await stack.enter_async_context(open_declared(sweep.service, clock))
        health = None
        if gate is not None:
            health = await stack.enter_async_context(open_declared(gate, clock))
        yield Clients(service=service, gate=health)

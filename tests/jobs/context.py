"""A small real JobContext for tests of job kinds: a cache in memory and the machine's clock."""

import json
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import dataclass, field
from typing import Any

from engine.clock import Clock, SystemClock
from engine.kinds import Job, Permit, Usage


@dataclass
class Asked:
    """A permit as it was asked for, and what it was settled with."""

    name: str
    rate_per_min: int | None
    tokens_per_min: int | None
    tokens: int
    taken: int | None = None

    async def start(self) -> None:
        return None

    async def settle(self, tokens: int) -> None:
        self.taken = tokens


@dataclass
class MemoryContext:
    """Keeps what was paid for, and remembers permits; its cache can be handed to another context."""

    clock: Clock = field(default_factory=SystemClock)
    cache: dict[str, bytes] = field(default_factory=dict)
    permits: list[Asked] = field(default_factory=list)
    calls: int = 0
    notes: list[tuple[str, str]] = field(default_factory=list)
    progressed: list[tuple[int, int]] = field(default_factory=list)
    unread: list[tuple[str, bytes]] = field(default_factory=list)

    async def permit(
        self,
        name: str,
        *,
        rate_per_min: int | None = None,
        tokens_per_min: int | None = None,
        tokens: int = 0,
        to_model: bool = False,
    ) -> Permit:
        self.permits.append(Asked(name, rate_per_min, tokens_per_min, tokens))
        return self.permits[-1]

    def account(self, address: str, key: str = "") -> str:
        return f"{address} {key}".strip()

    def slot(self, name: str, max_in_flight: int) -> AbstractAsyncContextManager[None]:
        return nullcontext()

    async def cached(
        self,
        key: Mapping[str, Any],
        call: Callable[[], Awaitable[bytes]],
        *,
        tests: int = 0,
        usage: Callable[[], Sequence[Usage]] | None = None,
    ) -> bytes:
        spelt = json.dumps(key, sort_keys=True)
        if spelt not in self.cache:
            self.calls += 1
            self.cache[spelt] = await call()
        return self.cache[spelt]

    def progress(self, done: int, total: int) -> None:
        self.progressed.append((done, total))

    async def note(self, kind: str, message: str) -> None:
        self.notes.append((kind, message))

    async def keep_unread(self, where: str, body: bytes) -> None:
        self.unread.append((where, body))


def job(key: str = "ab" * 32, *, repeat: int = 0, attempts: int = 1, **parameters: Any) -> Job:
    """A job with these parameters, as the engine would hand it to a kind."""
    return Job(
        id=1,
        key=key,
        run="a-run",
        parameters=parameters,
        labels=parameters,
        repeat=repeat,
        attempt=1,
        attempts=attempts,
    )

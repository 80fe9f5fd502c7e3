"""A small real JobContext for tests of job kinds: a cache in memory and the machine's clock."""

import json
from collections import Counter
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.clock import Clock, SystemClock
from engine.job import Job


@dataclass
class MemoryContext:
    """Keeps what was paid for, and counts permits; its cache can be handed to another context."""

    clock: Clock = field(default_factory=SystemClock)
    cache: dict[str, bytes] = field(default_factory=dict)
    permits: Counter[tuple[str, int]] = field(default_factory=Counter)
    calls: int = 0

    async def permit(self, name: str, *, rate_per_min: int) -> None:
        self.permits[name, rate_per_min] += 1

    async def cached(self, key: Mapping[str, Any], call: Callable[[], Awaitable[bytes]]) -> bytes:
        spelt = json.dumps(key, sort_keys=True)
        if spelt not in self.cache:
            self.calls += 1
            self.cache[spelt] = await call()
        return self.cache[spelt]


def job(key: str = "ab" * 32, *, repeat: int = 0, **parameters: Any) -> Job:
    """A job with these parameters, as the engine would hand it to a kind."""
    return Job(
        id=1,
        key=key,
        run="a-run",
        parameters=parameters,
        labels=parameters,
        repeat=repeat,
        attempt=1,
    )

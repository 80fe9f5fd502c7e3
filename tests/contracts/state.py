"""What a contract server knows: its settings, the faults to come, and the requests it has had."""

import asyncio
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from random import Random
from typing import Any

from tests.contracts.faults import Fault

PROBLEMS_KEPT = 100


@dataclass(slots=True, kw_only=True)
class Behaviour:
    """How the server answers when no fault is due; every field can be changed while it runs."""

    version: str = "1.0.8"
    latency_s: float = 0.0
    keys: tuple[str, ...] | None = None
    """The keys that are accepted; None accepts any."""
    allotted: int = 10_000_000
    used: int = 0
    unknown_models: tuple[str, ...] = ()
    """Models that are answered 404."""
    unhealthy_models: tuple[str, ...] = ()
    fault_probability: float = 0.0
    """The share of evaluations that end in a fault drawn from `fault_kinds`."""
    fault_kinds: tuple[str, ...] = ("status", "reset")
    fault_seed: int = 0
    validate: bool = True

    def change(self, changes: Mapping[str, Any]) -> None:
        """Set fields by name; lists become tuples."""
        known = {each.name for each in fields(self)}
        for name, value in changes.items():
            if name not in known:
                raise ValueError(f"no setting {name!r}; there are {sorted(known)}")
            setattr(self, name, tuple(value) if isinstance(value, list) else value)


@dataclass(slots=True)
class Received:
    """One request as it arrived. `monotonic_s` and `wall_s` are the moment its head was read."""

    path: str
    digest: str
    model: str
    group: str
    key: str
    monotonic_s: float
    wall_s: float
    status: int | None = None
    """What it was answered; None while it is open, or where the answer was never sent."""


@dataclass(slots=True)
class ServerState:
    """Everything that tests ask about afterwards."""

    behaviour: Behaviour = field(default_factory=Behaviour)
    faults: list[Fault] = field(default_factory=list)
    requests: list[Received] = field(default_factory=list)
    """The evaluations and health questions received, in order of arrival."""
    by_path: Counter[str] = field(default_factory=Counter)
    violations: list[str] = field(default_factory=list)
    violation_count: int = 0
    in_flight: int = 0
    max_in_flight: int = 0
    tests: int = 0
    released: asyncio.Event = field(default_factory=asyncio.Event)
    answering: asyncio.Event = field(default_factory=asyncio.Event)
    _arrived: asyncio.Condition = field(default_factory=asyncio.Condition)
    _waiting: int = 0
    _random: Random = field(default_factory=lambda: Random(0))

    def violation(self, text: str) -> None:
        """Count a request that broke the contract; the first ones are kept whole."""
        self.violation_count += 1
        if len(self.violations) < PROBLEMS_KEPT:
            self.violations.append(text)

    async def arrived(self, received: Received) -> None:
        """Record a request and wake the tasks that wait for it."""
        self.requests.append(received)
        if self._waiting:
            async with self._arrived:
                self._arrived.notify_all()

    async def wait_received(self, count: int) -> None:
        """Return once at least `count` evaluations have arrived since the start."""
        self._waiting += 1
        try:
            async with self._arrived:
                await self._arrived.wait_for(lambda: len(self.requests) >= count)
        finally:
            self._waiting -= 1

    def next_fault(self, path: str, model: str) -> Fault | None:
        """The fault that strikes this request, counted down; None for an honest answer."""
        for fault in self.faults:
            if fault.matches(path, model):
                if fault.times is not None:
                    fault.times -= 1
                    if fault.times <= 0:
                        self.faults.remove(fault)
                return fault
        behaviour = self.behaviour
        if behaviour.fault_probability and self._random.random() < behaviour.fault_probability:
            return Fault(kind=self._random.choice(behaviour.fault_kinds), status=503)
        return None

    def control(self, command: str, payload: Mapping[str, Any]) -> None:
        """Carry out one command of a Controls; raises ValueError for one that makes no sense."""
        match command:
            case "fault":
                try:
                    self.faults.append(Fault(**payload))
                except TypeError as error:
                    raise ValueError(str(error)) from None
            case "configure":
                self.behaviour.change(payload)
                if "fault_seed" in payload:
                    self._random = Random(self.behaviour.fault_seed)
            case "clear":
                self.faults.clear()
                self.behaviour.fault_probability = 0.0
                self.release()
                self.answer()
            case "answer":
                self.answer()
            case "forget":
                self.requests.clear()
                self.by_path.clear()
                self.max_in_flight = self.in_flight
            case _:
                raise ValueError(f"no command {command!r}")

    def release(self) -> None:
        """End every hang and drip that is being played."""
        self.released.set()
        self.released = asyncio.Event()

    def answer(self) -> None:
        """End every latency that is being played: those who wait get their answers now."""
        self.answering.set()
        self.answering = asyncio.Event()

    def summary(self) -> dict[str, Any]:
        """The state as JSON values."""
        return {
            "received": len(self.requests),
            "by_path": dict(self.by_path),
            "statuses": dict(Counter(str(each.status) for each in self.requests)),
            "digests": dict(Counter(each.digest for each in self.requests)),
            "arrivals": [each.monotonic_s for each in self.requests],
            "violations": list(self.violations),
            "violation_count": self.violation_count,
            "in_flight": self.in_flight,
            "max_in_flight": self.max_in_flight,
            "tests": self.tests,
            "behaviour": asdict(self.behaviour),
        }


class Controls(ABC):
    """What tests tell a server, in process or over HTTP."""

    @abstractmethod
    def _control(self, command: str, payload: Mapping[str, Any]) -> None: ...

    def fail_next(
        self,
        times: int | None = 1,
        *,
        status: int = 500,
        retry_after: str | None = None,
        detail: str | None = None,
        error: str | None = None,
        path: str = "",
        model: str = "",
    ) -> None:
        """Answer the next `times` matching evaluations with `status`; None: until `clear`."""
        self._control(
            "fault",
            {
                "kind": "status",
                "status": status,
                "retry_after": retry_after,
                "detail": detail,
                "error": error,
                "times": times,
                "path": path,
                "model": model,
            },
        )

    def play(self, kind: str, times: int | None = 1, **more: Any) -> None:
        """Play a fault of `tests.contracts.faults` on the next `times` matching requests."""
        self._control("fault", {"kind": kind, "times": times, **more})

    def configure(self, **changes: Any) -> None:
        """Change fields of Behaviour, such as latency_s, allotted, used, keys, version."""
        self._control("configure", changes)

    def clear(self) -> None:
        """Forget all faults to come, and end the hangs, drips and latencies that are being played."""
        self._control("clear", {})

    def answer(self) -> None:
        """End the latencies that are being played, and only those: what waits is answered now."""
        self._control("answer", {})

    def forget(self) -> None:
        """Empty the log of requests; quota and violations stay."""
        self._control("forget", {})


def moment() -> tuple[float, float]:
    """The monotonic and the wall clock, in seconds."""
    return time.monotonic(), time.time()

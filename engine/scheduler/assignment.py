"""What a scheduler works on, and how it ends."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Protocol

from engine.core.model import Allotment, Health
from engine.core.policy import Limits, Retry, UnansweredPolicy
from engine.core.runs import EventKind, StopReason
from engine.kinds import JobContext, JobKind
from engine.scheduler.lane import Lane
from engine.store import Claimed


@dataclass(frozen=True, slots=True, kw_only=True)
class Assignment:
    """What a scheduler works on: a run, and all that its jobs need."""

    run_id: int
    run: str
    kind: JobKind
    client: Any
    """What jobs are sent through: the client of the open service."""
    limits: Limits
    retry: Retry
    unanswered: UnansweredPolicy
    costs_of: str
    """The name under which costs are comparable: the service's identity and evaluation."""
    account: str
    """The service and key whose rate and quota are shared: an address, and a keyed hash of the key."""
    account_label: str
    """The account as people read it, with the reference of the key."""
    documents: Mapping[str, Any]
    provenance: Callable[[Mapping[str, Any]], str]
    """Returns the digest of what decides the answer of a job with these labels."""
    context_of: Callable[[Claimed], JobContext]
    """Returns the context of a claimed job."""
    ask_health: Callable[[str], Awaitable[Health]] | None = None
    """Asks the health gate about a lane."""
    ask_quota: Callable[[], Awaitable[Allotment | None]] | None = None
    ask_key: Callable[[], Awaitable[bool | None]] | None = None
    slots: int | None = None
    """The most jobs in flight in this process, of those that the limits allow all processes; None for no such limit."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """Why a run ended before all was answered, and when it can go on (seconds since the epoch)."""

    reason: StopReason
    message: str
    resume_at: float | None = None


class Note(Protocol):
    """Adds a line to the run's event log."""

    async def __call__(self, kind: EventKind, message: str, lane: Lane | None = None) -> None: ...

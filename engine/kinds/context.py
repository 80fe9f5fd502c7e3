"""What the engine lends to a running job."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from engine.clock import Clock
from engine.core.money import Usage
from engine.permits import Permit


class JobContext(Protocol):
    """What the engine lends to a running job."""

    @property
    def clock(self) -> Clock:
        """The engine's clock: jobs use no other."""
        ...

    async def permit(
        self,
        name: str,
        *,
        rate_per_min: int | None = None,
        tokens_per_min: int | None = None,
        tokens: int = 0,
        to_model: bool = False,
    ) -> Permit:
        """Wait until one request may start, within the limits given here, such as those of an endpoint.

        Where the kind `sends` calls, the sweep's own limits bind it as well: its rate and, if it goes
        `to_model` (the model of the job's lane), that of the model; it takes one of `limits.requests`,
        and starts in the run's window. All of them are granted at once, durable, and shared by all
        processes on the store. `tokens` is what the call is estimated at; `settle` the permit with what
        it really took, 0 if it was never made. Raises LimitReached or NotNow where none may start.
        """
        ...

    def account(self, address: str, key: str = "") -> str:
        """The name of the limits that a key has at an address, for `permit` and `slot`.

        It is the same however the address is spelt and wherever the key was read from, and does not tell the key.
        """
        ...

    def slot(self, name: str, max_in_flight: int) -> AbstractAsyncContextManager[None]:
        """One of at most `max_in_flight` calls that are under way at something behind the service.

        Waits for it; shared by all processes on the store.
        """
        ...

    async def cached(
        self,
        key: Mapping[str, Any],
        call: Callable[[], Awaitable[bytes]],
        *,
        tests: int = 0,
        usage: Callable[[], Sequence[Usage]] | None = None,
    ) -> bytes:
        """The bytes stored under `key`, or what `call` returns, stored before returning.

        An evaluation that is killed half-way finds there the calls it has already paid for, and so does
        another run of the service, unless its sweep has `reuse: false`. `key` must hold all that decides
        the answer, as JSON values. `tests` is how many tests the call opens: a kind that is
        `charged_by_reply` is charged them as the response is stored, and nothing for one that was stored
        before. Raises QuotaExceeded where there is no quota left for them. `usage`, asked once `call` has
        ended, says what each of its requests took, as far as that is known, that of the response last: all are stored, where a
        JobError is raised, too.
        """
        ...

    def progress(self, answered: int, total: int) -> None:
        """Say that so many of the job's questions are answered, of `total` that it asks as far as known.

        A display shows it and takes the time left from it; it is kept in memory only. A question whose
        reply was kept counts as answered like any other.
        """
        ...

    async def note(self, kind: str, message: str) -> None:
        """Add a line to the run's event log, where the job and its lane stand beside it."""
        ...

    async def keep_unread(self, where: str, body: bytes) -> None:
        """Keep the bytes of an answer that came and cannot be used, beside the attempt.

        `where` says what was asked and what is wrong. The bytes must hold no key.
        """
        ...

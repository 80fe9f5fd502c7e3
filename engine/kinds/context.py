"""What the engine lends to a running job."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol

from engine.clock import Clock
from engine.core.money import Usage
from engine.permits import Permit


class JobContext(Protocol):
    """What the engine lends to a running job: its clock, permits, slots, stored replies and event log.

    Through it a job waits within limits that all processes on the store share, and continues after a kill
    from the replies that it has already paid for.
    """

    @property
    def clock(self) -> Clock:
        """The engine's clock, the only one that jobs may use."""
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
        """Wait until one request may start within these limits, such as those of an endpoint.

        If the kind `sends` calls, the sweep's limits apply as well: its rate, that of the model (if the
        request goes `to_model`, the model of the job's lane), `limits.requests` and the run's window. All
        limits are taken in one transaction and shared by all processes on the store. `tokens` is the
        estimate of what the call takes; `settle` the permit with the actual number, or 0 if the call was
        never made. Raises LimitReached or NotNow if no request may start.
        """
        ...

    def account(self, address: str, key: str = "") -> str:
        """The name for `permit` and `slot` of the limits that a key has at an address.

        It depends neither on the spelling of the address nor on where the key was read from, and does not
        reveal the key.
        """
        ...

    def slot(self, name: str, max_in_flight: int) -> AbstractAsyncContextManager[None]:
        """Wait for one of `max_in_flight` slots, and hold it within the block.

        Slots of one name are shared by all processes on the store.
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
        """Return the bytes stored under `key`; if there are none, store and return what `call` returns.

        An evaluation that was killed finds the replies that it has already paid for, and so does another
        run of the service, unless its sweep has `reuse: false`. `key` holds everything that decides the
        reply, as JSON values. `tests` is the number of tests that the call opens: a kind that is
        `charged_by_reply` is charged for them when the reply is stored, and never for a stored reply.
        `usage` is called when `call` has ended and returns what each of its requests took, as far as
        known, that of the reply last; it is stored even if `call` raises JobError. Raises QuotaExceeded
        if the quota does not cover the tests.
        """
        ...

    def progress(self, done: int, total: int) -> None:
        """Report that `done` of the job's `total` questions, as far as known, have a reply.

        The progress display, its estimate of the time left, and `status` in any process use it. A stored
        reply counts like any other.
        """
        ...

    async def note(self, kind: str, message: str) -> None:
        """Add a line to the run's event log, with the number of the job and its lane.

        `kind` is a word by which `nightsweep events --kind` finds it. The message must not contain a key.
        """
        ...

    async def keep_unread(self, where: str, body: bytes) -> None:
        """Store the bytes of an answer that cannot be used with the attempt.

        `where` says what was asked and what is wrong. The bytes must not contain a key.
        """
        ...

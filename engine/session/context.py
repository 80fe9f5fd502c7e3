"""What the engine lends to a running job."""

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, Protocol, Self

from engine.clock import Clock
from engine.permits import Permit, Permits
from engine.secrets import without_secrets
from engine.slots import Slots
from engine.store import RunRow, Store


class Reported(Protocol):
    """Takes how far a job is: questions answered of `total`, `asked_now` of them since the last report."""

    def __call__(self, job_id: int, answered: int, total: int, asked_now: int) -> None: ...


class Context:
    """What the engine lends to a running job."""

    def __init__(
        self,
        store: Store,
        clock: Clock,
        run: RunRow,
        permits: Permits,
        slots: Slots,
        job_id: int,
        fence: int,
        lane: str,
        *,
        reuses: bool,
        heard: Callable[[str], None],
        reported: Reported,
    ) -> None:
        self._store = store
        self._heard = heard
        self._reported = reported
        self._answered = 0
        # Replies that were kept, since progress was last told.
        self._found = 0
        self._run = run
        # Whether what other runs were told counts, too.
        self._reuses = reuses
        self._clock = clock
        self._permits = permits
        self._slots = slots
        self._job_id = job_id
        self._fence = fence
        self._lane = lane

    @classmethod
    def of_run(
        cls,
        store: Store,
        clock: Clock,
        run: RunRow,
        slots: Slots,
        *,
        reuses: bool,
        heard: Callable[[str], None],
        reported: Reported,
    ) -> Callable[[int, int, str], Self]:
        """What makes the contexts of a run's jobs, each of its id, its claim's fence and its lane.

        `reuses`: what other runs were told counts, too. `heard` is told the lane whenever a call within
        one of its jobs was answered, `reported` how far a job is.
        """
        permits = Permits(store, clock, f"{store.worker_id} {run.id}")
        return partial(
            cls,
            store,
            clock,
            run,
            permits,
            slots,
            reuses=reuses,
            heard=heard,
            reported=reported,
        )

    @property
    def clock(self) -> Clock:
        return self._clock

    async def permit(
        self,
        name: str,
        *,
        rate_per_min: int | None = None,
        tokens_per_min: int | None = None,
        tokens: int = 0,
    ) -> Permit:
        return await self._permits.wait(
            name, rate_per_min=rate_per_min, tokens_per_min=tokens_per_min, tokens=tokens
        )

    def slot(self, name: str, max_in_flight: int) -> AbstractAsyncContextManager[None]:
        return self._slots.hold(name, max_in_flight)

    async def cached(self, key: Mapping[str, Any], call: Callable[[], Awaitable[bytes]]) -> bytes:
        kept = await self._store.kept_call(self._run, key, of_others=self._reuses)
        if kept is not None:
            self._found += 1
            return kept
        response = await call()
        self._heard(self._lane)
        # Paid for: it is kept even if the job is being cancelled.
        await self._store.keep_call(self._run.id, key, response)
        return response

    def progress(self, answered: int, total: int) -> None:
        asked_now = max(0, answered - self._answered - self._found)
        self._answered, self._found = max(answered, self._answered), 0
        self._reported(self._job_id, answered, total, asked_now)

    async def note(self, kind: str, message: str) -> None:
        said = without_secrets(f"job {self._job_id}: {message}")
        await self._store.note(self._run.id, kind, said, lane=self._lane)

    async def keep_unread(self, where: str, body: bytes) -> None:
        await self._store.keep_unread(
            self._run.id, self._job_id, self._fence, where=without_secrets(where), body=body
        )

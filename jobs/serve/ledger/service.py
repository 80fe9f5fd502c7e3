"""The ledger as the running service uses it: one question or change at a time, in a thread."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import Any, Self, TypeVar

import anyio
import anyio.to_thread
from sqlalchemy.engine import Connection

from engine.core.permits import Granted, PermitRequest, PermitStart
from engine.kinds import Accounts, Clock
from engine.permits import Permits
from engine.slots import Slots
from jobs.serve.ledger import calls, history, keys, usage
from jobs.serve.ledger.file import LedgerError, LedgerFile
from jobs.serve.ledger.history import Past
from jobs.serve.ledger.keys import Key

T = TypeVar("T")

_DAY_S = 86_400.0
_ABANDONED_S = 7 * _DAY_S
"""How long the replies of an evaluation that broke off wait for somebody to ask for it again."""


class Ledger:
    """Keys, usage, calls and history of one running service; `async with` claims the file.

    Raises LedgerError when the file cannot be opened, read or written.
    """

    def __init__(self, path: Path, clock: Clock, *, history_days: int) -> None:
        self._path = path
        self._clock = clock
        self._history_s = history_days * _DAY_S
        self._one_at_a_time = anyio.CapacityLimiter(1)
        self._file: LedgerFile | None = None
        self._owed: list[tuple[int, str, int]] = []
        self.permits = Permits(self, clock, token_hex(8))
        # The service is one process: nobody else asks its models for it.
        self.slots = Slots(clock)
        """Of all evaluations: each waits in the line of its model."""
        self.accounts = Accounts(b"")
        """What names accounts of endpoints, once the file is open."""

    async def __aenter__(self) -> Self:
        self._file = await anyio.to_thread.run_sync(self._opened)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        file, self._file = self._file, None
        if file is not None:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(file.close, limiter=self._one_at_a_time)

    def _opened(self) -> LedgerFile:
        file = LedgerFile(self._path)
        try:
            file.claim()
            now = self._clock.now()
            with file.begin() as connection:
                self.accounts = calls.accounts(connection)
                usage.release_all(connection)
                calls.forget_before(connection, now - _ABANDONED_S)
                history.prune(connection, now - self._history_s)
        except BaseException:
            file.close()
            raise
        return file

    async def _do(self, work: Callable[[Connection], T]) -> T:
        file = self._file
        assert file is not None, "a ledger is used inside `async with`"

        def transaction() -> T:
            with file.begin() as connection:
                return work(connection)

        # What was begun is ended: a reply that was paid for is kept even while its caller goes away.
        with anyio.CancelScope(shield=True):
            done = await anyio.to_thread.run_sync(transaction, limiter=self._one_at_a_time)
        return done  # noqa: RET504 (inside, mypy takes the scope for one that swallows)

    async def key(self, text: str) -> Key | None:
        """The key that a request carries; None if there is none or it was revoked."""
        return await self._do(lambda connection: keys.find(connection, text))

    async def used(self, key: Key) -> int:
        """Tests that a key has generated this month."""
        period = usage.period_of(self._clock.now())
        return await self._do(lambda connection: usage.used(connection, key.id, period))

    async def reserve(self, key: Key, tests: int) -> "Reservation | None":
        """Hold the most that an evaluation may come to; None when it does not fit."""
        await self._give_back()
        period = usage.period_of(self._clock.now())
        held = await self._do(lambda connection: usage.reserve(connection, key.id, period, tests))
        return Reservation(self._release, key.id, period, tests) if held else None

    async def _release(self, key_id: int, period: str, tests: int) -> None:
        self._owed.append((key_id, period, tests))
        # A ledger that cannot be written now is told of where something is lost by it.
        with suppress(LedgerError):
            await self._give_back()

    async def _give_back(self) -> None:
        """Release what could not be released when it was time."""
        owed, self._owed = self._owed, []
        if not owed:
            return

        def work(connection: Connection) -> None:
            for key_id, period, tests in owed:
                usage.release(connection, key_id, period, tests)

        try:
            await self._do(work)
        except LedgerError:
            self._owed += owed
            raise

    async def kept_tests(self, scope: str) -> int:
        """How many test cases of a scope have been generated and charged."""
        return await self._do(lambda connection: calls.kept_tests(connection, scope))

    async def digests(self, scope: str) -> set[str]:
        """The digests under which replies are kept in a scope."""
        return await self._do(lambda connection: calls.digests(connection, scope))

    async def kept(self, scope: str, digest: str) -> bytes | None:
        """The reply kept under a digest in a scope."""
        return await self._do(lambda connection: calls.kept(connection, scope, digest))

    async def keep(
        self, scope: str, digest: str, response: bytes, spends: "Reservation | None"
    ) -> None:
        """Keep a reply; one that is a generated test case spends one of what is held."""
        now = self._clock.now()

        def work(connection: Connection) -> bool:
            is_test = spends is not None
            is_new = calls.keep(connection, scope, digest, response, is_test=is_test, now=now)
            if is_new and spends is not None:
                usage.spend(connection, spends.key_id, spends.period)
            return is_new

        if await self._do(work) and spends is not None:
            spends.held -= 1

    async def take_permits(self, request: PermitRequest) -> Granted:
        """Grant the first calls of a request, as many as there is room for."""
        return await self._do(
            lambda connection: calls.take_permits(connection, request, now=self._clock.now())
        )

    async def limited(self, names: Collection[str]) -> Collection[str]:
        """None: its endpoints have the limits that this service was given."""
        return ()

    async def settle_permit(self, start: PermitStart, *, taken: int) -> None:
        """Keep what a call really took; 0: it was never made."""
        await self._do(lambda connection: calls.settle_permit(connection, start, taken=taken))

    async def finish(
        self,
        key: Key,
        kind: str,
        evaluation_id: int,
        results: Sequence[Mapping[str, Any]],
        *,
        scope: str,
    ) -> None:
        """Keep an evaluation's results in the history, and let go of its replies."""
        now = self._clock.now()

        def work(connection: Connection) -> None:
            history.record(connection, key.id, kind, evaluation_id, results, now=now)
            history.prune(connection, now - self._history_s)
            calls.forget(connection, scope)

        await self._do(work)

    async def page(self, key: Key, kind: str, *, limit: int, offset: int) -> list[Past]:
        """Earlier results of a key, the latest evaluation's first."""
        return await self._do(
            lambda connection: history.page(connection, key.id, kind, limit=limit, offset=offset)
        )

    async def of_evaluation(self, key: Key, kind: str, evaluation_id: int) -> list[Past]:
        """The results of one evaluation; empty if the key has none of this id."""
        return await self._do(
            lambda connection: history.of_evaluation(connection, key.id, kind, evaluation_id)
        )

    async def of_ids(self, key: Key, kind: str, test_result_ids: Sequence[int]) -> list[Past]:
        """The results of these ids that the key has."""
        return await self._do(
            lambda connection: history.of_ids(connection, key.id, kind, test_result_ids)
        )


class Reservation:
    """Tests held for one evaluation in one month; `held` is what has not been spent."""

    def __init__(
        self,
        release: Callable[[int, str, int], Awaitable[None]],
        key_id: int,
        period: str,
        tests: int,
    ) -> None:
        self._release = release
        self.key_id = key_id
        self.period = period
        self.held = tests

    async def release(self) -> None:
        """Give back what was not spent, now or as soon as the ledger can be written."""
        held, self.held = self.held, 0
        if held:
            await self._release(self.key_id, self.period, held)

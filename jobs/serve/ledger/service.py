"""The ledger of a running service: async methods, each of which runs one transaction in a thread."""

from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from secrets import token_hex
from typing import Any, Self, TypeVar

import anyio
import anyio.to_thread
from sqlalchemy.engine import Connection

from engine.core.permits import PermitGrant, PermitRequest, PermitStart
from engine.kinds import Accounts, Clock
from engine.permits import Permits
from engine.slots import Slots
from jobs.serve.ledger import calls, history, keys, usage
from jobs.serve.ledger.file import LedgerError, LedgerFile
from jobs.serve.ledger.history import PastResult
from jobs.serve.ledger.keys import Key

T = TypeVar("T")

_DAY_S = 86_400.0
_ABANDONED_S = 7 * _DAY_S
"""How long the responses of an interrupted evaluation are kept for an equal request."""


class Ledger:
    """Keys, usage, calls and history of one running service; `async with` opens and claims the file.

    History older than `history_days` is deleted. Every method raises LedgerError if the file cannot be
    read or written.
    """

    def __init__(self, path: Path, clock: Clock, *, history_days: int) -> None:
        self._path = path
        self._clock = clock
        self._history_s = history_days * _DAY_S
        self._one_at_a_time = anyio.CapacityLimiter(1)
        self._file: LedgerFile | None = None
        self._unreleased: list[tuple[int, str, int]] = []
        self.permits = Permits(self, clock, token_hex(8))
        # The service is one process, so slots need not be shared with others.
        self.slots = Slots(clock)
        """The calls in flight of all evaluations, by endpoint."""
        self.accounts = Accounts(b"")
        """The names of endpoints' accounts, once the file is open."""

    async def __aenter__(self) -> Self:
        self._file = await anyio.to_thread.run_sync(self._open)
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        file, self._file = self._file, None
        if file is not None:
            with anyio.CancelScope(shield=True):
                await anyio.to_thread.run_sync(file.close, limiter=self._one_at_a_time)

    def _open(self) -> LedgerFile:
        file = LedgerFile(self._path)
        try:
            file.claim()
            now = self._clock.now()
            with file.begin() as connection:
                self.accounts = calls.load_accounts(connection)
                usage.release_all(connection)
                calls.delete_before(connection, now - _ABANDONED_S)
                history.delete_before(connection, now - self._history_s)
        except BaseException:
            file.close()
            raise
        return file

    async def _transact(self, work: Callable[[Connection], T]) -> T:
        file = self._file
        assert file is not None, "a ledger is used inside `async with`"

        def transaction() -> T:
            with file.begin() as connection:
                return work(connection)

        # Shielded, so that a paid reply is saved even if its caller disconnects meanwhile.
        with anyio.CancelScope(shield=True):
            result = await anyio.to_thread.run_sync(transaction, limiter=self._one_at_a_time)
        return result  # noqa: RET504 (inside the block, mypy takes the scope for one that swallows)

    async def find_key(self, text: str) -> Key | None:
        """The key with this text, or None if it is unknown or revoked."""
        return await self._transact(lambda connection: keys.find(connection, text))

    async def count_used(self, key: Key) -> int:
        """The number of test cases that a key has generated this month (UTC), without those that are reserved."""
        period = usage.period_of(self._clock.now())
        return await self._transact(lambda connection: usage.count_used(connection, key.id, period))

    async def reserve(self, key: Key, tests: int) -> "Reservation | None":
        """Reserve `tests`, the most that an evaluation may need, of what the key has left this month (UTC).

        Returns None, and reserves nothing, if fewer are left. What an evaluation does not use is released
        when the reservation ends.
        """
        await self._release_pending()
        period = usage.period_of(self._clock.now())
        is_reserved = await self._transact(
            lambda connection: usage.reserve(connection, key.id, period, tests)
        )
        return Reservation(self._release, key.id, period, tests) if is_reserved else None

    async def _release(self, key_id: int, period: str, tests: int) -> None:
        self._unreleased.append((key_id, period, tests))
        # If the ledger cannot be written now, the next reservation tries again and raises the error.
        with suppress(LedgerError):
            await self._release_pending()

    async def _release_pending(self) -> None:
        """Release the reservations that are over, including those whose release failed before."""
        pending, self._unreleased = self._unreleased, []
        if not pending:
            return

        def work(connection: Connection) -> None:
            for key_id, period, tests in pending:
                usage.release(connection, key_id, period, tests)

        try:
            await self._transact(work)
        except LedgerError:
            self._unreleased += pending
            raise

    async def count_charged(self, scope: str) -> int:
        """The number of test cases of a scope that were generated and charged, before its evaluation is recorded."""
        return await self._transact(lambda connection: calls.count_charged(connection, scope))

    async def list_digests(self, scope: str) -> set[str]:
        """The digests of the calls whose responses are saved in a scope."""
        return await self._transact(lambda connection: calls.list_digests(connection, scope))

    async def find_response(self, scope: str, digest: str) -> bytes | None:
        """The response saved under a digest in a scope, None if there is none; it costs nothing."""
        return await self._transact(
            lambda connection: calls.find_response(connection, scope, digest)
        )

    async def save_response(
        self, scope: str, digest: str, response: bytes, reservation: "Reservation | None"
    ) -> None:
        """Save a response; with a reservation, charge it as one of the reserved test cases.

        Both are done in one transaction, which is completed although the caller is cancelled. A digest that
        the scope has already is neither saved nor charged again.
        """
        now = self._clock.now()

        def work(connection: Connection) -> bool:
            is_test = reservation is not None
            is_new = calls.save_response(
                connection, scope, digest, response, is_test=is_test, now=now
            )
            if is_new and reservation is not None:
                usage.spend(connection, reservation.key_id, reservation.period)
            return is_new

        if await self._transact(work) and reservation is not None:
            reservation.unspent -= 1

    async def take_permits(self, request: PermitRequest) -> PermitGrant:
        """Grant the first calls of a request, as many as its limits allow now, and count them.

        The grant has the starts in the order of the calls, or else when to ask again.
        """
        return await self._transact(
            lambda connection: calls.take_permits(connection, request, now=self._clock.now())
        )

    async def find_limited(self, names: Collection[str]) -> Collection[str]:
        """The limits that other processes have set: none, because one service uses a ledger."""
        return ()

    async def settle_permit(self, start: PermitStart, *, taken: int) -> None:
        """Record the tokens that a call took in place of its estimate; 0 if it was not made, which frees its slot."""
        await self._transact(lambda connection: calls.settle_permit(connection, start, taken=taken))

    async def record_evaluation(
        self,
        key: Key,
        kind: str,
        evaluation_id: int,
        results: Sequence[Mapping[str, Any]],
        *,
        scope: str,
    ) -> None:
        """Record an evaluation's results in the history, and delete its saved responses.

        All in one transaction, which also deletes history that is older than the service keeps. An equal
        request after that is a new evaluation.
        """
        now = self._clock.now()

        def work(connection: Connection) -> None:
            history.record(connection, key.id, kind, evaluation_id, results, now=now)
            history.delete_before(connection, now - self._history_s)
            calls.delete_scope(connection, scope)

        await self._transact(work)

    async def list_results(
        self, key: Key, kind: str, *, limit: int, offset: int
    ) -> list[PastResult]:
        """At most `limit` results of a key and kind, after the first `offset`.

        Those of the latest evaluation come first; the results of one evaluation are in their order.
        """
        return await self._transact(
            lambda connection: history.list_results(
                connection, key.id, kind, limit=limit, offset=offset
            )
        )

    async def results_of_evaluation(
        self, key: Key, kind: str, evaluation_id: int
    ) -> list[PastResult]:
        """The results of one evaluation in their order; empty if the key has none of this kind with this id."""
        return await self._transact(
            lambda connection: history.results_of_evaluation(
                connection, key.id, kind, evaluation_id
            )
        )

    async def results_by_id(
        self, key: Key, kind: str, test_result_ids: Sequence[int]
    ) -> list[PastResult]:
        """The results with these ids, the oldest first; ids of other keys or kinds and unknown ids are left out."""
        return await self._transact(
            lambda connection: history.results_by_id(connection, key.id, kind, test_result_ids)
        )


class Reservation:
    """Test cases reserved for one evaluation in one month; `unspent` have not been generated."""

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
        self.unspent = tests

    async def release(self) -> None:
        """Release the unspent test cases, now or as soon as the ledger can be written."""
        unspent, self.unspent = self.unspent, 0
        if unspent:
            await self._release(self.key_id, self.period, unspent)

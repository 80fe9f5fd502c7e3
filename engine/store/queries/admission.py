"""Reserving quota for the jobs of a claim.

Nothing is sent before its cost is reserved. While the cost of a class is unknown, one job of it goes first, and
its siblings wait for the answer, which shows what they will cost.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from sqlalchemy import bindparam, func, select
from sqlalchemy.engine import Connection

from engine.core import quota as arithmetic
from engine.core.quota import Cost, QuotaState
from engine.core.runs import WaitReason
from engine.store.queries import quotas, reservations
from engine.store.requests import Claim, Claimed, QuotaKey
from engine.store.schema import cost, reservation

FIRST_TESTS = 400
"""Tests held for the first job of a class of unknown cost, unless another class has cost more."""
_HELD_BY_RUN = (
    select(reservation.c.name, reservation.c.period, func.sum(reservation.c.held).label("held"))
    .where(reservation.c.run_id == bindparam("run"))
    .group_by(reservation.c.name, reservation.c.period)
)
_COSTS = select(cost.c.cost_class, cost.c.tests, cost.c.answers, cost.c.bound).where(
    cost.c.service == bindparam("of")
)
_PROBES = (
    select(reservation.c.probe_of)
    .where(reservation.c.run_id == bindparam("run"), reservation.c.probe_of.is_not(None))
    .distinct()
)


@dataclass(slots=True)
class Admission:
    """The quota rows of one claim: read once, reserved from in memory, written once."""

    keys: tuple[QuotaKey, ...] = ()
    states: dict[QuotaKey, QuotaState] = field(default_factory=dict)
    costs: dict[str, Cost] = field(default_factory=dict)
    probing: set[str] = field(default_factory=set)
    """Classes of unknown cost that have a job in flight."""
    refusals: dict[str, WaitReason] = field(default_factory=dict)
    """Classes of which no job can be sent now, with the reason."""
    short: dict[str, Mapping[QuotaKey, int]] = field(default_factory=dict)
    """Classes for which too little quota is left, with what one job needs."""
    held: Counter[QuotaKey] = field(default_factory=Counter)
    """What this claim has reserved so far."""
    alone: set[str] = field(default_factory=set)
    """Classes of which one job holds all the quota that is left."""

    @property
    def counts_tests(self) -> bool:
        """Whether any of the quotas counts tests."""
        return any(not key.counts_requests for key in self.keys)

    def reserve(
        self, cost_class: str, expected_tests: int | None, *, charged: int = 0
    ) -> int | None:
        """Reserve what one job may cost; returns the tests held, or None if the job has to wait.

        Of the job's tests, `charged` are paid for already.
        """
        if not self.keys:
            return 0
        of_tests = [key for key in self.keys if not key.counts_requests]
        known = self.costs.get(cost_class)
        if any(not self.states[key].is_reported and self.states[key].reserved for key in of_tests):
            self.refusals[cost_class] = WaitReason.QUOTA_UNKNOWN
            return None
        is_probe = known is None and expected_tests is None and bool(of_tests)
        if is_probe and cost_class in self.probing:
            self.refusals[cost_class] = WaitReason.FIRST_ANSWER
            return None
        if expected_tests is not None:
            tests = max(0, expected_tests - charged)
        else:
            tests = self._guess() if known is None else known.most
        if not self._fits(tests):
            least = None if expected_tests is not None else self._minimum_alone(known, of_tests)
            self.refusals[cost_class] = WaitReason.QUOTA
            self.short[cost_class] = self._amounts(tests if least is None else least)
            if least is None or not self._is_idle(of_tests) or not self._fits(least):
                return None
            # It holds all that is left, so that no other job starts before its cost is known.
            tests = min(self.states[key].room for key in of_tests)
            self.alone.add(cost_class)
        for key, amount in self._amounts(tests).items():
            self.states[key] = arithmetic.reserve(self.states[key], amount)
            self.held[key] += amount
        if is_probe:
            self.probing.add(cost_class)
        return tests

    def _amounts(self, tests: int) -> dict[QuotaKey, int]:
        return {key: 1 if key.counts_requests else tests for key in self.keys}

    def _fits(self, tests: int) -> bool:
        return all(self.states[key].room >= held for key, held in self._amounts(tests).items())

    def _is_idle(self, of_tests: Sequence[QuotaKey]) -> bool:
        """Whether nothing that counts tests is in flight under these quotas, in any process."""
        return not any(self.states[key].reserved for key in of_tests)

    def _guess(self) -> int:
        """What to hold for the first answer of a class, estimated from other classes."""
        costs = self.costs.values()
        return max((*(one.most if one.is_bounded else one.tests for one in costs), FIRST_TESTS))

    def _minimum_alone(self, known: Cost | None, of_tests: Sequence[QuotaKey]) -> int | None:
        """The tests that must be left for a job to be sent alone although it may cost more; None if it must not be.

        A job whose bound is known waits until the bound fits. It is sent alone only if the quota's whole allotment is
        below the bound, and never if the sweep's own cap is.
        """
        if known is None:
            # If less is left than any answer has cost so far, sending a first job is pointless.
            return max(1, min((one.tests for one in self.costs.values()), default=1))
        if not known.is_bounded:
            return max(1, known.tests)
        too_small = [key for key in of_tests if self.states[key].allotted < known.most]
        others = [key for key in of_tests if key not in too_small]
        if not too_small or any(key.is_own for key in too_small):
            return None
        if any(self.states[key].room < known.most for key in others):
            return None
        return max(1, known.tests)

    def refund(self, cost_class: str, tests: int) -> None:
        """Release what was reserved for a job that is not sent after all.

        `tests` is what `reserve` returned for it. If the job was the first of a class of unknown cost, or held
        all that was left, another job of the class may take its place.
        """
        for key in self.keys:
            amount = 1 if key.counts_requests else tests
            self.states[key] = arithmetic.refund(self.states[key], amount)
            self.held[key] -= amount
        self.probing.discard(cost_class)
        self.alone.discard(cost_class)

    def save(self, connection: Connection, request: Claim, claimed: Sequence[Claimed]) -> None:
        """Write the quota rows, and a reservation for each claimed job and quota.

        Without quotas nothing is written. Call it once, in the transaction that claims the jobs.
        """
        if not self.keys:
            return
        quotas.write(connection, {(key.name, key.period): one for key, one in self.states.items()})
        reservations.hold(
            connection,
            [
                (
                    one.id,
                    one.fence,
                    key.name,
                    key.period,
                    request.run_id,
                    request.worker_id,
                    one.cost_class if one.cost_class in self.probing else None,
                    key.counts_requests,
                    1 if key.counts_requests else one.reserved or 0,
                    request.charged_by_reply,
                )
                for one in claimed
                for key in self.keys
            ],
        )


def load_admission(connection: Connection, request: Claim) -> Admission:
    """Read the quotas that apply to a claim; without any, nothing is read.

    A quota of the request that has no row is unlimited and left out.
    """
    if not request.quotas:
        return Admission()
    found = quotas.read(connection, [(key.name, key.period) for key in request.quotas])
    # A quota without a row is unlimited.
    keys = tuple(key for key in request.quotas if (key.name, key.period) in found)
    known = find_costs(connection, request.service)
    probes = connection.execute(_PROBES, {"run": request.run_id})
    return Admission(
        keys=keys,
        states={key: found[key.name, key.period] for key in keys},
        costs=known,
        probing={name for (name,) in probes if name not in known},
    )


def is_affordable_later(
    connection: Connection, run_id: int, admission: Admission, cost_class: str
) -> bool:
    """Whether a job that quota refused would fit if the run's requests in flight cost nothing.

    What other runs hold does not count, because this run is not woken when they release it.
    """
    wanted = admission.short.get(cost_class)
    if wanted is None:
        return False
    held = Counter(admission.held)
    for row in connection.execute(_HELD_BY_RUN, {"run": run_id}):
        for key in admission.keys:
            if (key.name, key.period) == (row.name, row.period):
                held[key] += row.held
    return any(held.values()) and all(
        amount <= admission.states[key].room + held[key] for key, amount in wanted.items()
    )


def find_costs(connection: Connection, service: str) -> dict[str, Cost]:
    """What answers of a service have cost so far, in tests, by cost class.

    A class that has had no answer is missing.
    """
    return {
        row.cost_class: Cost(tests=row.tests, answers=row.answers, bound=row.bound)
        for row in connection.execute(_COSTS, {"of": service})
    }

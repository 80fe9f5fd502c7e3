"""Quota rows: what was allotted, what is used, and what is held for requests in flight.

Nothing is sent before its cost is reserved. While the cost of a class is unknown, one job of it goes
first and its siblings wait for the answer, which tells what they will cost.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy import Integer, RowMapping, bindparam, delete, func, select, tuple_, update
from sqlalchemy.engine import Connection

from engine.core import quota as arithmetic
from engine.core.permits import PermitCap
from engine.core.quota import Cost, QuotaState
from engine.core.runs import WaitReason
from engine.store.dialect import Bulk, Upsert
from engine.store.requests import Claim, Claimed, Outcome, QuotaKey
from engine.store.schema import cost, quota, reservation

FIRST_TESTS = 400
"""What is held for a class that nobody has seen the cost of, where no other class tells more."""


_READ = select(quota).where(quota.c.name.in_(bindparam("names", expanding=True)))
_COUNT = (
    update(quota)
    .where(quota.c.name == bindparam("of"), quota.c.period == bindparam("in_period"))
    .values(
        settled=quota.c.settled + bindparam("came_to"),
        unconfirmed=quota.c.unconfirmed + bindparam("guessed"),
    )
)
_COUNTED = select(quota.c.settled, quota.c.unconfirmed).where(
    quota.c.name == bindparam("of"), quota.c.period == bindparam("in_period")
)
_CONFIRM = (
    update(quota)
    .where(quota.c.name == bindparam("of"), quota.c.period == bindparam("in_period"))
    .values(unconfirmed=bindparam("left"))
)
_WRITE = Upsert(
    quota,
    lambda statement: statement.on_conflict_do_update(
        index_elements=["name", "period"],
        set_={
            column: statement.excluded[column]
            for column in ("allotted", "used", "reserved", "overrun")
        },
    ),
)
_HOLD = Bulk(
    {column.name: column.type for column in reservation.c},
    lambda given: reservation.insert().from_select(list(reservation.c), select(given)),
)
_later = reservation.alias("later")
_CARRIED = select(reservation).where(
    reservation.c.name == bindparam("of"),
    reservation.c.period == bindparam("before"),
    ~reservation.c.counts_requests,
    ~reservation.c.by_reply,
    ~select(_later.c.job_id)
    .where(
        _later.c.job_id == reservation.c.job_id,
        _later.c.fence == reservation.c.fence,
        _later.c.name == reservation.c.name,
        _later.c.period == bindparam("begun"),
    )
    .exists(),
)
_HELD_FOR = select(reservation).where(reservation.c.job_id.in_(bindparam("jobs", expanding=True)))
_HELD_BY = select(reservation).where(reservation.c.worker == bindparam("worker_id"))
_HELD_BY_RUN = (
    select(reservation.c.name, reservation.c.period, func.sum(reservation.c.held).label("held"))
    .where(reservation.c.run_id == bindparam("run"))
    .group_by(reservation.c.name, reservation.c.period)
)
_RELEASE = Bulk(
    {"job_id": Integer(), "fence": Integer()},
    lambda given: delete(reservation).where(
        tuple_(reservation.c.job_id, reservation.c.fence).in_(select(given))
    ),
)
_COSTS = select(cost.c.cost_class, cost.c.tests, cost.c.answers, cost.c.bound).where(
    cost.c.service == bindparam("of")
)
_PROBES = (
    select(reservation.c.probe_of)
    .where(reservation.c.run_id == bindparam("run"), reservation.c.probe_of.is_not(None))
    .distinct()
)


@dataclass(frozen=True, slots=True)
class _RequestCost:
    """What a request came to. `is_guess`: only the service can tell whether it was billed so.

    It got no answer, and this much was held for it; or it is not known in which period it was billed.
    """

    tests: int
    is_guess: bool = False


@dataclass(slots=True)
class Admission:
    """The quota rows of one claim: read once, reserved from in memory, written once."""

    keys: tuple[QuotaKey, ...] = ()
    states: dict[QuotaKey, QuotaState] = field(default_factory=dict)
    costs: dict[str, Cost] = field(default_factory=dict)
    probing: set[str] = field(default_factory=set)
    """Classes of unknown cost that have a job in flight."""
    refusals: dict[str, WaitReason] = field(default_factory=dict)
    """Classes of which no job can be sent now, and why."""
    short: dict[str, Mapping[QuotaKey, int]] = field(default_factory=dict)
    """Classes for which too little is left, and what one job of them needs."""
    held: Counter[QuotaKey] = field(default_factory=Counter)
    """What this claim has reserved so far."""
    alone: set[str] = field(default_factory=set)
    """Classes of which a job holds all that is left."""

    @property
    def counts_tests(self) -> bool:
        """Whether any of the quotas is one of tests."""
        return any(not key.counts_requests for key in self.keys)

    def reserve(
        self, cost_class: str, expected_tests: int | None, *, charged: int = 0
    ) -> int | None:
        """Hold what one job may cost; the tests held, or None when it has to wait.

        `charged` of them are paid for already.
        """
        if not self.keys:
            return 0
        of_tests = [key for key in self.keys if not key.counts_requests]
        known = self.costs.get(cost_class)
        if any(not self.states[key].is_told and self.states[key].reserved for key in of_tests):
            self.refusals[cost_class] = WaitReason.UNTOLD
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
            # All that is left: nothing else starts before it is known what this one cost.
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
        """What is held for the first answer of a class: others tell what one may come to."""
        costs = self.costs.values()
        return max((*(one.most if one.is_bounded else one.tests for one in costs), FIRST_TESTS))

    def _minimum_alone(self, known: Cost | None, of_tests: Sequence[QuotaKey]) -> int | None:
        """What has to be left for a job to go alone that might cost more; None where none may.

        A job whose bound is known waits for as much: alone it goes only where no month would ever have
        that, and never beyond a cap of the sweep's own.
        """
        if known is None:
            # Where all that is left is less than any answer cost so far, nobody needs to go first.
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
        """Give back what was held for a job that is not sent after all."""
        for key in self.keys:
            amount = 1 if key.counts_requests else tests
            self.states[key] = arithmetic.refund(self.states[key], amount)
            self.held[key] -= amount
        self.probing.discard(cost_class)
        self.alone.discard(cost_class)

    def save(self, connection: Connection, request: Claim, claimed: Sequence[Claimed]) -> None:
        """Write the rows, and for each job what is held for it."""
        if not self.keys:
            return
        write(connection, {(key.name, key.period): one for key, one in self.states.items()})
        _HOLD.run(
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


def load(connection: Connection, request: Claim) -> Admission:
    """The quotas that a claim has to keep; nothing to keep, nothing is read."""
    if not request.quotas:
        return Admission()
    found = read(connection, [(key.name, key.period) for key in request.quotas])
    # A quota that no row tells of is not finite.
    keys = tuple(key for key in request.quotas if (key.name, key.period) in found)
    known = costs(connection, request.service)
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
    """Whether a job that quota refused could be sent if the run's requests in flight cost nothing.

    What other runs hold is left out: this run is not woken when they give it back.
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


def costs(connection: Connection, service: str) -> dict[str, Cost]:
    """What answers of each cost class have cost so far."""
    return {
        row.cost_class: Cost(tests=row.tests, answers=row.answers, bound=row.bound)
        for row in connection.execute(_COSTS, {"of": service})
    }


def begin(connection: Connection, names: Iterable[str], *, before: str, begun: str) -> None:
    """Write the rows of a period that has begun, as they were allotted in the one before, unless they are there.

    Which of the two is billed for what is in flight nobody knows before the service tells: that is held in both.
    """
    for name in names:
        found = read(connection, [(name, before), (name, begun)])
        if (name, before) not in found:
            continue
        given = {"of": name, "before": before, "begun": begun}
        carried = connection.execute(_CARRIED, given).mappings().all()
        state = found.get((name, begun), QuotaState(allotted=found[name, before].allotted))
        if (name, begun) in found and not carried:
            continue
        state = arithmetic.fit_to_allotment(
            allotted=state.allotted,
            used=state.used + state.overrun,
            reserved=state.reserved + sum(row["held"] for row in carried),
        )
        write(connection, {(name, begun): state})
        _HOLD.run(
            connection,
            [
                tuple(begun if column == "period" else value for column, value in row.items())
                for row in carried
            ],
        )


def settle(connection: Connection, outcomes: Sequence[Outcome]) -> None:
    """Replace what was held for these attempts by what they cost.

    What was held in two periods counts in both, in the later one until the service tells its figure.
    """
    by_attempt = {(one.job_id, one.fence): one for one in outcomes}
    held = connection.execute(_HELD_FOR, {"jobs": [one.job_id for one in outcomes]}).mappings()
    rows = [row for row in held.all() if (row["job_id"], row["fence"]) in by_attempt]
    earliest: dict[tuple[int, int, str], str] = {}
    for row in rows:
        of = (row["job_id"], row["fence"], row["name"])
        earliest[of] = min(row["period"], earliest.get(of, row["period"]))

    def cost_of(row: RowMapping) -> _RequestCost | None:
        one = by_attempt[row["job_id"], row["fence"]]
        is_carried = row["period"] > earliest[row["job_id"], row["fence"], row["name"]]
        if row["counts_requests"]:
            return _RequestCost(row["held"]) if one.sent else None
        if row["by_reply"]:
            return None
        if one.answer is not None:
            return _RequestCost(one.answer.measurement.tests, is_guess=is_carried)
        return _RequestCost(row["held"], is_guess=True) if one.charged else None

    _settle(connection, rows, cost_of)


def rename(connection: Connection, before: str, after: str) -> None:
    """Let quotas go on under another name, with what is used of them and held.

    Where there is a row of that name, too, both were told by one service: the later figure holds, if
    there is one.
    """
    rows = connection.execute(select(quota).where(quota.c.name == before)).mappings().all()
    for row in rows:
        names = [(before, row["period"]), (after, row["period"])]
        found = read(connection, names)
        old, new = found[names[0]], found.get(names[1])
        if new is None:
            connection.execute(quota.insert().values({**row, "name": after, "reserved": 0}))
            new = replace(old, reserved=0)
        used = max(one.used + one.overrun for one in (old, new))
        state = arithmetic.fit_to_allotment(
            allotted=new.allotted if new.is_told else old.allotted,
            used=used,
            reserved=old.reserved + new.reserved,
        )
        write(connection, {names[1]: state})
    # What is held refers to the rows: first there are both.
    connection.execute(update(reservation).where(reservation.c.name == before).values(name=after))
    connection.execute(delete(quota).where(quota.c.name == before))


def charge_lost(connection: Connection, worker_id: str) -> None:
    """Count what was held for a dead worker's requests as cost_of, because what they cost is not known.

    What was held for tests that are charged as their replies come is given back.
    """
    held = connection.execute(_HELD_BY, {"worker_id": worker_id})
    _settle(
        connection,
        held.mappings().all(),
        lambda row: (
            None
            if row["by_reply"] and not row["counts_requests"]
            else _RequestCost(row["held"], is_guess=not row["counts_requests"])
        ),
    )


def is_held(connection: Connection, keys: Iterable[QuotaKey], *, besides: int) -> bool:
    """Whether something is held under one of these quotas for jobs in flight of other runs."""
    wanted = [(key.name, key.period) for key in keys]
    found = select(reservation.c.job_id).where(
        tuple_(reservation.c.name, reservation.c.period).in_(wanted),
        reservation.c.held > 0,
        reservation.c.run_id != besides,
    )
    return connection.execute(found.limit(1)).first() is not None


def total_settled(connection: Connection, key: QuotaKey) -> int:
    """All that requests under this quota came to so far: to be read before the service is asked."""
    counted, _ = _read_counts(connection, key)
    return counted


def expect(connection: Connection, key: QuotaKey) -> bool:
    """Hold what is sent before the service tells its quota; whether that is still to come."""
    name = key.name, key.period
    state = read(connection, [name]).get(name)
    if state is None:
        state = QuotaState(allotted=arithmetic.UNTOLD)
        write(connection, {name: state})
    return not state.is_told


def forget(connection: Connection, key: QuotaKey) -> None:
    """The service has no quota to tell: nothing is held any more for one that was expected."""
    name = key.name, key.period
    state = read(connection, [name]).get(name)
    if state is not None and not state.is_told:
        for table in (reservation, quota):
            of_key = (table.c.name == key.name) & (table.c.period == key.period)
            connection.execute(delete(table).where(of_key))


def refresh(
    connection: Connection,
    key: QuotaKey,
    *,
    allotted: int,
    used: int,
    since: int,
    caps: Sequence[QuotaKey] = (),
) -> None:
    """Take over what the service itself says of its quota, beside what we hold for requests in flight.

    `since` is what `settled` told before the service was asked: what requests came to meanwhile may not
    be in its figure yet, and counts on top. Where requests without an answer cost less than was held for
    them, that is given back to the `caps` that they counted under, too.
    """
    found = read(connection, [(key.name, key.period)])
    before = found.get((key.name, key.period), QuotaState(allotted=allotted))
    counted, guessed = _read_counts(connection, key)
    newly = counted - since
    told = used + newly
    given_back = min(guessed, max(0, before.used + before.overrun - told))
    state = arithmetic.fit_to_allotment(allotted=allotted, used=told, reserved=before.reserved)
    write(connection, {(key.name, key.period): state})
    _confirm(connection, key, min(guessed, newly))
    for one in caps:
        _give_back(connection, one, given_back, newly)


def _give_back(connection: Connection, key: QuotaKey, tests: int, newly: int) -> None:
    found = read(connection, [(key.name, key.period)])
    if not found:
        return
    before = found[key.name, key.period]
    _, guessed = _read_counts(connection, key)
    tests = min(tests, guessed)
    state = arithmetic.fit_to_allotment(
        allotted=before.allotted,
        used=before.used + before.overrun - tests,
        reserved=before.reserved,
    )
    write(connection, {(key.name, key.period): state})
    _confirm(connection, key, min(guessed - tests, newly))


def _read_counts(connection: Connection, key: QuotaKey) -> tuple[int, int]:
    row = connection.execute(_COUNTED, {"of": key.name, "in_period": key.period}).first()
    return (0, 0) if row is None else (row.settled, row.unconfirmed)


def _confirm(connection: Connection, key: QuotaKey, left: int) -> None:
    connection.execute(_CONFIRM, {"of": key.name, "in_period": key.period, "left": left})


def cap(connection: Connection, key: QuotaKey, *, allotted: int) -> None:
    """Set what a user allows, keeping what is used."""
    found = read(connection, [(key.name, key.period)])
    before = found.get((key.name, key.period), QuotaState(allotted=allotted))
    state = arithmetic.fit_to_allotment(
        allotted=allotted, used=before.used + before.overrun, reserved=before.reserved
    )
    write(connection, {(key.name, key.period): state})


def take_request(connection: Connection, key: QuotaKey) -> bool:
    """Count a request under a cap, if it has room; one that is not set has."""
    if room(connection, key) == 0:
        return False
    spend(connection, key, 1)
    return True


def room(connection: Connection, cap: PermitCap | QuotaKey) -> int | None:
    """How many requests may still start under a cap; None if it is not set."""
    found = read(connection, [(cap.name, cap.period)])
    return found[cap.name, cap.period].room if found else None


def spend(connection: Connection, cap: PermitCap | QuotaKey, requests: int) -> None:
    """Count requests that start under a cap; less than 0: they did not start after all."""
    found = read(connection, [(cap.name, cap.period)]) if requests else {}
    for name, before in found.items():
        used = max(0, before.used + before.overrun + requests)
        state = arithmetic.fit_to_allotment(
            allotted=before.allotted, used=used, reserved=before.reserved
        )
        write(connection, {name: state})


def find_known(
    connection: Connection, keys: Iterable[QuotaKey]
) -> dict[tuple[str, str], QuotaState]:
    """The rows of `keys` whose allotment is known, by name and period."""
    found = read(connection, [(key.name, key.period) for key in keys])
    return {name: state for name, state in found.items() if state.is_told}


def _settle(
    connection: Connection,
    held: Sequence[RowMapping],
    cost_of: Callable[[RowMapping], _RequestCost | None],
) -> None:
    if not held:
        return
    states = read(connection, {(row["name"], row["period"]) for row in held})
    came_to: Counter[tuple[str, str]] = Counter()
    guessed: Counter[tuple[str, str]] = Counter()
    for row in held:
        name = (row["name"], row["period"])
        cost = cost_of(row)
        if cost is None:
            states[name] = arithmetic.refund(states[name], row["held"])
            continue
        states[name] = arithmetic.settle(states[name], row["held"], cost.tests)
        came_to[name] += cost.tests
        guessed[name] += cost.tests if cost.is_guess else 0
    write(connection, states)
    count(connection, came_to, guessed)
    _RELEASE.run(connection, [(row["job_id"], row["fence"]) for row in held])


def count(
    connection: Connection,
    came_to: Mapping[tuple[str, str], int],
    guessed: Mapping[tuple[str, str], int],
) -> None:
    """Add to what requests came to under quotas so far; `guessed` is the part of those without an answer."""
    if came_to:
        connection.execute(
            _COUNT,
            [
                {
                    "of": name,
                    "in_period": period,
                    "came_to": tests,
                    "guessed": guessed.get((name, period), 0),
                }
                for (name, period), tests in came_to.items()
            ],
        )


def read(
    connection: Connection, names: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], QuotaState]:
    """The rows that there are, by name and period."""
    wanted = set(names)
    rows = connection.execute(_READ, {"names": sorted({name for name, _ in wanted})})
    return {
        (row["name"], row["period"]): QuotaState(
            allotted=row["allotted"],
            used=row["used"],
            reserved=row["reserved"],
            overrun=row["overrun"],
        )
        for row in rows.mappings()
        if (row["name"], row["period"]) in wanted
    }


def write(connection: Connection, states: Mapping[tuple[str, str], QuotaState]) -> None:
    """Write rows as they are now."""
    connection.execute(
        _WRITE.on(connection),
        [
            {
                "name": name,
                "period": period,
                "allotted": state.allotted,
                "used": state.used,
                "reserved": state.reserved,
                "overrun": state.overrun,
            }
            for (name, period), state in sorted(states.items())
        ],
    )

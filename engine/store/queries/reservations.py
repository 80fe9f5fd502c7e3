"""Quota that is held for requests in flight, until their cost is known.

Every function runs inside a transaction of the caller.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

from sqlalchemy import Integer, RowMapping, bindparam, delete, select, tuple_, update
from sqlalchemy.engine import Connection

from engine.core import quota as arithmetic
from engine.core.quota import QuotaState
from engine.store.dialect import Bulk
from engine.store.queries import quotas
from engine.store.requests import Outcome, QuotaKey
from engine.store.schema import quota, reservation

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
_RELEASE = Bulk(
    {"job_id": Integer(), "fence": Integer()},
    lambda given: delete(reservation).where(
        tuple_(reservation.c.job_id, reservation.c.fence).in_(select(given))
    ),
)


@dataclass(frozen=True, slots=True)
class _RequestCost:
    """The cost of a request.

    `is_guess` marks a cost that only the service can confirm: the request got no answer, and this is what was held
    for it; or the period in which it was billed is unknown.
    """

    tests: int
    is_guess: bool = False


def hold(connection: Connection, rows: Sequence[Sequence[object]]) -> None:
    """Add reservations; each row holds the values of the columns of `reservation`, in order."""
    _HOLD.run(connection, rows)


def settle(connection: Connection, outcomes: Sequence[Outcome]) -> None:
    """Replace what was held for these attempts with what they cost.

    If a reservation exists in two periods, the cost counts in both; in the later one as a guess, until the service
    reports its figure.
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


def charge_lost(connection: Connection, worker_id: str) -> None:
    """Count what was held for a dead worker's requests as used, because their cost is unknown.

    Tests that are charged per reply are given back instead.
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
    """Whether jobs in flight of runs other than `besides` hold something under one of these quotas.

    Then a refusal by the service may be due to what they hold, and may end with them.
    """
    wanted = [(key.name, key.period) for key in keys]
    found = select(reservation.c.job_id).where(
        tuple_(reservation.c.name, reservation.c.period).in_(wanted),
        reservation.c.held > 0,
        reservation.c.run_id != besides,
    )
    return connection.execute(found.limit(1)).first() is not None


def begin(connection: Connection, names: Iterable[str], *, before: str, begun: str) -> None:
    """Create the quota rows of a period that has begun, with the allotments of the period before.

    Requests in flight are then held in both periods, because only the service knows which one it bills. Existing
    rows keep their figures.
    """
    for name in names:
        found = quotas.read(connection, [(name, before), (name, begun)])
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
        quotas.write(connection, {(name, begun): state})
        hold(
            connection,
            [
                tuple(begun if column == "period" else value for column, value in row.items())
                for row in carried
            ],
        )


def rename(connection: Connection, before: str, after: str) -> None:
    """Move quotas, with what is used and held, to another name.

    If there is a row of that name as well, both describe one quota of a service: the higher use counts, and the
    new row's allotment if it is known.
    """
    rows = connection.execute(select(quota).where(quota.c.name == before)).mappings().all()
    for row in rows:
        names = [(before, row["period"]), (after, row["period"])]
        found = quotas.read(connection, names)
        old, new = found[names[0]], found.get(names[1])
        if new is None:
            connection.execute(quota.insert().values({**row, "name": after, "reserved": 0}))
            new = replace(old, reserved=0)
        used = max(one.used + one.overrun for one in (old, new))
        state = arithmetic.fit_to_allotment(
            allotted=new.allotted if new.is_reported else old.allotted,
            used=used,
            reserved=old.reserved + new.reserved,
        )
        quotas.write(connection, {names[1]: state})
    # Reservations have a foreign key to the rows, so both rows must exist while they change.
    connection.execute(update(reservation).where(reservation.c.name == before).values(name=after))
    connection.execute(delete(quota).where(quota.c.name == before))


def _settle(
    connection: Connection,
    held: Sequence[RowMapping],
    cost_of: Callable[[RowMapping], _RequestCost | None],
) -> None:
    if not held:
        return
    states = quotas.read(connection, {(row["name"], row["period"]) for row in held})
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
    quotas.write(connection, states)
    quotas.count(connection, came_to, guessed)
    _RELEASE.run(connection, [(row["job_id"], row["fence"]) for row in held])

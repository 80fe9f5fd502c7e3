"""Quota rows: how much is allotted, used and reserved, as a service or the user sets it.

Every function runs inside a transaction of the caller.
"""

from collections.abc import Iterable, Mapping, Sequence

from sqlalchemy import bindparam, delete, select, update
from sqlalchemy.engine import Connection

from engine.core import quota as arithmetic
from engine.core.permits import PermitCap
from engine.core.quota import QuotaState
from engine.store.dialect import Upsert
from engine.store.requests import QuotaKey
from engine.store.schema import quota, reservation

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


def read(
    connection: Connection, names: Iterable[tuple[str, str]]
) -> dict[tuple[str, str], QuotaState]:
    """The rows among `names` that exist, by (name, period), where a period is a month or `run`.

    A quota without a row is unlimited.
    """
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
    """Insert rows or replace their figures, by (name, period); the other columns of existing rows stay.

    Raises IntegrityError if a state has more used and reserved than its allotment.
    """
    _WRITE.run(
        connection,
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


def count(
    connection: Connection,
    came_to: Mapping[tuple[str, str], int],
    guessed: Mapping[tuple[str, str], int],
) -> None:
    """Add to the total cost of requests under quotas; `guessed` is the part of requests without an answer."""
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


def find_known(
    connection: Connection, keys: Iterable[QuotaKey]
) -> dict[tuple[str, str], QuotaState]:
    """The rows of `keys` whose allotment is known, by (name, period).

    Left out are keys without a row, and rows whose allotment the service has not reported yet.
    """
    found = read(connection, [(key.name, key.period) for key in keys])
    return {name: state for name, state in found.items() if state.is_reported}


def total_settled(connection: Connection, key: QuotaKey) -> int:
    """The total cost of requests under a quota; read it before asking the service, and pass it to `refresh`."""
    counted, _ = _read_counts(connection, key)
    return counted


def cap(connection: Connection, key: QuotaKey, *, allotted: int) -> None:
    """Set the allotment that the user allows, in tests or requests; what is used and reserved stays.

    Usage above the new allotment becomes the row's overrun.
    """
    found = read(connection, [(key.name, key.period)])
    before = found.get((key.name, key.period), QuotaState(allotted=allotted))
    state = arithmetic.fit_to_allotment(
        allotted=allotted, used=before.used + before.overrun, reserved=before.reserved
    )
    write(connection, {(key.name, key.period): state})


def take_request(connection: Connection, key: QuotaKey) -> bool:
    """Count a request under a cap; returns False, and counts nothing, if it has no room. A cap without a row has room."""
    if room(connection, key) == 0:
        return False
    spend(connection, key, 1)
    return True


def room(connection: Connection, cap: PermitCap | QuotaKey) -> int | None:
    """The number of requests that may still start under a cap; None if it is not set."""
    found = read(connection, [(cap.name, cap.period)])
    return found[cap.name, cap.period].room if found else None


def spend(connection: Connection, cap: PermitCap | QuotaKey, requests: int) -> None:
    """Count requests that start under a cap; a negative number gives back requests that did not start."""
    found = read(connection, [(cap.name, cap.period)]) if requests else {}
    for name, before in found.items():
        used = max(0, before.used + before.overrun + requests)
        state = arithmetic.fit_to_allotment(
            allotted=before.allotted, used=used, reserved=before.reserved
        )
        write(connection, {name: state})


def expect(connection: Connection, key: QuotaKey) -> bool:
    """Create a row of unknown allotment, unless there is one; returns whether the allotment is still unknown."""
    name = key.name, key.period
    state = read(connection, [name]).get(name)
    if state is None:
        state = QuotaState(allotted=arithmetic.UNREPORTED)
        write(connection, {name: state})
    return not state.is_reported


def forget(connection: Connection, key: QuotaKey) -> None:
    """Remove a row of unknown allotment and what is held under it, because the service has no quota."""
    name = key.name, key.period
    state = read(connection, [name]).get(name)
    if state is not None and not state.is_reported:
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
    """Set a quota to the figures that the service reports; what is reserved for requests in flight stays.

    `since` is the `total_settled` from before the service was asked. Costs since then may be missing from the
    service's figure, so they are added to it. If requests without an answer cost less than was held for them, the
    difference is also given back to the `caps` under which they counted.
    """
    found = read(connection, [(key.name, key.period)])
    before = found.get((key.name, key.period), QuotaState(allotted=allotted))
    counted, guessed = _read_counts(connection, key)
    newly = counted - since
    total = used + newly
    given_back = min(guessed, max(0, before.used + before.overrun - total))
    state = arithmetic.fit_to_allotment(allotted=allotted, used=total, reserved=before.reserved)
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

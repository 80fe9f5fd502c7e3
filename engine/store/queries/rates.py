"""Rate rows, which all processes on a store share and which outlive them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from sqlalchemy import Text, delete, select
from sqlalchemy.engine import Connection

from engine.core import rates
from engine.core.runs import WaitReason
from engine.store.dialect import Bulk, Upsert
from engine.store.queries import shared_limits
from engine.store.requests import Blocked, Bucket
from engine.store.schema import rate_bucket

RATE_PREFIX = "permit "
"""The prefix of the names of rows that belong to permits."""

_READ = Bulk(
    {"name": Text()},
    lambda given: select(rate_bucket).where(rate_bucket.c.name.in_(select(given.c.name))),
)
_WRITE = Upsert(
    rate_bucket,
    lambda statement: statement.on_conflict_do_update(
        index_elements=["name"],
        set_={
            "log": statement.excluded.log,
            "blocked_until": statement.excluded.blocked_until,
            "given": statement.excluded.given,
            "has_retry_after": statement.excluded.has_retry_after,
        },
    ),
)


@dataclass(slots=True)
class Row:
    """One rate row within a transaction."""

    log: rates.RateLog = rates.EMPTY
    blocked_until: float = 0.0
    holders: shared_limits.Holders = field(default_factory=dict)
    has_retry_after: bool = True
    """Whether the service named the time of `blocked_until` itself."""
    lowest: int | None = field(init=False)
    """The lowest rate of all holders; None if there is no limit."""

    def __post_init__(self) -> None:
        self.hold(self.holders)

    def hold(self, holders: shared_limits.Holders) -> None:
        """Replace the holders and their rates."""
        self.holders = holders
        self.lowest, _ = shared_limits.lowest(holders)


@dataclass(slots=True)
class Buckets:
    """The rate rows of one transaction: read once, taken from in memory, written once."""

    rows: dict[str, Row]
    changed: set[str] = field(default_factory=set)

    def note(self, connection: Connection, buckets: Iterable[Bucket], holder: str) -> None:
        """Record the rates of a holder, so that they apply to all holders; a rate of None withdraws its earlier one.

        Holders whose workers have ended are removed from these rows. Nothing is written before `save`.
        """
        mine = {one.name: (one.rate_per_min, None) for one in buckets}
        before = {name: self.rows[name].holders for name in mine}
        for name, holders in shared_limits.update_holders(connection, before, mine, holder).items():
            if holders != before[name]:
                self.rows[name].hold(holders)
                self.changed.add(name)

    def rate(self, bucket: Bucket) -> int | None:
        """The number of starts allowed in any minute: the lowest rate of all holders, and the bucket's learnt pace.

        None if there is no limit.
        """
        lowest, pace = self.rows[bucket.name].lowest, bucket.pace_per_min
        if lowest is None or pace is None:
            return pace if lowest is None else lowest
        return min(lowest, pace)

    def has_rate(self, buckets: Iterable[Bucket]) -> bool:
        """Whether any of these buckets limits the starts per minute."""
        return any(self.rate(bucket) is not None for bucket in buckets)

    def most(self, buckets: Iterable[Bucket], *, want: int, horizon_s: float) -> int:
        """The most starts, at most `want`, that `take` may grant within all `buckets`, whatever their logs."""
        found = [self.rate(bucket) for bucket in buckets]
        most = [rates.most_slots(rate, horizon_s) for rate in found if rate is not None]
        return min((want, *most))

    def next_at(
        self, buckets: Iterable[Bucket], now: float, lead_s: float = 0.0
    ) -> tuple[float, WaitReason]:
        """The earliest start of one request within all `buckets`, and what it waits for until then.

        If a rate applies, that is at least `lead_s` from now.
        """
        earliest, why = now, WaitReason.QUEUED
        for bucket in buckets:
            row = self.rows[bucket.name]
            if row.blocked_until > earliest:
                why = WaitReason.HELD if row.has_retry_after else WaitReason.THROTTLED
                earliest = row.blocked_until
            if (rate := self.rate(bucket)) is not None:
                taken = rates.take(
                    row.log,
                    now=now,
                    rate_per_min=rate,
                    want=0,
                    not_before=max(earliest, now + lead_s),
                )
                if row.log and taken.log and taken.log[-1] != row.log[-1]:
                    # The clock was set back, and the log was corrected: store the correction.
                    row.log = taken.log
                    self.changed.add(bucket.name)
                if taken.next_at > earliest:
                    earliest, why = taken.next_at, WaitReason.RATE
        return earliest, why

    def take(
        self,
        buckets: Iterable[Bucket],
        *,
        want: int,
        now: float,
        horizon_s: float,
        lead_s: float = 0.0,
    ) -> tuple[float, ...]:
        """Take up to `want` starts within all `buckets`, from now + `lead_s` until `horizon_s` later.

        Returns their times, ascending, fewer than `want` if the buckets have no more in that time, perhaps none.
        Without a rate all start at the same time. Nothing is written before `save`.
        """
        buckets = tuple(buckets)
        rated = [(self.rows[one.name], one, self.rate(one)) for one in buckets]
        limited = [(row, one.name, rate) for row, one, rate in rated if rate is not None]
        slots: list[float] = []
        while len(slots) < want:
            at, _ = self.next_at(buckets, now, lead_s)
            if at > now + lead_s + horizon_s:
                break
            if not limited:
                return (at,) * want
            for row, name, rate in limited:
                taken = rates.take(
                    row.log,
                    now=now,
                    rate_per_min=rate,
                    want=1,
                    horizon_s=lead_s + horizon_s,
                    not_before=at,
                )
                row.log = taken.log
                self.changed.add(name)
            slots.append(at)
        return tuple(slots)

    def refund(self, buckets: Iterable[Bucket], slot: float) -> None:
        """Give back a slot that `take` returned and in which no request was started.

        Nothing is written before `save`.
        """
        for bucket in buckets:
            row = self.rows[bucket.name]
            row.log = rates.refund(row.log, [slot])
            self.changed.add(bucket.name)


def load(connection: Connection, names: Iterable[str]) -> Buckets:
    """Read the rows of `names`; missing ones are empty, and are created if `save` finds them changed."""
    wanted = sorted(set(names))
    rows = {name: Row() for name in wanted}
    found = _READ.rows(connection, [(name,) for name in wanted])
    for name, log, blocked_until, holders, has_retry_after in found:
        holds = shared_limits.decode(holders)
        rows[name] = Row(rates.decode(log), blocked_until, holds, bool(has_retry_after))
    return Buckets(rows)


def save(connection: Connection, buckets: Buckets) -> None:
    """Write the rows that have changed since `load`; without changes nothing is executed."""
    if not buckets.changed:
        return
    _WRITE.run(
        connection,
        [
            {
                "name": name,
                "log": rates.encode(buckets.rows[name].log),
                "blocked_until": buckets.rows[name].blocked_until,
                "given": shared_limits.encode(buckets.rows[name].holders),
                "has_retry_after": buckets.rows[name].has_retry_after,
            }
            for name in sorted(buckets.changed)
        ],
    )


def block(connection: Connection, blocked: Mapping[str, Blocked]) -> None:
    """Let no request start within these rows before a time, unless they are blocked for longer already."""
    buckets = load(connection, blocked)
    for name, wait in blocked.items():
        row = buckets.rows[name]
        if wait.until > row.blocked_until:
            row.blocked_until, row.has_retry_after = wait.until, wait.has_retry_after
            buckets.changed.add(name)
    save(connection, buckets)


def rename(connection: Connection, before: str, after: str) -> None:
    """Move an account's rate rows, with those of its lanes and permits, to another name.

    If a row of the new name exists, the starts of both are merged, and the longer wait applies.
    """
    for prefix in ("", RATE_PREFIX):
        old = f"{prefix}{before}"
        # Its lanes' names follow it in order: they begin with its name and a blank, and "!" follows a blank.
        is_of_it = (rate_bucket.c.name == old) | rate_bucket.c.name.between(f"{old} ", f"{old}!")
        names = connection.execute(select(rate_bucket.c.name).where(is_of_it)).scalars().all()
        renamed = {name: f"{prefix}{after}{name.removeprefix(old)}" for name in names}
        buckets = load(connection, [*renamed, *renamed.values()])
        for name, new in renamed.items():
            row, gone = buckets.rows[new], buckets.rows[name]
            row.log = tuple(sorted((*row.log, *gone.log)))
            if gone.blocked_until > row.blocked_until:
                row.blocked_until, row.has_retry_after = gone.blocked_until, gone.has_retry_after
            buckets.changed.add(new)
        save(connection, buckets)
        connection.execute(delete(rate_bucket).where(rate_bucket.c.name.in_(names)))

"""Rates: at most `rate_per_min` starts in any 60 s, evenly paced, and nearly all of them used.

A log of the starts of the last minute is kept. A *slot* at time s is the right to start one request
within [s, s + GUARD_S]; a request that is later must give the slot up (and may `refund` it). Of any
two slots that are `rate_per_min` apart in order, the later is at least WINDOW_S + GUARD_S after the
earlier. So the latest use of one and the earliest use of the other are a whole window apart.

Slots are also at least PACE x 60 s / rate_per_min apart, so there is never a burst, not even with an
empty log. PACE is below 1, so a stall can be made up for.

A clock that was set back sees starts in its future. Those are moved to at most CLOCK_TOLERANCE_S ahead
of now: later than they really were, so the rate holds, and early enough to block for about one window
at most. A clock that was set ahead forgets starts too early, which the log cannot distinguish from
time that has passed; the pace still holds, so a window with such a jump has at most about 1/PACE of
its rate. (Within a process the clock never jumps, see engine.clock: this concerns restarts, and
several machines with one store.)
"""

import json
from bisect import bisect_right
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, floor
from operator import itemgetter
from typing import TypeAlias

WINDOW_S = 60.0
GUARD_S = 0.25
"""How late a request may start after its slot."""
PACE = 0.9
"""The least distance of two slots, as a share of the even distance."""
RESOLUTION_S = 0.25
"""Starts within the same tick of this length share one entry, so that the log stays small."""
CLOCK_TOLERANCE_S = 30.0
"""How far in the future a slot can be without the clock having been set back.

Slots are taken so far ahead only where commits are that slow.
"""

# Room for what rounding does to times and for a millisecond in the encoded log.
_MARGIN_S = 0.005
SPAN_S = WINDOW_S + GUARD_S + _MARGIN_S
"""How long a slot counts."""

RateLog: TypeAlias = tuple[tuple[float, int], ...]
"""(time of the latest slot in a tick, number of slots in it), ascending; seconds since the epoch."""

EMPTY: RateLog = ()


@dataclass(frozen=True, slots=True)
class RateGrant:
    """What `take` granted: `slots` ascending, the `log` to store, and when to ask again.

    `next_at` is the time of the next slot that could be granted. Store the log even if no slot was
    granted: entries of a clock that was set back may have moved.
    """

    slots: tuple[float, ...]
    log: RateLog
    next_at: float


def take(
    log: RateLog,
    *,
    now: float,
    rate_per_min: int,
    want: int,
    horizon_s: float = 0.0,
    not_before: float = 0.0,
) -> RateGrant:
    """Grant up to `want` slots in [now, now + horizon_s], none before `not_before`.

    `horizon_s` is at most CLOCK_TOLERANCE_S. Times are seconds since the epoch.
    """
    assert rate_per_min >= 1, f"a rate of {rate_per_min} per minute lets nothing through"
    assert 0 <= horizon_s <= CLOCK_TOLERANCE_S, f"a horizon of {horizon_s} s is too far"
    kept = current(log, now)
    live = deque(kept)
    in_window = sum(map(itemgetter(1), live))
    spacing = PACE * WINDOW_S / rate_per_min
    slot = max(now, not_before)
    if live:
        slot = max(slot, live[-1][0] + spacing)
    slots: list[float] = []
    while True:
        # `live` has the starts in the same window as a start at `slot`.
        while live and (in_window >= rate_per_min or live[0][0] + SPAN_S <= slot):
            time, count = live.popleft()
            in_window -= count
            slot = max(slot, time + SPAN_S)
        if len(slots) >= want or slot > now + horizon_s:
            return RateGrant(tuple(slots), append_starts(kept, slots), slot)
        slots.append(slot)
        _append(live, slot, 1)
        in_window += 1
        slot += spacing


def most_slots(rate_per_min: int, horizon_s: float) -> int:
    """The most slots that a span of `horizon_s` seconds has, whatever the log, except for rounding."""
    return 1 + floor(horizon_s * rate_per_min / (PACE * WINDOW_S))


def refund(log: RateLog, slots: Iterable[float]) -> RateLog:
    """The log without `slots` that were granted but not used.

    A slot that is no longer in the log, or was moved since, stays counted.
    """
    counts = {tick(time): count for time, count in log}
    for slot in slots:
        # A slot that is not found (the log was cut or moved meanwhile) stays counted: the safe side.
        if counts.get(tick(slot), 0) > 0:
            counts[tick(slot)] -= 1
    return tuple((time, counts[tick(time)]) for time, _ in log if counts[tick(time)] > 0)


def current(log: RateLog, now: float) -> RateLog:
    """The log without entries that have expired at `now`.

    Entries further ahead than the clock's tolerance, as after it was set back, are moved to that limit.
    """
    latest = now + CLOCK_TOLERANCE_S
    live = log[bisect_right(log, now - SPAN_S, key=itemgetter(0)) :]
    if not live or live[-1][0] <= latest:
        return live
    first = bisect_right(live, latest, key=itemgetter(0))
    return (*live[:first], (latest, sum(count for _, count in live[first:])))


def count_recent(log: RateLog, now: float) -> int:
    """The number of starts in the 60 s up to `now`; those just ahead of it, within the clock's tolerance, count."""
    return sum(count for time, count in log if now - WINDOW_S < time <= now + CLOCK_TOLERANCE_S)


def encode(log: RateLog) -> str:
    """The log as compact JSON: milliseconds since the previous entry, and counts, in turn.

    Times are rounded up to the millisecond, which never lets a request start too early.
    """
    flat: list[int] = []
    before = 0
    for time, count in log:
        # Half a microsecond less, so that a time in whole milliseconds does not change.
        time_ms = ceil(time * 1000 - 0.0005)
        flat += (time_ms - before, count)
        before = time_ms
    return json.dumps(flat, separators=(",", ":"))


def decode(text: str) -> RateLog:
    """The log that `encode` wrote; an empty text is an empty log."""
    flat: list[int] = json.loads(text) if text else []
    entries: list[tuple[float, int]] = []
    time_ms = 0
    for difference_ms, count in zip(flat[::2], flat[1::2], strict=True):
        time_ms += difference_ms
        entries.append((time_ms / 1000, count))
    return tuple(entries)


def tick(time: float) -> int:
    """The number of the tick, of RESOLUTION_S seconds, that a time falls into."""
    return floor(time / RESOLUTION_S)


def append_starts(log: RateLog, slots: Iterable[float]) -> RateLog:
    """The log with slots that are not earlier than those in it, in ascending order."""
    entries = deque(log)
    for slot in slots:
        _append(entries, slot, 1)
    return tuple(entries)


def _append(entries: deque[tuple[float, int]], time: float, count: int) -> None:
    """Add at the end; starts of one tick share an entry with the latest time, so that it expires last."""
    if entries and tick(entries[-1][0]) == tick(time):
        count += entries.pop()[1]
    entries.append((time, count))

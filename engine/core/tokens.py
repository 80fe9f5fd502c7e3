"""Limits on tokens: calls that start in any 60 s take at most `tokens_per_min`, and use nearly all of it.

What a call takes is known only once it is answered. Until then an estimate counts: `append_start`
records it with the call's start, and `settle` replaces it with the true number. So as many calls
start as the answers leave room for, not only as many as the estimates allow.

A call that is estimated at more than a whole minute's tokens starts alone, in an empty window.

Windows, guards, clocks and the pace are those of a rate (see engine.core.rates); the even distance is
that of the mean call of the last minute. So a minute is not spent in its first seconds.
"""

from collections import deque
from math import ceil
from typing import TypeAlias

from engine.core.rates import CLOCK_TOLERANCE_S, PACE, SPAN_S, WINDOW_S, tick

TokenLog: TypeAlias = tuple[tuple[float, int, int], ...]
"""(time of the latest start in a tick, starts in it, their tokens), ascending; seconds since the epoch."""

EMPTY: TokenLog = ()


def current(log: TokenLog, now: float) -> TokenLog:
    """The log without starts that have expired at `now`.

    Starts further ahead than the clock's tolerance, as after it was set back, are moved to that limit.
    """
    latest = whole_ms(now + CLOCK_TOLERANCE_S)
    near = [entry for entry in log if now - SPAN_S < entry[0] <= latest]
    far = [entry for entry in log if entry[0] > latest]
    if far:
        near.append((latest, sum(entry[1] for entry in far), sum(entry[2] for entry in far)))
    return tuple(near)


def next_at(log: TokenLog, *, tokens_per_min: int, tokens: int, not_before: float) -> float:
    """When a call of `tokens` could start at the earliest, not before `not_before`.

    `log` must be current. Times are in seconds since the epoch, and the result is rounded up to the millisecond.
    """
    assert tokens_per_min >= 1, f"{tokens_per_min} tokens a minute let nothing through"
    live = deque(log)
    taken = sum(entry[2] for entry in live)
    at = not_before
    if live:
        mean = taken / sum(entry[1] for entry in live)
        at = max(at, live[-1][0] + PACE * WINDOW_S * min(1.0, mean / tokens_per_min))
    # A call that starts alone may take more than a minute's tokens.
    while live and (taken + tokens > tokens_per_min or live[0][0] + SPAN_S <= at):
        time, _, of_entry = live.popleft()
        taken -= of_entry
        at = max(at, time + SPAN_S)
    return whole_ms(at)


def append_start(log: TokenLog, *, at: float, tokens: int) -> TokenLog:
    """The log with a call of `tokens`, by estimate, that starts at `at`, a time that `next_at` returned."""
    starts = 1
    # Starts of one tick share an entry; it carries the latest time, so that it expires last.
    if log and tick(log[-1][0]) == tick(at):
        *earlier, (_, others, of_others) = log
        log, starts, tokens = tuple(earlier), starts + others, tokens + of_others
    return (*log, (at, starts, tokens))


def settle(log: TokenLog, *, at: float, estimate: int, tokens: int) -> TokenLog:
    """The log with the tokens that a call started `at` took, 0 if it was not made.

    A start that is not found is older than the window, or the clock was set; then nothing changes.
    """
    for index, (time, starts, taken) in enumerate(log):
        if tick(time) == tick(at):
            left = starts - (tokens == 0)
            known = (time, left, max(0, taken + tokens - estimate))
            return (*log[:index], *((known,) if left else ()), *log[index + 1 :])
    return log


def encode(log: TokenLog) -> list[int]:
    """The log as whole numbers: milliseconds since the previous entry, starts and tokens, in turn."""
    flat: list[int] = []
    before_ms = 0
    for time, starts, tokens in log:
        time_ms = round(time * 1000)
        flat += (time_ms - before_ms, starts, tokens)
        before_ms = time_ms
    return flat


def decode(flat: list[int]) -> TokenLog:
    """The log that `encode` wrote; raises ValueError if a part of it is missing."""
    entries: list[tuple[float, int, int]] = []
    time_ms = 0
    for difference_ms, starts, tokens in zip(flat[::3], flat[1::3], flat[2::3], strict=True):
        time_ms += difference_ms
        entries.append((time_ms / 1000, starts, tokens))
    return tuple(entries)


def whole_ms(time: float) -> float:
    """Round a time up to whole milliseconds, as a log stores it, so that it is found there again."""
    return ceil(time * 1000 - 0.0005) / 1000

"""Limits that depend on the calendar: the hours of a window, the months of a quota."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from math import inf
from zoneinfo import ZoneInfo

from engine.core.policy import Window

_CALENDAR_S = 100 * 366 * 24 * 3600.0


def bucket_of(account: str, lane: str) -> str:
    """The name of a lane's rate row, which also holds a Retry-After."""
    return f"{account} {lane}"


def opens_at(window: Window | None, now: float) -> float:
    """When requests may start, in seconds since the Unix epoch.

    That is `now` if the window is open or there is none, else its next opening.
    """
    if window is None:
        return now
    local = datetime.fromtimestamp(now, ZoneInfo(window.timezone))
    if window.contains(local.hour * 60 + local.minute + local.second / 60):
        return now
    opening = local.replace(
        hour=window.start_min // 60, minute=window.start_min % 60, second=0, microsecond=0
    )
    if opening <= local:
        opening += timedelta(days=1)
    return opening.timestamp()


def closes_at(window: Window | None, now: float) -> float:
    """When requests may not start any more, in seconds since the Unix epoch.

    That is the next end of the window after `now`, or infinity without a window.
    """
    if window is None:
        return inf
    local = datetime.fromtimestamp(now, ZoneInfo(window.timezone))
    end = local.replace(
        hour=window.end_min // 60, minute=window.end_min % 60, second=0, microsecond=0
    )
    if end <= local:
        end += timedelta(days=1)
    return end.timestamp()


def finishes_at(window: Window | None, now: float, work_s: float) -> float | None:
    """When `work_s` seconds of work are done, if it begins at `now` and goes on only within the window.

    Returns seconds since the Unix epoch, or None if that is more than a century ahead.
    """
    if work_s > _CALENDAR_S:
        return None
    at = opens_at(window, now)
    while (open_s := closes_at(window, at) - at) < work_s:
        work_s -= open_s
        at = opens_at(window, at + open_s)
        if at - now > _CALENDAR_S:
            return None
    return at + work_s


def month(now: float) -> str:
    """The quota period of a time, such as `2026-11` (UTC)."""
    return _month_of_hour(int(now // 3600))


@lru_cache(maxsize=8)
def _month_of_hour(hour: int) -> str:
    return datetime.fromtimestamp(hour * 3600, UTC).strftime("%Y-%m")


def month_began(now: float) -> float:
    """When the quota period of a time began: the first of the month (UTC)."""
    today = datetime.fromtimestamp(now, UTC)
    return today.replace(day=1, hour=0, minute=0, second=0, microsecond=0).timestamp()


def next_month(now: float) -> float:
    """When the next quota period begins (UTC)."""
    return _month_after_hour(int(now // 3600))


@lru_cache(maxsize=8)
def _month_after_hour(hour: int) -> float:
    return month_began(month_began(hour * 3600) + 32 * 24 * 3600)

"""Durations and times as text; every time has its zone."""

import re
from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

from engine.core.errors import UsageError

_AGO = re.compile(r"(\d+)\s*([smhd])(?: ago)?")
_EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001  # its texts end in Z
_SECONDS = {"s": 1, "m": 60, "h": 3_600, "d": 86_400}


def duration(seconds: float) -> str:
    """A duration in seconds as text: `45 s`, `12 min`, `3 h 05 min`, `2 d 4 h`.

    Rounded to seconds below 2 minutes, to minutes below 2 days and to hours above.
    """
    whole = round(seconds)
    if whole < 120:
        return f"{whole} s"
    minutes = round(seconds / 60)
    if minutes < 120:
        return f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 48:
        return f"{hours} h {minutes:02} min"
    return f"{hours // 24} d {hours % 24} h"


def moment(time: float, zone: str | None = None) -> str:
    """Date, time and zone of a time in seconds since the epoch: `2026-11-29 22:00 CET`.

    In local time, or in the IANA `zone`, which is then named: `2026-11-29 22:00 Europe/Berlin`.
    """
    return f"{_to_local(time, zone):%Y-%m-%d %H:%M} {_zone_name(time, zone)}"


def moment_to_the_second(time: float) -> str:
    """A local date and time with seconds and zone, from seconds since the epoch: `2026-11-29 22:00:05 CET`."""
    return f"{_to_local(time, None):%Y-%m-%d %H:%M:%S} {_zone_name(time, None)}"


def parse_moment(text: str, now: float) -> float:
    """Parse a time, in seconds since the Unix epoch: how long ago, such as `2h`, or a date with or without a time.

    Local, unless it has an offset (`2026-11-29T22:00+01:00`). Raises UsageError for anything else.
    """
    if ago := _AGO.fullmatch(text.strip()):
        return now - int(ago[1]) * _SECONDS[ago[2]]
    try:
        return datetime.fromisoformat(text.strip()).astimezone().timestamp()
    except (ValueError, OverflowError, OSError):
        raise UsageError(
            f"{text!r:.100} is not a time: write how long ago, such as 2h, 30m or 1d, or a date and time,"
            " such as '2026-11-29 22:00'"
        ) from None


def time_of_day(time: float, *, now: float, zone: str | None = None) -> str:
    """A local time and its zone, such as `07:42 CET`, with the date unless it is that of `now`.

    Both times are in seconds since the epoch. An IANA `zone` replaces the local one, and is then named.
    """
    if _to_local(time, zone).date() != _to_local(now, zone).date():
        return moment(time, zone)
    return f"{_to_local(time, zone):%H:%M} {_zone_name(time, zone)}"


def _to_local(time: float, zone: str | None) -> datetime:
    target: tzinfo | None = None if zone is None else ZoneInfo(zone)
    return datetime.fromtimestamp(time, tz=UTC).astimezone(target)


def _zone_name(time: float, zone: str | None) -> str:
    if zone is not None:
        return zone
    name = _to_local(time, None).tzname() or "UTC"
    # A zone without an abbreviation has its offset as its name, such as -03.
    return f"UTC{name}" if name[:1] in "+-" else name


@lru_cache
def utc_text(seconds: float) -> str:
    """Write a time in seconds since the Unix epoch as ISO 8601 in UTC, such as 2027-01-15T08:00:00.250000Z.

    All such texts are equally long, so they sort like their times.
    """
    at = _EPOCH + timedelta(microseconds=to_microseconds(seconds))
    return at.isoformat(timespec="microseconds") + "Z"


def to_microseconds(seconds: float) -> int:
    """Convert a time to whole microseconds, the exactness of all files and frames."""
    return round(seconds * 1_000_000)

"""Durations and times as people say them, each with its zone."""

from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo


def duration(seconds: float) -> str:
    """Seconds as people say them: `45 s`, `12 min`, `3 h 05 min`, `2 d 4 h`."""
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

    Local, unless an IANA zone is named, which then stands behind it: `2026-11-29 22:00 Europe/Berlin`.
    """
    return f"{_at(time, zone):%Y-%m-%d %H:%M} {_zone_name(time, zone)}"


def time_of_day(time: float, *, now: float, zone: str | None = None) -> str:
    """Time and zone, such as `07:42 CET`, with the date where it is not the day of `now`."""
    if _at(time, zone).date() != _at(now, zone).date():
        return moment(time, zone)
    return f"{_at(time, zone):%H:%M} {_zone_name(time, zone)}"


def _at(time: float, zone: str | None) -> datetime:
    of: tzinfo | None = None if zone is None else ZoneInfo(zone)
    return datetime.fromtimestamp(time, tz=UTC).astimezone(of)


def _zone_name(time: float, zone: str | None) -> str:
    if zone is not None:
        return zone
    name = _at(time, None).tzname() or "UTC"
    # Zones without letters of their own are called by their offset: -03.
    return f"UTC{name}" if name[:1] in "+-" else name

"""The events of a run's log as text."""

from collections.abc import Mapping

from engine.core.runs import Event, EventKind
from engine.core.terminal import plain
from engine.report.times import moment_to_the_second

EVENT_WORDS: Mapping[EventKind, str] = {
    EventKind.OUTAGE: "service away",
    EventKind.BACK: "service is back",
    EventKind.BREAKER: "same error over and over",
    EventKind.PARKED: "given up for the session",
    EventKind.HEALTH: "model unhealthy",
    EventKind.WELL: "model healthy again",
    EventKind.HELD: "held by the service",
    EventKind.REFUSED: "refused",
    EventKind.ANSWERED: "no longer refused",
    EventKind.MACHINE: "this machine",
    EventKind.STORAGE: "storage",
    EventKind.CLOCK: "clock",
    EventKind.RECLAIMED: "taken back from a dead process",
    EventKind.SERVICE: "service",
    EventKind.REDACTED: "key removed",
    EventKind.ACCEPTED: "change accepted",
    EventKind.REJUDGED: "judged again",
    EventKind.OLDER_CODE: "older code",
    EventKind.RENAMED: "renamed",
    EventKind.QUOTA: "quota",
    EventKind.CREDIT: "credit",
    EventKind.UNAUTHORIZED: "key refused",
    EventKind.UNHEALTHY: "unhealthy",
    EventKind.DEADLINE: "deadline passed",
    EventKind.PAUSED: "paused",
    EventKind.CANCELLED: "cancelled",
    EventKind.INTERRUPTED: "interrupted",
}
"""A few words for each kind of event; the event's message says the rest."""


def event_words(kind: str) -> str:
    """The words for a kind of event.

    A kind that is not one of EventKind, such as a job kind's own, is returned unchanged.
    """
    return EVENT_WORDS[EventKind(kind)] if kind in EVENT_WORDS else kind


def event_line(event: Event) -> str:
    """An event on one line: its time, kind, lane and message.

    The time is local, to the second and with its zone; the lane is left out if the event has none. Control
    characters are removed from what services and models wrote.
    """
    lane = f" [{plain(event.lane)}]" if event.lane else ""
    when = moment_to_the_second(event.at)
    return f"{when}  {plain(event_words(event.kind))}{lane}: {plain(event.message)}"

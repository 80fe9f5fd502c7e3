"""How hard a sweep may press, and how often it tries again: plain values, checked where they enter."""

from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneLimits:
    """The limits of one lane; None leaves it to the sweep's own."""

    rate_per_min: int | None = None
    max_in_flight: int | None = None


_UNLIMITED = LaneLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The hours in which requests may start, every day, in minutes after midnight.

    A window whose end is not after its start goes over midnight. `timezone` is an IANA name.
    """

    start_min: int
    end_min: int
    timezone: str

    def contains(self, minute: float) -> bool:
        """Whether a time of day, in minutes after midnight in `timezone`, is inside."""
        if self.start_min < self.end_min:
            return self.start_min <= minute < self.end_min
        return minute >= self.start_min or minute < self.end_min

    @property
    def minutes(self) -> int:
        """How long it is open each day."""
        return (self.end_min - self.start_min) % (24 * 60)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What a sweep allows itself; None is no limit of ours.

    `models` holds (name or pattern, limits) in the order of the file. `quota_tests` are tests a
    month, `requests` is a cap for the whole run, `deadline` is in seconds since the Unix epoch.
    """

    rate_per_min: int | None = None
    max_in_flight: int = 16
    models: tuple[tuple[str, LaneLimits], ...] = ()
    quota_tests: int | None = None
    requests: int | None = None
    window: Window | None = None
    deadline: float | None = None

    def for_lane(self, lane: str) -> LaneLimits:
        """The limits written under the lane's exact name, or else under the first pattern it fits."""
        for name, limits in self.models:
            if name == lane:
                return limits
        for pattern, limits in self.models:
            if fnmatchcase(lane, pattern):
                return limits
        return _UNLIMITED


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How often a job is tried and the waits between, which grow from base to max (seconds).

    `outage_h` is for how many hours a service that is away is waited for; 0: not at all.
    """

    attempts: int = 6
    base_delay_s: float = 1.0
    max_delay_s: float = 300.0
    outage_h: float = 12.0

    @property
    def outage_s(self) -> float:
        """`outage_h` in seconds."""
        return self.outage_h * 3600.0


class UnansweredRule(StrEnum):
    """What becomes of an evaluation that has no answer to some of its questions."""

    APART = "apart"
    """They are counted on their own: the rate is that of the others."""
    FAIL_JOB = "fail_job"
    """There are no numbers without an answer to each."""
    AS_FAILED = "as_failed"
    """They count as failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnansweredPolicy:
    """How questions without an answer count, and how large a share of them there may be (0..1)."""

    rule: UnansweredRule = UnansweredRule.APART
    max_share: float = 0.2

    def allows(self, answered: int, unanswered: int) -> bool:
        """Whether so many answers are enough for numbers; without any answer they never are."""
        if unanswered == 0:
            return True
        if answered == 0 or self.rule is UnansweredRule.FAIL_JOB:
            return False
        return unanswered / (answered + unanswered) <= self.max_share

"""Limits, retries and other policies of a sweep: plain values, validated when a sweep is parsed."""

from dataclasses import dataclass
from enum import StrEnum
from fnmatch import fnmatchcase


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneLimits:
    """The limits of one lane; None for those of the sweep."""

    rate_per_min: int | None = None
    max_in_flight: int | None = None


_UNLIMITED = LaneLimits()


@dataclass(frozen=True, slots=True, kw_only=True)
class Window:
    """The hours in which requests may start, every day, in minutes after midnight.

    A window that ends at or before its start includes midnight. `timezone` is an IANA name.
    """

    start_min: int
    end_min: int
    timezone: str

    def contains(self, minute: float) -> bool:
        """Whether a time of day, in minutes after midnight in `timezone`, is within the window.

        The window's first minute belongs to it, its end does not.
        """
        if self.start_min < self.end_min:
            return self.start_min <= minute < self.end_min
        return minute >= self.start_min or minute < self.end_min

    @property
    def minutes(self) -> int:
        """Minutes for which it is open each day."""
        return (self.end_min - self.start_min) % (24 * 60)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """The limits of a sweep; None is no limit.

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
        """The limits under the lane's exact name, or else under the first pattern that matches it."""
        for name, limits in self.models:
            if name == lane:
                return limits
        for pattern, limits in self.models:
            if fnmatchcase(lane, pattern):
                return limits
        return _UNLIMITED


@dataclass(frozen=True, slots=True, kw_only=True)
class Retry:
    """How often a job is tried, and the waits in between, which grow from base to max, in seconds.

    `outage_h` is the number of hours to wait for a service that is away; 0 for no wait.
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
    """How an evaluation counts that has no answer to some of its questions."""

    APART = "apart"
    """Unanswered questions are counted separately: the rate is that of the others."""
    FAIL_JOB = "fail_job"
    """The job fails unless every question has an answer."""
    AS_FAILED = "as_failed"
    """Unanswered questions count as failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UnansweredPolicy:
    """How questions without an answer count, and how large their share may be (0..1)."""

    rule: UnansweredRule = UnansweredRule.APART
    max_share: float = 0.2

    def allows(self, answered: int, unanswered: int) -> bool:
        """Whether so many answers are enough for numbers: the share of unanswered questions is at most `max_share`.

        Without any answer they never are, and under FAIL_JOB a single unanswered question is too many.
        """
        if unanswered == 0:
            return True
        if answered == 0 or self.rule is UnansweredRule.FAIL_JOB:
            return False
        return unanswered / (answered + unanswered) <= self.max_share

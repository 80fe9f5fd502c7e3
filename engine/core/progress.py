"""The progress of jobs in flight, in questions answered."""

from collections import deque
from dataclasses import dataclass, field, replace

_SPEED_OVER_S = 3600.0
_SPEED_OF_MOST = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class JobProgress:
    """The questions of one job: `answered` of `total`, with the planned number `expected`, if known."""

    answered: int
    total: int
    expected: int | None
    kept: int = 0
    """Replies from before this process began, in the attempt that found the most."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptProgress:
    """How far an attempt is: `answered` of its job's `total` questions."""

    job_id: int
    fence: int
    answered: int
    total: int


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionsInFlight:
    """The questions of jobs in flight: `answered` of `total`, as far as these jobs say how many they ask."""

    answered: int = 0
    total: int = 0
    more_than_expected: int = 0
    """How many more questions these jobs ask than were planned; negative for fewer."""

    def __add__(self, other: "QuestionsInFlight") -> "QuestionsInFlight":
        return QuestionsInFlight(
            answered=self.answered + other.answered,
            total=self.total + other.total,
            more_than_expected=self.more_than_expected + other.more_than_expected,
        )


@dataclass(slots=True)
class Progress:
    """What the jobs of a run have reported in this process.

    A retried job begins with the replies that were kept, so its earlier reports remain valid.
    """

    jobs: dict[int, JobProgress] = field(default_factory=dict)
    _began_at: float | None = None
    _answered_at: deque[float] = field(default_factory=deque)
    _kept_by_ended: int = 0

    def begin(self, job_id: int, *, expected: int | None, now: float) -> None:
        """Record that a job was started, with `expected` questions if that is known.

        For a job that is tried again nothing changes: its earlier reports remain valid.
        """
        if self._began_at is None:
            self._began_at = now
        begun = JobProgress(answered=0, total=expected or 0, expected=expected)
        self.jobs.setdefault(job_id, begun)

    def report(self, job_id: int, *, answered: int, total: int, asked_now: int, now: float) -> None:
        """Record that `answered` of a job's `total` questions are answered.

        `asked_now` were answered since the last report by new replies; kept ones say nothing about
        the speed.
        """
        before = self.jobs[job_id]
        most = max(answered, before.answered)
        self.jobs[job_id] = replace(before, answered=most, total=max(total, most))
        self._answered_at.extend([now] * asked_now)
        self._forget(now)

    def find(self, job_id: int, kept: int) -> None:
        """Record that an attempt found `kept` replies from before this process began; the highest number counts."""
        before = self.jobs[job_id]
        self.jobs[job_id] = replace(before, kept=max(kept, before.kept))

    def end(self, job_id: int, *, has_outcome: bool) -> None:
        """Forget a job that has an outcome or no longer belongs to this process.

        With an outcome, the replies that it found remain counted in `kept`. An unknown job is ignored.
        """
        ended = self.jobs.pop(job_id, None)
        if ended is not None and has_outcome:
            self._kept_by_ended += ended.kept

    @property
    def kept(self) -> int:
        """Replies that did not have to be asked for; each counts once, however often its job is tried."""
        return self._kept_by_ended + sum(job.kept for job in self.jobs.values())

    @property
    def in_flight(self) -> QuestionsInFlight:
        """The questions of jobs in flight here, and of those that will be tried again."""
        jobs = self.jobs.values()
        return QuestionsInFlight(
            answered=sum(job.answered for job in jobs),
            total=sum(job.total for job in jobs),
            more_than_expected=sum(
                job.total - job.expected for job in jobs if job.expected is not None
            ),
        )

    def speed(self, now: float) -> tuple[int, float]:
        """The number of questions answered recently, and over how many seconds before `now`.

        Kept replies do not count. (0, 0.0) before the first job was started.
        """
        self._forget(now)
        over_s = 0.0 if self._began_at is None else max(0.0, now - self._began_at)
        return len(self._answered_at), over_s

    def _forget(self, now: float) -> None:
        """Drop old answers, so that the record stays small even if `speed` is never called."""
        times = self._answered_at
        while times and (len(times) > _SPEED_OF_MOST or times[0] < now - _SPEED_OVER_S):
            self._began_at = times.popleft()


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """The questions of a whole run.

    `total` counts those of answered jobs and of jobs to come; None if a job to come does not say
    how many it asks.
    """

    answered: int
    total: int | None
    left: int | None
    """Questions still to be answered."""


def questions_of(
    *, answered: int, unanswered: int, to_come: int | None, in_flight: QuestionsInFlight
) -> Questions:
    """Add up the questions of answered jobs, of jobs in flight, and of jobs to come.

    `answered` and `unanswered` are those of the jobs with an answer; `to_come` are expected of all
    others that will be sent, None if unknown.
    """
    so_far = answered + in_flight.answered
    if to_come is None:
        return Questions(answered=so_far, total=None, left=None)
    left = max(0, to_come + in_flight.more_than_expected - in_flight.answered)
    return Questions(answered=so_far, total=so_far + unanswered + left, left=left)

"""How far the jobs are that have no outcome yet: the questions answered of those that each asks."""

from collections import deque
from dataclasses import dataclass, field, replace

_SPEED_OVER_S = 3600.0
_SPEED_OF_MOST = 1_000


@dataclass(frozen=True, slots=True, kw_only=True)
class JobProgress:
    """Questions of one job: `answered` of `total`, where `expected` were planned for if that is known."""

    answered: int
    total: int
    expected: int | None
    kept: int = 0
    """Replies that were there before this process began, in the attempt that found the most."""


@dataclass(slots=True)
class Progress:
    """What the jobs of a run have reported in this process, which is kept nowhere else.

    A job that is tried again starts from the replies that are kept: what it had reported stays.
    """

    jobs: dict[int, JobProgress] = field(default_factory=dict)
    _began_at: float | None = None
    _answered_at: deque[float] = field(default_factory=deque)
    _kept_by_ended: int = 0

    def begin(self, job_id: int, *, expected: int | None, now: float) -> None:
        """A job was started, of which so many questions are expected."""
        if self._began_at is None:
            self._began_at = now
        begun = JobProgress(answered=0, total=expected or 0, expected=expected)
        self.jobs.setdefault(job_id, begun)

    def report(self, job_id: int, *, answered: int, total: int, asked_now: int, now: float) -> None:
        """So many questions of a job are answered; `asked_now` of these since its last report.

        Those whose replies were kept say nothing of the speed.
        """
        before = self.jobs[job_id]
        most = max(answered, before.answered)
        self.jobs[job_id] = replace(before, answered=most, total=max(total, most))
        self._answered_at.extend([now] * asked_now)
        self._forget(now)

    def find(self, job_id: int, kept: int) -> None:
        """An attempt of a job has found so many replies that were there before this process began."""
        before = self.jobs[job_id]
        self.jobs[job_id] = replace(before, kept=max(kept, before.kept))

    def end(self, job_id: int, *, has_outcome: bool) -> None:
        """The job has an outcome, which tells what it came to, or is no longer ours."""
        ended = self.jobs.pop(job_id, None)
        if ended is not None and has_outcome:
            self._kept_by_ended += ended.kept

    @property
    def kept(self) -> int:
        """Replies that needed not be asked for, each counted once however often its job is tried."""
        return self._kept_by_ended + sum(job.kept for job in self.jobs.values())

    @property
    def answered(self) -> int:
        """Questions that the jobs without an outcome have had answered."""
        return sum(job.answered for job in self.jobs.values())

    @property
    def more_than_expected(self) -> int:
        """By how much these jobs ask more questions than were planned for; negative for fewer."""
        return sum(
            job.total - job.expected for job in self.jobs.values() if job.expected is not None
        )

    def speed(self, now: float) -> tuple[int, float]:
        """(questions answered, over how many seconds), of late."""
        self._forget(now)
        over_s = 0.0 if self._began_at is None else max(0.0, now - self._began_at)
        return len(self._answered_at), over_s

    def _forget(self, now: float) -> None:
        """Leave out what is too long ago, whether or not anybody asks for the speed."""
        times = self._answered_at
        while times and (len(times) > _SPEED_OF_MOST or times[0] < now - _SPEED_OVER_S):
            self._began_at = times.popleft()


@dataclass(frozen=True, slots=True, kw_only=True)
class Questions:
    """The questions of a whole run.

    `total` counts those of the answered jobs and of the jobs to come; None where a job to come does not
    say how many it asks.
    """

    answered: int
    total: int | None
    left: int | None
    """Those that are still to be answered."""


def questions_of(
    *, answered: int, unanswered: int, to_come: int | None, progress: Progress
) -> Questions:
    """The questions of a run: of its answered jobs, of those in progress, and of all that have no answer yet.

    `answered` and `unanswered` are those of the jobs with an answer; `to_come` is what is expected of
    all others that will be sent.
    """
    so_far = answered + progress.answered
    if to_come is None:
        return Questions(answered=so_far, total=None, left=None)
    left = max(0, to_come + progress.more_than_expected - progress.answered)
    return Questions(answered=so_far, total=so_far + unanswered + left, left=left)

"""The worst answers of a run, found by the scores in the store."""

import heapq
from bisect import bisect_left
from math import inf

from engine.store import JobRow

MOST_ANSWERS = 8_000
"""The most answers that a report reads for the worst findings."""


class AnswerRanking:
    """Ranks the jobs of a run by the lowest score of their answers, without reading these.

    A run may have a million answers, and each takes half a millisecond to read: only the worst are read.
    """

    def __init__(self, most: int = MOST_ANSWERS) -> None:
        self._most = most
        # The best of those kept first: (negative lowest score, negative place, id of the job).
        self._heap: list[tuple[float, int, int]] = []
        self._jobs = 0
        self.failed = 0
        """The failed tests of all jobs, each counted once, as far as the scores in the store tell."""

    def add(self, job: JobRow) -> None:
        """Add one job."""
        failed, lowest = _count_failed(job)
        if not failed:
            return
        self._jobs += 1
        self.failed += failed
        entry = (-lowest, -self._jobs, job.id)
        if len(self._heap) < self._most:
            heapq.heappush(self._heap, entry)
        elif entry > self._heap[0]:
            heapq.heapreplace(self._heap, entry)

    @property
    def is_partial(self) -> bool:
        """Whether some answers with failed tests are not among the worst."""
        return self._jobs > self._most

    @property
    def worst_jobs(self) -> list[int]:
        """The ids of the jobs with the lowest scores."""
        return [job_id for _, _, job_id in sorted(self._heap, reverse=True)]

    @property
    def highest_score(self) -> float:
        """The score up to which no failed test of another job is worse."""
        return -self._heap[0][0] if self.is_partial else inf


def _count_failed(job: JobRow) -> tuple[int, float]:
    """The failed tests of a job at the highest threshold that is asked of it, and their lowest score."""
    scores = job.scores
    if not job.failed or job.outdated:
        return 0, inf
    if scores is None or job.threshold is None:
        return job.failed, inf
    failed = bisect_left(scores, max(job.cells)) if job.cells else 0
    return failed, scores[0] if failed else inf

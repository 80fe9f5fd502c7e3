"""What jobs took: requests, retries and seconds, in all and for each value of an axis."""

from engine.core.reports import Effort, Spent
from engine.core.states import State
from engine.store import JobRow


class EffortCounter:
    """Adds up what the jobs of a run took; `axis` is the field of the labels by which they are told apart."""

    def __init__(self, axis: str) -> None:
        self._axis = axis
        self._efforts: dict[str, Effort] = {}
        self._began_at: float | None = None
        self._ended_at: float | None = None

    def add(self, job: JobRow) -> None:
        """Add one job."""
        name = str(job.labels.get(self._axis, ""))
        if (effort := self._efforts.get(name)) is None:
            effort = self._efforts[name] = Effort(name=name)
        effort.jobs += 1
        effort.attempts += job.attempts
        if job.attempts > 1:
            effort.retried += 1
            effort.retries += job.attempts - 1
        if job.state is State.FAILED:
            effort.failed += 1
        seconds = job.seconds
        if seconds is not None:
            effort.seconds += seconds
            effort.timed += 1
            effort.slowest = max(effort.slowest, seconds)
        if job.answered_at is not None and not job.reused:
            began_at = job.answered_at - (seconds or 0.0)
            if self._began_at is None or began_at < self._began_at:
                self._began_at = began_at
            if self._ended_at is None or job.answered_at > self._ended_at:
                self._ended_at = job.answered_at

    @property
    def efforts(self) -> tuple[Effort, ...]:
        """What the jobs of each value of the axis took, the longest first."""
        return tuple(sorted(self._efforts.values(), key=lambda one: (-one.seconds, one.name)))

    def spent(self, calls: int) -> Spent:
        """What the run took in all; `calls` are the requests that jobs sent themselves, 0 for kinds that send none."""
        efforts = self._efforts.values()
        return Spent(
            requests=calls or sum(one.attempts for one in efforts),
            retries=sum(one.retries for one in efforts),
            began_at=self._began_at,
            ended_at=self._ended_at,
        )

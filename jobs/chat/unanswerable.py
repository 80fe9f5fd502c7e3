"""Questions that can never have a reply: each is asked once, however many attempts its job takes.

A reply that a filter withheld, or that the token limit ended before it began, is charged. Without this, an
attempt that is returned unused, for example after a rate limit, would pay for the same question again.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from copy import copy

from engine.kinds import Job, JobError, Permanent, Transient

_JOBS_MAX = 1000
"""More than the number of jobs that wait for another attempt at the same time."""

_CURRENT: ContextVar[dict[str, Permanent] | None] = ContextVar("unanswerable", default=None)


class Unanswerable:
    """The errors of unanswerable questions by job, kept until the job has ended."""

    def __init__(self) -> None:
        self._by_job: dict[str, dict[str, Permanent]] = {}

    @contextmanager
    def remember(self, job: Job) -> Iterator[None]:
        """Remember errors within the block, one attempt of the job, and recall those of its earlier attempts.

        They are dropped unless another attempt follows: after a result, a permanent error, or the last
        attempt. It is held in memory only, so a new process asks once more.
        """
        known = self._by_job.pop(job.key, {})
        token = _CURRENT.set(known)
        follows = False
        try:
            yield
        except JobError as error:
            uses_it_up = isinstance(error, Transient) and job.is_last_attempt
            follows = not isinstance(error, Permanent) and not uses_it_up
            raise
        finally:
            _CURRENT.reset(token)
            if follows and known:
                self._keep(job, known)

    def _keep(self, job: Job, known: dict[str, Permanent]) -> None:
        if len(self._by_job) == _JOBS_MAX:
            del self._by_job[next(iter(self._by_job))]
        self._by_job[job.key] = known


async def call_unless_unanswerable(question: str, call: Callable[[], Awaitable[bytes]]) -> bytes:
    """Return the result of `call`, unless it already failed for good.

    Within a block of `Unanswerable.remember`, a Permanent error of the same `question` (a digest of it) is
    raised again without calling.
    """
    known = _CURRENT.get()
    if known is None:
        return await call()
    if question in known:
        raise copy(known[question])
    try:
        return await call()
    except Permanent as error:
        if error.sent:
            known[question] = copy(error)
            # Its unread body is stored with the attempt that received it.
            known[question].unread = None
        raise

"""Questions that will never have a reply: each is asked once, however many attempts its job takes.

A reply that the token limit cut off before it began, or that a filter withheld, is charged. An attempt that
is given back, by a rate limit say, would ask for it again and again.
"""

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from copy import copy

from engine.kinds import Job, JobError, Permanent, Transient

_JOBS_MAX = 1000
"""More jobs than are between two attempts at once."""

_CURRENT: ContextVar[dict[str, Permanent] | None] = ContextVar("unanswerable", default=None)


class Unanswerable:
    """The errors of such questions, by job, until the job has ended."""

    def __init__(self) -> None:
        self._by_job: dict[str, dict[str, Permanent]] = {}

    @contextmanager
    def remember(self, job: Job) -> Iterator[None]:
        """Remember the errors of the block, an attempt of the job; recall those of its attempts before."""
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
    """What `call` gives. Within a job's block, a Permanent error is raised again without calling.

    `question` is the same for the same question.
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
            # Its bytes are kept with the attempt that they came in.
            known[question].unread = None
        raise

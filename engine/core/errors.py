"""The tree of errors; each class says what happens next.

NightsweepError                  for users; the message says what happened, where, and what to do
├── StoreError                   the store cannot be used
│   └── StoreLost                it was removed, moved or replaced while a process worked on it
├── UsageError                   the command or call cannot be carried out here
│   ├── SweepError               a sweep or another file of settings is wrong: every mistake at once
│   └── IdentityChanged          a run would continue with other cases, another judge, ...
└── JobError                     how an attempt failed, raised by the author of the job kind
    ├── Transient                again, not sooner than `retry_after_s`; uses an attempt
    │   ├── TimedOut             the attempt's deadline passed
    │   └── Disconnected         the connection was lost; the service may have handled the request
    ├── Unreachable              no connection could be made; the attempt is given back, the lane waits
    ├── MachineFault             this machine is short of something; given back, fewer are in flight
    ├── RateLimited              again after `retry_after_s`; the attempt is given back, the lane is held
    ├── QuotaExceeded            the lane waits for quota; the attempt is given back, no job fails
    │   ├── OutOfCredit          the lane stops until the account is topped up; the attempt is given back
    │   └── LimitReached         the lane stops: the sweep allows no more; the attempt is given back
    ├── NotNow                   the sweep's window is closed; the attempt is given back
    ├── Unauthorized             the service's lanes stop, nothing more is sent; the attempt is given back
    ├── Unhealthy                the lane waits until the target is healthy; the attempt is given back
    └── Permanent                never again: the job has failed
Interrupted                      Ctrl-C ended a run executed from Python; not an Exception
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.core.money import Took

if TYPE_CHECKING:
    from engine.core.provenance import Difference

_PROBLEMS_SHOWN = 20
_COUNTED_FROM = 5
"""With more mistakes than this, the message ends with their number."""
_DIFFERENCES_SHOWN = 12


class NightsweepError(Exception):
    """Base of all errors for users: the text says what happened, where, and what to do.

    Example:
        >>> try:
        ...     open_run("other", "halves.db")
        ... except NightsweepError as error:
        ...     print(error)
        halves.db: the store has no run 'other'; known: halves
    """


@dataclass(frozen=True, slots=True)
class Place:
    """A position in a file: line and column from 1, and the line with a caret below it.

    `excerpt` is empty if the line would not help or might show a key.

    Example:
        >>> Place("sweep.yaml", 7, 11).line
        7
    """

    file: str
    line: int
    column: int
    excerpt: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: its path, such as `matrix.thresholds[2]`, what is wrong, and its place in the file.

    `is_of_key` says that the key is wrong or missing, not its value. `at` is the path to locate if it
    differs from `path`. `place` is None for values that were not read from a file.

    Example:
        >>> try:
        ...     Sweep("halves", half, matrix={"number": ["one"], "kind": ["a"]})
        ... except SweepError as error:
        ...     print([(problem.path, problem.message) for problem in error.problems])
        [('matrix.number[0]', 'Input should be a valid integer')]
    """

    path: str
    message: str
    is_of_key: bool = False
    at: str | None = None
    place: Place | None = None

    def __str__(self) -> str:
        place = "" if self.place is None else f"{self.place}: "
        return place + (f"{self.path}: {self.message}" if self.path else self.message)


class StoreError(NightsweepError):
    """The store cannot be opened, read or written; its contents are unchanged.

    The message names the file, says why, and what to do, such as which process holds its lock.

    Example:
        >>> open_run("halves", "missing.db")
        Traceback (most recent call last):
        engine.core.errors.StoreError: missing.db: there is no store
    """


class StoreLost(StoreError):
    """The store's file was removed, moved, replaced or overwritten while this process had it open.

    Nothing more is sent. The message says what happened to it, and where unsaved answers and
    replies were kept.

    Example:
        >>> issubclass(StoreLost, StoreError)
        True
    """


class UsageError(NightsweepError):
    """A command or call that cannot be carried out, such as one on a run that does not exist.

    The command line prints the message without a traceback and exits with code 2.

    Example:
        >>> open_run("other", "halves.db")
        Traceback (most recent call last):
        engine.core.errors.UsageError: halves.db: the store has no run 'other'; known: halves
    """


class SweepError(UsageError):
    """A sweep, or another file of settings, that cannot be used.

    `problems` has every mistake. The text shows the first twenty; a mistake in a file is shown as
    `FILE:LINE:COLUMN: PATH: ...`.

    Example:
        >>> Sweep("halves", half, matrix={"number": ["one"], "kind": ["a"]})
        Traceback (most recent call last):
        engine.core.errors.SweepError: Sweep('halves'): matrix.number[0]: Input should be a valid integer
    """

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        self.source = source
        self.problems: tuple[Problem, ...] = tuple(problems)
        lines = [line for one in self.problems[:_PROBLEMS_SHOWN] for line in _lines_of(source, one)]
        count = len(self.problems)
        if count > _PROBLEMS_SHOWN:
            lines.append(f"and {count - _PROBLEMS_SHOWN:,} more: {source} has {count:,} mistakes")
        elif count > _COUNTED_FROM:
            lines.append(f"{source} has {count} mistakes")
        super().__init__("\n".join(lines))


def _lines_of(source: str, problem: Problem) -> list[str]:
    line = f"{source}: {problem}" if problem.place is None else str(problem)
    excerpt = () if problem.place is None else problem.place.excerpt
    # A key of the file may contain line breaks, and must not begin lines of its own in the message.
    return [" ".join(line.splitlines()), *(f"    {one}" for one in excerpt)]


class IdentityChanged(UsageError):
    """What decides a run's answers has changed since the run began; `differences` lists the changes.

    `mixes_judges` is True if the run has answers that another judge judged: then the change cannot
    be accepted, but the replies can be judged again in a run of their own (`Engine.rejudge`).

    Example:
        >>> difference = Difference(name="judge", before="rules-1", after="rules-2")
        >>> [one.name for one in IdentityChanged("night", [difference]).differences]
        ['judge']
    """

    def __init__(
        self, run: str, differences: "Sequence[Difference]", *, mixes_judges: bool = False
    ) -> None:
        self.run = run
        self.differences: tuple[Difference, ...] = tuple(differences)
        self.mixes_judges = mixes_judges
        ways = [
            "a new name for the sweep: kept replies are used again",
            "`--accept`: answers stay, and cells without one are asked with the change",
            "the files and versions with which it began",
        ]
        if mixes_judges:
            # Accepted, it would mix the numbers of two judges.
            ways[1] = (
                f"`nightsweep rejudge {run}`: judges the kept replies again, in a run of its own"
            )
        super().__init__(
            "\n".join(
                [
                    f"{run}: what decides its answers has changed since it began:",
                    *_difference_lines(self.differences),
                    "ways to continue:",
                    *(f"  {way}" for way in ways),
                ]
            )
        )


def _difference_lines(differences: "Sequence[Difference]") -> list[str]:
    unknown = [one.name for one in differences if one.before is None]
    lines = [line for one in differences if one.before is not None for line in one.lines()]
    if unknown:
        lines.append(f"not recorded by the version that began it: {', '.join(unknown)}")
    if (hidden := len(lines) - _DIFFERENCES_SHOWN) > 0:
        lines[_DIFFERENCES_SHOWN:] = [f"and {hidden:,} more"]
    return [f"  {line}" for line in lines]


class JobError(NightsweepError):
    """How an attempt without an answer failed.

    `detail` is the service's own explanation, and `status` its HTTP status, if it sent one. `sent`
    is False only if the request surely never left: then its quota is given back. `reason` is a
    machine-readable cause, for job kinds that have such names. `unread` is the body of an answer
    that could not be read. `service_answers` means that the service has answered other questions of
    the job: then it is not away, and its lane continues however many jobs fail alike. `took` is the
    usage that the provider reported for a failed call. `trace` is the traceback of the exception behind
    the error, which is kept with the attempt in place of `detail`.

    Example:
        >>> isinstance(Transient("busy"), JobError)
        True
    """

    usual_message = "the call failed"

    def __init__(
        self,
        message: str = "",
        *,
        detail: str = "",
        status: int | None = None,
        sent: bool = True,
        reason: str | None = None,
        unread: bytes | None = None,
    ) -> None:
        super().__init__(message)
        self.message: str = message or self.usual_message
        self.detail = detail
        self.status = status
        self.sent = sent
        self.reason = reason
        self.unread = unread
        self.service_answers = False
        self.took: Took | None = None
        self.trace = ""

    @property
    def fingerprint(self) -> str:
        """Class, status and message without detail: equal for errors with the same cause."""
        return f"{type(self).__name__}:{self.status or ''}:{self.message}"


class _Delayed(JobError):
    def __init__(
        self,
        message: str = "",
        *,
        detail: str = "",
        status: int | None = None,
        sent: bool = True,
        reason: str | None = None,
        unread: bytes | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(
            message, detail=detail, status=status, sent=sent, reason=reason, unread=unread
        )
        self.retry_after_s = retry_after_s


class Transient(_Delayed):
    """May succeed next time: 408, 425, 5xx, a truncated answer. Uses an attempt.

    The job is sent again after a growing delay, not before `retry_after_s` seconds if the service says so.

    Example:
        >>> raise Transient("the server is restarting", retry_after_s=5)
        Traceback (most recent call last):
        engine.core.errors.Transient: the server is restarting
    """


class TimedOut(Transient):
    """The attempt took longer than its deadline. Uses an attempt."""


class Disconnected(Transient):
    """The connection was lost after the request may have been sent. Uses an attempt.

    Several in a row are an outage: the lane then waits, and no more attempts are used.
    """


class Unreachable(JobError):
    """The service cannot be reached, so the request surely was not sent.

    The attempt is given back, and the lane waits until the service is back.
    """

    def __init__(
        self, message: str, *, detail: str = "", status: int | None = None, sent: bool = False
    ) -> None:
        super().__init__(message, detail=detail, status=status, sent=sent)


class MachineFault(JobError):
    """This machine cannot do what the request needs, such as open another connection.

    It says nothing about the service. The attempt is given back, and the run slows down. The message
    says what ran short and what to do.
    """

    def __init__(
        self, message: str, *, detail: str = "", status: int | None = None, sent: bool = False
    ) -> None:
        super().__init__(message, detail=detail, status=status, sent=sent)


class RateLimited(_Delayed):
    """The service asks to wait, with 429 or in words. The attempt is given back.

    The lane is held for `retry_after_s` seconds, or for a delay that grows with each refusal if that is None.

    Example:
        >>> raise RateLimited("too many requests", retry_after_s=30)
        Traceback (most recent call last):
        engine.core.errors.RateLimited: too many requests
    """


class QuotaExceeded(JobError):
    """The quota is used up (403 quota_exceeded). The attempt is given back, no job fails.

    `needs` is the number of tests that the request may cost, if the service says so, else 0.

    Example:
        >>> raise QuotaExceeded("the allotment of November is used up")
        Traceback (most recent call last):
        engine.core.errors.QuotaExceeded: the allotment of November is used up
    """

    needs: int = 0


class OutOfCredit(QuotaExceeded):
    """The account is empty, or its spending limit is reached; waiting for the next month does not help.

    The lane stops and shows the provider's message. The attempt is given back, no job fails.
    """


class LimitReached(QuotaExceeded):
    """The sweep's own limit on requests is reached within a job. The attempt is given back, no job fails."""


class NotNow(JobError):
    """A request of a job may not start now: the window is closed, the deadline has passed, or no
    slot came soon after connecting.

    The attempt is given back, and the replies so far are kept.
    """

    def __init__(self, message: str, *, detail: str = "", status: int | None = None) -> None:
        super().__init__(message, detail=detail, status=status, sent=False)


class Unauthorized(JobError):
    """The key is refused (401). The attempt is given back, and no job fails.

    The refusal is confirmed with the service first; then all lanes of the service stop.
    """


class KeyRenewed(Unauthorized):
    """The key was refused, but has been replaced meanwhile: the same request may succeed at once.

    The attempt is given back and repeated as a new request.
    """


class Unhealthy(JobError):
    """The target cannot answer now. The attempt is given back, and the lane waits until it can."""


class Permanent(JobError):
    """The request cannot succeed: 404, 422, or an answer that breaks the contract.

    The job fails at once, without further attempts; `nightsweep retry` sends it again.

    Example:
        >>> raise Permanent("the model does not exist")
        Traceback (most recent call last):
        engine.core.errors.Permanent: the model does not exist
    """


class Interrupted(KeyboardInterrupt, SystemExit):
    """Ctrl-C during a run: attempts in flight are given back, and the run can be resumed.

    Uncaught, it ends a script with exit code 130 and without a traceback.

    Example:
        >>> try:
        ...     raise Interrupted("halves was interrupted")
        ... except KeyboardInterrupt as interrupted:
        ...     print(interrupted, interrupted.code)
        halves was interrupted 130
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.code = 130


def leaves(error: BaseException) -> Iterator[BaseException]:
    """The errors inside nested exception groups, depth first, or the error itself if it is no group."""
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from leaves(part)
    else:
        yield error


def is_of_store(error: BaseException) -> bool:
    """Whether an error, or every error of a group, is a StoreError, so that the store alone is the cause."""
    return all(isinstance(leaf, StoreError) for leaf in leaves(error))

"""The tree of errors; each class answers "what happens next?".

NightsweepError                  what a user may meet; the message says what, where and what to do
├── StoreError                   the store cannot be used
│   └── StoreLost                it was removed, moved or replaced while a process worked on it
├── UsageError                   the command or call makes no sense here
│   ├── SweepError               a sweep or another file of settings is wrong: every mistake at once
│   └── IdentityChanged          a run would go on with other cases, another judge, ...
└── JobError                     what an attempt ended in, decided by the kind's author
    ├── Transient                again, not sooner than `retry_after_s`; uses an attempt
    │   ├── TimedOut             the attempt's deadline passed
    │   └── Disconnected         the connection was lost; the request may have been worked on
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
Interrupted                      Ctrl-C ended a run that is executed from Python; no error, and no Exception
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from engine.core.money import Took

if TYPE_CHECKING:
    from engine.core.provenance import Difference

_PROBLEMS_SHOWN = 20
_COUNTED_FROM = 5
"""More mistakes than can be seen at a glance are counted below them."""
_DIFFERENCES_SHOWN = 12


class NightsweepError(Exception):
    """Base of all errors meant for the user: the text says what happened, where, what to do."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where something stands in a file: line and column from 1, and that line with a caret below.

    `excerpt` is empty where the lines would not help or might show a key.
    """

    file: str
    line: int
    column: int
    excerpt: tuple[str, ...] = ()

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}"


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake: `path` such as `matrix.thresholds[2]`, what is wrong, and where it stands in its file.

    `is_of_key` says that the key is wrong, or missing, rather than its value; `at` is the path of what
    to look at where that is only a part of `path`. `place` is None for what was not read from a file.
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
    """The store cannot be opened, read or written; what is in it is untouched."""


class StoreLost(StoreError):
    """The store's file was removed, moved, replaced or overwritten while this process had it open.

    Nothing more is sent. The message says what became of it, and where the answers and replies in hand were kept.
    """


class UsageError(NightsweepError):
    """A command or call that makes no sense here, such as a run that does not exist."""


class SweepError(UsageError):
    """A sweep, or another file of settings, that cannot be used.

    `problems` holds every mistake. The text has the first twenty, each as `FILE:LINE:COLUMN: PATH: ...`
    where the mistake is in a file.
    """

    def __init__(self, source: str, problems: Sequence[Problem]) -> None:
        self.source = source
        self.problems = tuple(problems)
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
    # One line each: a key of the file may hold line breaks, and must not write lines of its own.
    return [" ".join(line.splitlines()), *(f"    {one}" for one in excerpt)]


class IdentityChanged(UsageError):
    """What decides a run's answers has changed since it began; `differences` says what of it.

    `mixes_judges` is True where the run holds answers that another judge judged: then the change
    cannot be accepted, but be judged again in a run of its own (`Engine.rejudge`).
    """

    def __init__(
        self, run: str, differences: "Sequence[Difference]", *, mixes_judges: bool = False
    ) -> None:
        self.run = run
        self.differences = tuple(differences)
        self.mixes_judges = mixes_judges
        ways = [
            "a new name for the sweep: replies that are kept are not asked for again",
            "`--accept`: what is answered stays, the cells not yet asked get what is new",
            "the files and versions that it began with",
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
                    "it can go on with:",
                    *(f"  {way}" for way in ways),
                ]
            )
        )


def _difference_lines(differences: "Sequence[Difference]") -> list[str]:
    unknown = [one.name for one in differences if one.before is None]
    lines = [line for one in differences if one.before is not None for line in one.lines()]
    if unknown:
        lines.append(f"not noted by the version that began it: {', '.join(unknown)}")
    if (hidden := len(lines) - _DIFFERENCES_SHOWN) > 0:
        lines[_DIFFERENCES_SHOWN:] = [f"and {hidden:,} more"]
    return [f"  {line}" for line in lines]


class JobError(NightsweepError):
    """What an attempt ended in when it has no answer.

    `detail` is the service's own explanation, `status` its HTTP status where there is one, and
    `sent` is False only if the request surely never left: then its quota is given back. `reason`
    is a name for programs where the kind of work has names for why there is no answer. `unread` holds
    the bytes of an answer that came and cannot be read. `service_answers` is set where the service has
    answered other questions: then it is not away, whatever the error looks like, and its lane goes on,
    however many jobs fail alike. `took` is what the provider told of a call that it counted all the same.
    """

    def __init__(
        self,
        message: str,
        *,
        detail: str = "",
        status: int | None = None,
        sent: bool = True,
        reason: str | None = None,
        unread: bytes | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.detail = detail
        self.status = status
        self.sent = sent
        self.reason = reason
        self.unread = unread
        self.service_answers = False
        self.took: Took | None = None

    @property
    def fingerprint(self) -> str:
        """Equal for errors that are the same to a person: class, status and message without detail."""
        return f"{type(self).__name__}:{self.status or ''}:{self.message}"


class _Delayed(JobError):
    def __init__(
        self,
        message: str,
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
    """May go well next time: 408, 425, 5xx, an answer that is cut off. Uses an attempt."""


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
    """This machine cannot do what the request needs, such as open one more connection.

    It says nothing of the service. The attempt is given back, and the run slows down. The message says
    what is short and what to do.
    """

    def __init__(
        self, message: str, *, detail: str = "", status: int | None = None, sent: bool = False
    ) -> None:
        super().__init__(message, detail=detail, status=status, sent=sent)


class RateLimited(_Delayed):
    """The service asks for patience, by 429 or by name. The attempt is given back, the lane is held."""


class QuotaExceeded(JobError):
    """The allotment is used up (403 quota_exceeded). The attempt is given back, no job fails.

    `needs` is how many tests the request may come to, where the service says so.
    """

    needs: int = 0


class OutOfCredit(QuotaExceeded):
    """The account is empty or a limit on its spending is reached. No month brings that back.

    The lane stops, with the provider's own words; the attempt is given back, no job fails.
    """


class LimitReached(QuotaExceeded):
    """The sweep's own limit on requests is reached within a job. The attempt is given back, no job fails."""


class NotNow(JobError):
    """Outside the sweep's window, or after its deadline, no request of a job starts, nor does one
    whose slot did not come soon once it was connected.

    The attempt is given back, with what was answered kept.
    """

    def __init__(self, message: str, *, detail: str = "", status: int | None = None) -> None:
        super().__init__(message, detail=detail, status=status, sent=False)


class Unauthorized(JobError):
    """The key is refused (401). The service's lanes stop once that is confirmed; the attempt is given back."""


class KeyRenewed(Unauthorized):
    """The key was refused, and is another one by now: the same request may go well at once.

    The attempt is given back and made again, as a request of its own.
    """


class Unhealthy(JobError):
    """The target cannot answer now. The lane waits; the attempt is given back."""


class Permanent(JobError):
    """Will never go well: 404, 422, an answer that breaks the contract. The job has failed."""


class Interrupted(KeyboardInterrupt, SystemExit):
    """Ctrl-C while a run was executed: what was in flight is given back, and the run can be resumed.

    Uncaught, it ends a script with exit code 130 and without a traceback.
    """

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.code = 130


def leaves(error: BaseException) -> Iterator[BaseException]:
    """What was raised, out of the groups that task groups wrap it in."""
    if isinstance(error, BaseExceptionGroup):
        for part in error.exceptions:
            yield from leaves(part)
    else:
        yield error


def is_of_store(error: BaseException) -> bool:
    """Whether an error says of the store alone that it cannot be used."""
    return all(isinstance(leaf, StoreError) for leaf in leaves(error))

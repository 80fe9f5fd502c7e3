from math import inf, nan

import pytest

from engine.core.errors import (
    Disconnected,
    JobError,
    MachineFault,
    OutOfCredit,
    Permanent,
    QuotaExceeded,
    RateLimited,
    TimedOut,
    Transient,
    Unauthorized,
    Unhealthy,
    Unreachable,
)
from engine.core.model import Answer, Measurement
from engine.core.retry import (
    RETRY_AFTER_MAX_S,
    Blame,
    Fail,
    GiveBack,
    Hold,
    RetryLater,
    Succeed,
    Verdict,
    interruption,
    judge,
)
from engine.core.states import AttemptOutcome, Event


def verdict(
    end: Answer | Exception,
    *,
    attempt: int = 1,
    delay_s: float = 4.0,
    blame: Blame = Blame.UNKNOWN,
) -> Verdict:
    return judge(end, kind="played", attempt=attempt, attempts=3, delay_s=delay_s, blame=blame)


def test_an_answer_succeeds() -> None:
    answer = Answer(raw=b"{}", measurement=Measurement(passed=1, failed=0, tests=1))

    assert verdict(answer) == Succeed(answer=answer)
    assert verdict(answer).event is Event.SUCCEED


def test_a_transient_failure_is_tried_again_after_the_delay() -> None:
    found = verdict(Transient("connection refused", detail="port 80", sent=False))

    assert isinstance(found, RetryLater)
    assert found.event is Event.RETRY_LATER
    assert (found.outcome, found.delay_s) == (AttemptOutcome.FAILED, 4.0)
    assert found.error == "connection refused: port 80"
    assert not found.sent
    assert not found.overloaded


@pytest.mark.parametrize(
    ("retry_after_s", "delay_s"),
    [(10.0, 10.0), (1.0, 4.0), (-5.0, 4.0), (1e9, RETRY_AFTER_MAX_S), (nan, 4.0), (inf, 4.0)],
)
def test_a_transient_failure_waits_at_least_as_long_as_the_service_asks(
    retry_after_s: float, delay_s: float
) -> None:
    found = verdict(Transient("busy", status=503, retry_after_s=retry_after_s))

    assert isinstance(found, RetryLater)
    assert found.delay_s == delay_s
    assert found.overloaded


def test_a_transient_failure_is_final_at_the_last_attempt() -> None:
    found = verdict(Transient("broken", status=500), attempt=3)

    assert isinstance(found, Fail)
    assert found.event is Event.FAIL
    assert found.error == "broken (gave up after 3 attempts)"
    assert found.fingerprint == "Transient:500:broken"


AWAY = [
    Disconnected("the connection failed"),
    Transient("bad gateway", status=502),
    Transient("unavailable", status=503),
    Transient("gateway timeout", status=504),
    Transient("web server is down", status=521),
]


@pytest.mark.parametrize("error", AWAY, ids=str)
def test_what_may_be_an_outage_uses_an_attempt_but_never_the_last_one(error: JobError) -> None:
    early, last = verdict(error), verdict(error, attempt=3)

    assert isinstance(early, RetryLater)
    assert early.is_away
    assert isinstance(last, GiveBack)
    assert last.hold is Hold.OUTAGE


@pytest.mark.parametrize("error", AWAY, ids=str)
def test_in_an_outage_no_attempt_is_used(error: JobError) -> None:
    found = verdict(error, blame=Blame.OUTAGE)

    assert isinstance(found, GiveBack)
    assert found.hold is Hold.OUTAGE


@pytest.mark.parametrize("error", AWAY, ids=str)
def test_a_job_that_fails_so_while_others_are_answered_fails_in_the_end(error: JobError) -> None:
    assert isinstance(verdict(error, attempt=3, blame=Blame.JOB), Fail)


def test_a_service_that_is_there_but_broken_uses_attempts_also_in_an_outage() -> None:
    assert isinstance(verdict(Transient("broken", status=500), blame=Blame.OUTAGE), RetryLater)
    assert isinstance(verdict(TimedOut("too slow"), blame=Blame.OUTAGE), GiveBack)


def test_a_service_that_has_answered_something_else_since_is_not_away() -> None:
    error = Disconnected("the connection failed")
    error.service_answers = True

    again = verdict(error, blame=Blame.OUTAGE)

    assert isinstance(again, RetryLater)
    assert (again.is_away, again.service_answers) == (False, True)
    assert verdict(error, attempt=3, blame=Blame.UNKNOWN).event is Event.FAIL


def test_a_deadline_is_recorded_as_one() -> None:
    assert verdict(TimedOut("too slow")).outcome is AttemptOutcome.TIMED_OUT
    assert verdict(TimedOut("too slow"), attempt=3).outcome is AttemptOutcome.TIMED_OUT


@pytest.mark.parametrize(
    ("error", "hold"),
    [
        (RateLimited("slow down", status=429), Hold.RATE),
        (QuotaExceeded("no tests left", status=403), Hold.QUOTA),
        (OutOfCredit("no credit left", status=402), Hold.CREDIT),
        (Unauthorized("bad key", status=401), Hold.UNAUTHORIZED),
        (Unhealthy("no GPU"), Hold.HEALTH),
        (Unreachable("connection refused"), Hold.UNREACHABLE),
        (MachineFault("too many open files"), Hold.MACHINE),
    ],
)
def test_what_is_not_the_jobs_fault_uses_no_attempt_and_never_fails_it(
    error: JobError, hold: Hold
) -> None:
    found = verdict(error, attempt=99)

    assert isinstance(found, GiveBack)
    assert found.event is Event.GIVE_BACK
    assert found.hold is hold
    assert found.outcome is (
        AttemptOutcome.RATE_LIMITED if hold is Hold.RATE else AttemptOutcome.REFUSED
    )
    assert found.overloaded == (hold in (Hold.RATE, Hold.MACHINE))


@pytest.mark.parametrize(
    ("retry_after_s", "delay_s"),
    [(None, 4.0), (2.0, 2.0), (0.0, 1.0), (-3.0, 1.0), (1e9, RETRY_AFTER_MAX_S), (nan, 4.0)],
)
def test_a_429_waits_as_long_as_the_service_asks_and_never_goes_round_at_once(
    retry_after_s: float | None, delay_s: float
) -> None:
    found = verdict(RateLimited("slow down", retry_after_s=retry_after_s))

    assert isinstance(found, GiveBack)
    assert found.delay_s == delay_s


@pytest.mark.parametrize("error", [Permanent("unknown model", status=404), JobError("whatever")])
def test_a_permanent_error_fails_at_once(error: JobError) -> None:
    found = verdict(error)

    assert isinstance(found, Fail)
    assert found.outcome is AttemptOutcome.FAILED


def test_anything_else_that_is_raised_is_a_bug_in_the_job_kind() -> None:
    found = verdict(KeyError("score"))

    assert isinstance(found, Fail)
    assert found.error == "a bug in the job kind played: KeyError: 'score'"


def test_an_attempt_that_we_ended_is_due_again_at_once() -> None:
    found = interruption(sent=False)

    assert (found.event, found.outcome) == (Event.GIVE_BACK, AttemptOutcome.INTERRUPTED)
    assert found.delay_s == 0
    assert not found.sent

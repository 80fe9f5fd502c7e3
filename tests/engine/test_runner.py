"""One attempt: its deadline, its verdict, and the waits between attempts."""

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, nullcontext
from dataclasses import replace
from typing import Any

import anyio
import pytest

from engine.clock import Clock, SystemClock
from engine.core.errors import StoreError
from engine.core.policy import Retry, UnansweredPolicy, UnansweredRule
from engine.core.retry import Fail, GiveBack, Hold, RetryLater, Succeed
from engine.core.states import AttemptOutcome
from engine.kinds import (
    Answer,
    Job,
    JobContext,
    JobKind,
    Permanent,
    Permit,
    QuotaExceeded,
    RateLimited,
    Transient,
    Unauthorized,
    Unhealthy,
    resolve_secret,
)
from engine.runner import Runner
from engine.testing import FakeClock, scored

ANSWER = scored(0.2, 0.9)


class Context:
    """What a job is lent here: nothing but the time; what is kept unread is remembered."""

    def __init__(self, clock: Clock | None = None) -> None:
        self.clock = clock or SystemClock()
        self.unread: list[tuple[str, bytes]] = []

    async def permit(self, name: str, **_: Any) -> Permit:
        raise AssertionError("not asked for here")

    def account(self, address: str, key: str = "") -> str:
        raise NotImplementedError

    def slot(self, name: str, max_in_flight: int) -> AbstractAsyncContextManager[None]:
        return nullcontext()

    async def cached(
        self, key: Any, call: Callable[[], Awaitable[bytes]], *, tests: int = 0, usage: Any = None
    ) -> bytes:
        return await call()

    def progress(self, answered: int, total: int) -> None:
        return None

    async def note(self, kind: str, message: str) -> None:
        raise AssertionError("not asked for here")

    async def keep_unread(self, where: str, body: bytes) -> None:
        self.unread.append((where, body))


class Played(JobKind):
    name = "played"
    axes = ()
    deadline_s = 60.0

    def __init__(self, end: Answer | BaseException, hangs: bool = False) -> None:
        self._end = end
        self._hangs = hangs

    async def run(self, job: Job, client: Any, context: JobContext) -> Answer:
        if self._hangs:
            await anyio.sleep_forever()
        if isinstance(self._end, BaseException):
            raise self._end
        return self._end


def runner(end: Answer | BaseException = ANSWER, **retry: Any) -> Runner:
    return Runner(Played(end), None, Retry(**retry))


def job(attempt: int = 1) -> Job:
    return Job(id=1, key="00", run="night", parameters={}, labels={}, repeat=1, attempt=attempt)


async def test_an_answer_is_a_success() -> None:
    ended = await runner().attempt(job(), Context())

    assert ended.verdict == Succeed(answer=ANSWER)


async def test_a_transient_error_is_tried_again_until_attempts_run_out() -> None:
    error = Transient("HTTP 503", status=503, detail="busy")

    early = await runner(error, attempts=3).attempt(job(2), Context())
    broken = Transient("HTTP 500", status=500, detail="broken")
    last = await runner(broken, attempts=3).attempt(job(3), Context())

    assert isinstance(early.verdict, RetryLater)
    assert early.verdict.overloaded
    assert (early.status, early.detail) == (503, "busy")
    assert isinstance(last.verdict, Fail)
    assert last.verdict.error == "HTTP 500: broken (gave up after 3 attempts)"


@pytest.mark.parametrize(
    ("error", "hold"),
    [
        (RateLimited("slow down", status=429), Hold.RATE),
        (QuotaExceeded("used up", status=403), Hold.QUOTA),
        (Unauthorized("refused", status=401), Hold.UNAUTHORIZED),
        (Unhealthy("sick"), Hold.HEALTH),
        (StoreError("the disk is full"), Hold.JOB),
        (ExceptionGroup("two questions", [StoreError("full"), StoreError("full")]), Hold.JOB),
    ],
)
async def test_what_is_not_the_jobs_fault_is_given_back(error: Exception, hold: Hold) -> None:
    ended = await runner(error, attempts=1).attempt(job(), Context())

    assert isinstance(ended.verdict, GiveBack)
    assert ended.verdict.hold is hold


async def test_the_wait_after_a_429_grows_with_those_in_a_row_not_with_the_attempts() -> None:
    limited = runner(RateLimited("slow down", status=429), base_delay_s=1.0, max_delay_s=300.0)

    first = await limited.attempt(job(5), Context(), 0)
    seventh = await limited.attempt(job(1), Context(), 6)

    assert isinstance(first.verdict, GiveBack)
    assert isinstance(seventh.verdict, GiveBack)
    assert 1.0 <= first.verdict.delay_s <= 2.0
    assert 64.0 <= seventh.verdict.delay_s <= 65.0


async def test_a_job_that_takes_too_long_has_timed_out(clock: FakeClock) -> None:
    kind = Played(ANSWER, hangs=True)
    kind.deadline_s = 3600.0
    began = clock.now()

    async with clock.jumping():
        ended = await Runner(kind, None, Retry()).attempt(job(), Context(clock))

    assert clock.now() == began + 3600.0

    assert isinstance(ended.verdict, RetryLater)
    assert ended.verdict.outcome is AttemptOutcome.TIMED_OUT
    assert ended.verdict.error == "no answer within 3600 s"


async def test_any_other_exception_is_a_bug_reported_with_its_place_and_without_values(
    caplog: pytest.LogCaptureFixture,
) -> None:
    ended = await runner(KeyError("scores")).attempt(job(), Context())

    assert isinstance(ended.verdict, Fail)
    assert ended.verdict.error == "a bug in the job kind played: KeyError: 'scores'"
    assert ended.detail is not None
    assert "test_runner.py" in ended.detail
    assert "in run" in ended.detail
    assert "played" in caplog.text


def measured(**numbers: Any) -> Answer:
    return replace(ANSWER, measurement=replace(ANSWER.measurement, **numbers))


@pytest.mark.parametrize(
    ("returned", "mistake"),
    [
        (None, "it returned NoneType, not an engine.kinds.Answer"),
        (replace(ANSWER, raw="{}"), "Answer.raw must be bytes, not str"),  # type: ignore[arg-type]
        (replace(ANSWER, measurement={}), "Answer.measurement must be a Measurement, not dict"),  # type: ignore[arg-type]
        (measured(passed="3"), "Measurement.passed must be an int that is not negative, not '3'"),
        (measured(failed=-1), "Measurement.failed must be an int that is not negative, not -1"),
        (
            measured(tests=2**63),
            "Measurement.tests must be at most 9223372036854775807, not 9223372036854775808",
        ),
        (measured(tests=2.5), "Measurement.tests must be an int that is not negative, not 2.5"),
        (
            measured(unanswered={"empty": None}),
            "Measurement.unanswered['empty'] must be an int that is not negative, not None",
        ),
        (measured(scores=(0.2, "0.9")), "Measurement.scores must be numbers, not '0.9'"),
        (measured(scores=(float("nan"),)), "Measurement.scores must be numbers, not nan"),
        (measured(scores=(0.9, 0.2)), "Measurement.scores must be in ascending order: sort them"),
    ],
)
async def test_what_is_no_answer_fails_its_job_alone_and_says_what_to_mend(
    returned: Any, mistake: str
) -> None:
    context = Context()

    ended = await runner(returned).attempt(job(), context)

    assert isinstance(ended.verdict, Fail)
    assert ended.verdict.error == f"a bug in the job kind played: {mistake}"
    if isinstance(getattr(returned, "raw", None), bytes):
        assert context.unread == [(ended.verdict.error, ANSWER.raw)]


async def test_what_is_kept_of_an_error_holds_no_key_and_nothing_that_cannot_be_stored(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PLANTED", "planted-key-4711")
    resolve_secret("env:PLANTED")
    hostile = "planted-key-4711 \ud800" + "x" * 100_000

    for error in (ValueError(hostile), Permanent("no", detail=hostile), Unauthorized(hostile)):
        ended = await runner(error).attempt(job(), Context())

        assert isinstance(ended.verdict, Fail | GiveBack)
        assert "[redacted]" in ended.verdict.error
        for text in (ended.verdict.error, ended.detail or "", caplog.text):
            assert "planted-key-4711" not in text
            assert len(text.encode()) <= 4_000


async def test_cancellation_alone_goes_through() -> None:
    waiting = Runner(Played(ANSWER, hangs=True), None, Retry())

    with anyio.move_on_after(0.01) as scope:
        await waiting.attempt(job(), Context())

    assert scope.cancelled_caught


async def test_a_permanent_error_is_final_at_the_first_attempt() -> None:
    ended = await runner(Permanent("HTTP 422", status=422), attempts=9).attempt(job(), Context())

    assert isinstance(ended.verdict, Fail)


def test_delays_double_with_some_chance_in_them_and_never_pass_the_longest() -> None:
    delays = [runner(base_delay_s=2.0, max_delay_s=100.0).delay_s(n) for n in range(1, 60)]

    for number, delay in enumerate(delays):
        assert min(2.0 * 2**number, 100.0) <= delay <= min(2.0 * 2**number + 1.0, 100.0)
    assert len({runner().delay_s(1) for _ in range(20)}) > 1


@pytest.mark.parametrize(
    ("policy", "is_enough"),
    [
        (UnansweredPolicy(), True),
        (UnansweredPolicy(rule=UnansweredRule.AS_FAILED), True),
        (UnansweredPolicy(max_share=0.1), False),
        (UnansweredPolicy(rule=UnansweredRule.FAIL_JOB), False),
    ],
)
async def test_an_answer_with_more_unanswered_questions_than_allowed_is_none(
    policy: UnansweredPolicy, is_enough: bool
) -> None:
    whole = scored(*[0.9] * 8)
    measured = replace(whole.measurement, unanswered={"moderated": 1, "empty": 1}, note="why")
    partial = replace(whole, measurement=measured)

    context = Context()

    ended = await runner(partial).attempt(replace(job(), unanswered=policy), context)

    if is_enough:
        assert ended.verdict == Succeed(answer=partial)
        assert context.unread == []
    else:
        assert isinstance(ended.verdict, Fail)
        assert ended.verdict.error == (
            "2 of 10 questions unanswered (moderated 1, empty 1), more than the sweep allows: why"
        )
        assert [body for _, body in context.unread] == [partial.raw]

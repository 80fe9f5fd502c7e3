"""What follows from each way in which an attempt can end."""

from itertools import product

import pytest

from engine.core.model import Answer, Measurement
from engine.core.retry import Fail, GiveBack, Hold, RetryLater, Succeed, Verdict
from engine.core.runs import StopReason
from engine.core.settlement import AttemptEnd, Settlement, Signal, settlement
from engine.core.states import AttemptOutcome, Event

NOW = 1_800_000_000.0
ANSWER = Answer(raw=b"{}", measurement=Measurement(passed=1, failed=0, tests=1))
OUTCOMES = (AttemptOutcome.FAILED, AttemptOutcome.TIMED_OUT)


def settle(verdict: Verdict, *, reserved: int = 0) -> Settlement:
    return settlement(AttemptEnd(verdict, 502, "the gateway says no"), NOW, reserved=reserved)


def give_back(hold: Hold, *, sent: bool = True, **more: object) -> GiveBack:
    return GiveBack(
        outcome=AttemptOutcome.REFUSED,
        hold=hold,
        delay_s=2.0,
        error="refused",
        overloaded=False,
        sent=sent,
        **more,  # type: ignore[arg-type]  # as a test writes them
    )


def retry_later(
    outcome: AttemptOutcome = AttemptOutcome.FAILED, *, sent: bool = True, **more: object
) -> RetryLater:
    return RetryLater(
        outcome=outcome,
        delay_s=2.0,
        error="broken",
        fingerprint="502",
        overloaded=False,
        sent=sent,
        **more,  # type: ignore[arg-type]  # as a test writes them
    )


def test_an_answer_is_kept_and_shows_that_all_is_well() -> None:
    found = settle(Succeed(answer=ANSWER))

    assert (found.event, found.outcome) == (Event.SUCCEED, AttemptOutcome.SUCCEEDED)
    assert (found.answer, found.error, found.due_at) == (ANSWER, None, 0.0)
    assert (found.is_charged, found.is_sent, found.keeps_attempt) == (True, True, True)
    assert found.feedback.signal is Signal.WORKS
    assert (found.feedback.has_succeeded, found.feedback.has_outcome) == (True, True)
    assert found.feedback.is_answer
    assert (found.stops, found.is_machine_short) == (None, False)


# (what the service shows, whether a request that was sent may have cost something, whether it was an answer,
# whether it may be a mistake, whether the run stops where nothing was sent)
HOLDS: dict[Hold, tuple[Signal, bool, bool, bool, bool]] = {
    Hold.JOB: (Signal.NOTHING, True, False, False, False),
    Hold.KEY: (Signal.REFUSES, False, True, False, False),
    Hold.RATE: (Signal.REFUSES, False, True, False, False),
    Hold.QUOTA: (Signal.REFUSES, False, True, True, False),
    Hold.CREDIT: (Signal.REFUSES, False, True, True, False),
    Hold.UNAUTHORIZED: (Signal.REFUSES, False, True, True, True),
    Hold.HEALTH: (Signal.REFUSES, False, False, False, False),
    Hold.UNREACHABLE: (Signal.AWAY, True, False, False, False),
    Hold.OUTAGE: (Signal.AWAY, True, False, False, False),
    Hold.MACHINE: (Signal.NOTHING, True, False, False, False),
}


def test_the_table_has_every_hold() -> None:
    assert set(HOLDS) == set(Hold)


@pytest.mark.parametrize(("hold", "sent"), list(product(Hold, [True, False])))
def test_an_attempt_that_is_given_back_uses_none(hold: Hold, sent: bool) -> None:
    signal, may_cost, is_answer, is_doubtful, stops_unsent = HOLDS[hold]

    found = settle(give_back(hold, sent=sent))

    feedback = found.feedback
    assert (found.event, found.keeps_attempt, found.is_sent) == (Event.GIVE_BACK, False, sent)
    assert (found.due_at, found.error, found.status) == (NOW + 2.0, "refused", 502)
    assert (feedback.signal, feedback.hold, feedback.is_sent) == (signal, hold, sent)
    assert found.is_charged == (sent and may_cost)
    assert feedback.is_answer == (sent and is_answer)
    assert feedback.is_doubtful == (sent and is_doubtful)
    assert (feedback.has_outcome, feedback.has_succeeded) == (False, False)
    assert feedback.is_surely_away == (hold is Hold.UNREACHABLE)
    assert found.is_machine_short == (hold is Hold.MACHINE)
    stops = stops_unsent and not sent
    assert found.stops == (StopReason.UNAUTHORIZED if stops else None)


@pytest.mark.parametrize(
    ("hold", "asked_s", "says_when", "held_s", "has_retry_after"),
    [
        (Hold.RATE, 0.0, True, 2.0, True),
        (Hold.RATE, 0.0, False, 2.0, False),
        (Hold.RATE, 9.0, True, 2.0, True),
        *((hold, 9.0, False, 9.0, True) for hold in Hold if hold is not Hold.RATE),
        *((hold, 0.0, False, 0.0, True) for hold in Hold if hold is not Hold.RATE),
    ],
)
def test_a_refusal_for_its_rate_holds_the_lane_and_so_does_a_wait_that_was_asked_for(
    hold: Hold, asked_s: float, says_when: bool, held_s: float, has_retry_after: bool
) -> None:
    feedback = settle(give_back(hold, asked_s=asked_s, has_retry_after=says_when)).feedback

    assert (feedback.held_s, feedback.has_retry_after) == (held_s, has_retry_after)
    assert feedback.asked_s == asked_s


@pytest.mark.parametrize(
    ("needs", "reserved", "most"), [(0, 0, 0), (7, 3, 7), (3, 7, 7), (0, 5, 5)]
)
def test_a_refused_request_needed_what_was_held_for_it_at_least(
    needs: int, reserved: int, most: int
) -> None:
    found = settle(give_back(Hold.QUOTA, needs=needs), reserved=reserved)

    assert found.feedback.needs == most


@pytest.mark.parametrize(
    ("outcome", "sent", "is_away", "service_answers"),
    list(product(OUTCOMES, [True, False], [True, False], [True, False])),
)
def test_an_attempt_that_is_made_again_is_used_and_holds_its_lane_as_long_as_was_asked_for(
    outcome: AttemptOutcome, sent: bool, is_away: bool, service_answers: bool
) -> None:
    found = settle(
        retry_later(
            outcome, sent=sent, is_away=is_away, service_answers=service_answers, asked_s=9.0
        )
    )

    feedback = found.feedback
    assert (found.event, found.outcome) == (Event.RETRY_LATER, outcome)
    assert (found.keeps_attempt, found.is_charged, found.is_sent) == (True, sent, sent)
    assert (found.due_at, feedback.held_s, feedback.has_retry_after) == (NOW + 2.0, 9.0, True)
    shown = Signal.AWAY if is_away else Signal.FAILS
    assert feedback.signal is (Signal.WORKS if service_answers else shown)
    assert feedback.is_answer == (not is_away and outcome is AttemptOutcome.FAILED)
    assert (feedback.has_outcome, feedback.is_refusal_over, found.stops) == (False, False, None)


@pytest.mark.parametrize(
    ("outcome", "sent", "service_answers"), list(product(OUTCOMES, [True, False], [True, False]))
)
def test_a_job_that_has_failed_is_over_and_holds_nothing(
    outcome: AttemptOutcome, sent: bool, service_answers: bool
) -> None:
    found = settle(
        Fail(
            outcome=outcome,
            error="unknown model",
            fingerprint="404",
            sent=sent,
            service_answers=service_answers,
        )
    )

    feedback = found.feedback
    assert (found.event, found.outcome, found.due_at) == (Event.FAIL, outcome, 0.0)
    assert (found.keeps_attempt, found.is_charged, found.is_sent) == (True, sent, sent)
    assert (found.error, found.detail) == ("unknown model", "the gateway says no")
    assert feedback.signal is (Signal.WORKS if service_answers else Signal.FAILS)
    assert feedback.is_answer == (sent and outcome is AttemptOutcome.FAILED)
    assert (feedback.has_outcome, feedback.has_succeeded) == (True, False)
    assert (feedback.is_refusal_over, feedback.held_s, feedback.is_overload) == (sent, 0.0, False)


@pytest.mark.parametrize("overloaded", [True, False])
def test_an_overload_is_passed_on(overloaded: bool) -> None:
    again = RetryLater(
        outcome=AttemptOutcome.FAILED,
        delay_s=0.0,
        error="503",
        fingerprint="503",
        overloaded=overloaded,
        sent=True,
    )

    found = settle(again)

    assert (found.feedback.is_overload, found.due_at) == (overloaded, 0.0)

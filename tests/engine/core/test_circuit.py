"""What opens the circuit of a lane, what it lets through, and what the end of each attempt changes."""

from dataclasses import replace
from math import inf

import pytest

from engine.core.breaker import THRESHOLD, Breaker, BreakerState
from engine.core.circuit import Change, Circuit, Sent
from engine.core.errors import Disconnected, JobError
from engine.core.retry import Blame, Hold
from engine.core.runs import WaitReason
from engine.core.settlement import Feedback, Signal

NOW = 1_800_000_000.0
PATIENCE_S = 3600.0

WORKS = Feedback(signal=Signal.WORKS, has_succeeded=True, has_outcome=True, is_answer=True)
NOTHING = Feedback(signal=Signal.NOTHING, hold=Hold.JOB)
FAILS = Feedback(signal=Signal.FAILS, error="HTTP 500", fingerprint="500", is_answer=True)
GONE = Feedback(
    signal=Signal.AWAY,
    error="no route",
    hold=Hold.UNREACHABLE,
    fingerprint="x",
    is_surely_away=True,
)
LOST = Feedback(signal=Signal.AWAY, error="disconnected", fingerprint="x")
FULL = Feedback(signal=Signal.REFUSES, error="429", hold=Hold.RATE, is_answer=True)
NO_QUOTA = Feedback(
    signal=Signal.REFUSES, error="quota", hold=Hold.QUOTA, is_answer=True, is_doubtful=True, needs=3
)
NO_KEY = Feedback(
    signal=Signal.REFUSES, error="key", hold=Hold.UNAUTHORIZED, is_answer=True, is_doubtful=True
)


def closed(attempts: int = 3) -> Circuit:
    return Circuit(breaker=Breaker(attempts=attempts, base_delay_s=1.0, max_delay_s=300.0))


def end(
    circuit: Circuit,
    feedback: Feedback,
    now: float = NOW,
    *,
    job_id: int = 1,
    started_at: float | None = None,
    is_blocked: bool = False,
) -> tuple[Circuit, list[Change]]:
    """End an attempt at a job that was started just then, unless another time is given."""
    sent = Sent(job_id=job_id, fence=1, started_at=now if started_at is None else started_at)
    return circuit.on_end(feedback, now, of=sent, patience_s=PATIENCE_S, is_blocked=is_blocked)


def probe(circuit: Circuit, feedback: Feedback, now: float) -> tuple[Circuit, list[Change]]:
    """Start job 1 as the probe and end it."""
    assert circuit.admits(now) == 1
    return end(circuit.on_start(now, 1, 1, is_alone=True), feedback, now)


def tripped() -> Circuit:
    circuit = closed()
    for _ in range(THRESHOLD):
        circuit, _ = end(circuit, FAILS)
    return circuit


def away() -> Circuit:
    return end(closed(), GONE)[0]


def refused(feedback: Feedback = NO_QUOTA) -> Circuit:
    """A circuit with a doubt, about which the service was asked."""
    return end(closed(), feedback)[0].try_again(NOW)


def test_a_closed_circuit_lets_everything_through() -> None:
    circuit = closed()

    assert (circuit.admits(NOW), circuit.admits_at, circuit.waits_for) == (None, -inf, None)
    assert circuit.on_start(NOW, 1, 1, is_alone=True) is circuit
    assert circuit.lets_through(1, 1)


@pytest.mark.parametrize(
    ("circuit", "reason"),
    [
        (tripped(), WaitReason.ERRORS),
        (away(), WaitReason.OUTAGE),
        (refused(), WaitReason.REFUSED),
    ],
    ids=["errors", "outage", "refused"],
)
def test_a_circuit_that_is_not_closed_lets_one_probe_through_once_it_is_time(
    circuit: Circuit, reason: WaitReason
) -> None:
    at = circuit.admits_at
    probing = circuit.on_start(at, 1, 7, is_alone=False)

    assert circuit.waits_for is reason
    assert (circuit.admits(at - 0.1), circuit.admits(at)) == (0, 1)
    assert (probing.admits(at + 1e6), probing.admits_at) == (0, inf)
    assert probing.lets_through(1, 7)
    assert not probing.lets_through(1, 8)
    assert not probing.lets_through(2, 7)


def test_a_service_that_is_away_and_refused_before_has_to_wait_for_both() -> None:
    circuit, _ = end(end(closed(), NO_KEY)[0], GONE)
    asked = circuit.try_again(NOW + 10)

    assert circuit.breaker.admits_at < circuit.admits_at == inf
    assert asked.admits_at == NOW + 10
    assert circuit.try_again(NOW).admits(NOW) == 0
    assert asked.waits_for is WaitReason.REFUSED


def test_the_breaker_trips_once_enough_requests_failed_alike() -> None:
    circuit = closed()
    changes: list[Change] = []
    for _ in range(THRESHOLD):
        circuit, found = end(circuit, FAILS)
        changes += found

    assert changes == [Change.TRIPPED]
    assert circuit.breaker.state is BreakerState.OPEN


def test_every_failed_probe_is_reported_and_the_last_one_parks_the_breaker() -> None:
    circuit, changes = tripped(), []
    while circuit.breaker.state is not BreakerState.PARKED:
        circuit, found = probe(circuit, FAILS, circuit.admits_at)
        changes += found

    assert changes == [Change.TRIPPED] * (circuit.breaker.probes - 1) + [Change.SPENT]
    assert (circuit.admits(NOW + 1e9), circuit.admits_at, circuit.waits_for) == (0, inf, None)
    assert end(circuit, FAILS, NOW + 1e6)[1] == []
    assert end(circuit, GONE, NOW + 1e6)[1] == []


def test_an_outage_is_reported_with_every_miss_until_the_service_is_back() -> None:
    circuit, first = end(closed(), GONE)
    circuit, in_flight_then = end(circuit, GONE, NOW + 0.5, job_id=2, started_at=NOW - 9)
    circuit, missed = probe(circuit, GONE, circuit.admits_at)
    _, answered = probe(circuit, WORKS, circuit.admits_at)

    assert first == in_flight_then == missed == [Change.AWAY]
    assert answered == [Change.BACK]


def test_an_outage_that_outlasts_the_patience_is_given_up() -> None:
    circuit = away()
    changes: list[Change] = []
    while circuit.breaker.state is not BreakerState.PARKED:
        circuit, changes = probe(circuit, GONE, circuit.admits_at)

    assert changes == [Change.GIVEN_UP]
    assert end(circuit, GONE, NOW + 1e6)[1] == []
    assert end(circuit, WORKS, NOW + 1e6)[1] == [Change.BACK]


def test_a_service_that_was_missed_once_was_not_away() -> None:
    missed, _ = end(closed(), LOST)

    assert end(missed, WORKS, NOW + 1)[1] == []


def test_the_next_probe_waits_for_as_long_as_the_service_asked() -> None:
    circuit, _ = end(closed(), replace(GONE, asked_s=40.0))

    assert circuit.admits_at == NOW + 40


def test_a_failure_of_a_request_that_left_before_the_last_answer_says_nothing() -> None:
    circuit, _ = end(closed(), WORKS, NOW)
    after_gone, gone = end(circuit, GONE, NOW + 1, job_id=2, started_at=NOW - 1)
    after_failure, failed = end(circuit, FAILS, NOW + 1, job_id=2, started_at=NOW - 1)
    _, doubted = end(circuit, NO_QUOTA, NOW + 1, job_id=2, started_at=NOW - 1)

    assert gone == failed == doubted == []
    assert after_gone.breaker == after_failure.breaker == circuit.breaker


def test_a_single_refusal_is_doubted_and_reported_only_after_the_probe_is_refused_too() -> None:
    circuit, first = end(closed(), NO_QUOTA)
    asked = circuit.try_again(NOW + 1)
    asked, echo = end(asked, NO_QUOTA, NOW + 0.5, job_id=2, started_at=NOW - 1)
    again, second = probe(asked, NO_QUOTA, NOW + 1)
    _, third = probe(again.try_again(NOW + 2), NO_QUOTA, NOW + 2)

    assert (first, echo, second, third) == ([Change.DOUBTED], [], [Change.REFUSED], [])
    assert again.doubt is not None
    assert (again.doubt.refusals, again.doubt.needs, again.doubt.is_asking) == (2, 3, True)


def test_a_refusal_is_over_once_the_probe_is_answered() -> None:
    once, nothing = probe(refused(), WORKS, NOW)
    repeated, _ = probe(refused(), NO_QUOTA, NOW)
    twice, accepted = probe(repeated.try_again(NOW + 1), WORKS, NOW + 1)

    assert (once.doubt, nothing) == (None, [])
    assert (twice.doubt, accepted) == (None, [Change.ACCEPTED])


def test_an_answer_to_another_job_or_a_probe_that_says_nothing_keeps_the_doubt() -> None:
    circuit = refused()
    answered, _ = end(circuit, WORKS, job_id=2)
    inconclusive, changes = probe(circuit, NOTHING, NOW)

    assert answered.doubt == circuit.doubt
    assert inconclusive.admits(NOW) == 1
    assert changes == []


def test_a_key_is_accepted_once_the_probe_gets_past_it_whatever_else_happens() -> None:
    not_found = Feedback(signal=Signal.FAILS, fingerprint="404", is_refusal_over=True)
    key, _ = probe(refused(NO_KEY), not_found, NOW)
    quota, _ = probe(refused(NO_QUOTA), not_found, NOW)

    assert key.doubt is None
    assert quota.doubt is not None


def test_a_probe_that_is_refused_for_another_reason_begins_another_doubt() -> None:
    circuit, changes = probe(refused(NO_KEY), NO_QUOTA, NOW)

    assert changes == [Change.DOUBTED]
    assert circuit.doubt is not None
    assert (circuit.doubt.hold, circuit.doubt.refusals) == (Hold.QUOTA, 1)


def test_refusals_in_a_lane_that_sends_nothing_anyway_are_not_doubted() -> None:
    circuit, changes = end(closed(), NO_QUOTA, is_blocked=True)

    assert (circuit.doubt, changes) == (None, [])


def test_a_doubt_ends_once_it_is_confirmed_and_its_probe_can_be_hastened() -> None:
    circuit = end(closed(), NO_QUOTA)[0].try_again(NOW + 60)

    assert circuit.end_doubt() == replace(circuit, doubt=None)
    assert (circuit.admits(NOW), circuit.hasten(NOW).admits(NOW)) == (0, 1)
    assert closed().hasten(NOW) == closed().try_again(NOW) == closed()


def test_a_refused_rate_ends_an_outage_and_lets_the_next_probe_try() -> None:
    back, changes = probe(away(), FULL, away().admits_at)
    tried, nothing = probe(tripped(), FULL, tripped().admits_at)

    assert (back.breaker.state, changes) == (BreakerState.CLOSED, [Change.BACK])
    assert back.worked_at == away().admits_at
    assert (tried.admits(tripped().admits_at), nothing) == (1, [])


@pytest.mark.parametrize(
    "feedback", [NOTHING, replace(FULL, is_sent=False)], ids=["nothing", "unsent"]
)
@pytest.mark.parametrize("circuit", [tripped(), away()], ids=["errors", "outage"])
def test_a_probe_that_never_reached_the_service_is_followed_by_another(
    circuit: Circuit, feedback: Feedback
) -> None:
    probed, changes = probe(circuit, feedback, circuit.admits_at)

    assert probed.breaker == circuit.breaker
    assert changes == []


def test_a_probe_counts_although_another_job_was_answered_while_it_was_under_way() -> None:
    probing = refused().on_start(NOW, 1, 1, is_alone=False)
    answered, _ = end(probing, WORKS, NOW + 1, job_id=2)
    failed, _ = end(answered, FAILS, NOW + 2, started_at=NOW)

    assert failed.breaker.failures == 1


def test_a_job_that_misses_again_after_others_were_answered_is_to_blame() -> None:
    error = Disconnected("connection reset")
    circuit, _ = end(closed(), LOST, job_id=1)
    answered, _ = end(circuit, WORKS, NOW + 1, job_id=2)
    missed, _ = end(answered, LOST, NOW + 2, job_id=1)

    assert closed().blame(1, error) is Blame.UNKNOWN
    assert circuit.blame(1, error) is Blame.OUTAGE
    assert circuit.blame(1, JobError("HTTP 500")) is Blame.UNKNOWN
    assert answered.blame(1, error) is missed.blame(1, error) is Blame.JOB
    assert away().blame(2, error) is Blame.OUTAGE
    assert not end(answered, GONE, NOW + 2, job_id=3)[0].is_to_blame(1)


def test_a_job_is_no_suspect_once_it_has_ended() -> None:
    circuit, _ = end(end(closed(), LOST)[0], WORKS, NOW + 1)

    assert circuit.suspects == {}


def test_answers_are_counted_and_their_time_is_kept() -> None:
    replied = closed().on_reply(NOW)
    answered, _ = end(replied, FULL, NOW + 5)
    worked, _ = end(answered, WORKS, NOW + 6)

    assert (replied.answers, replied.answered_at) == (0, NOW)
    assert replied.on_reply(NOW + 1).answered_at == NOW
    assert (answered.answers, answered.answered_at, answered.worked_at) == (1, NOW + 5, -inf)
    assert (worked.answers, worked.answered_at, worked.worked_at) == (2, NOW + 6, NOW + 6)
    assert closed().on_earlier_answers().answered_at == 0.0

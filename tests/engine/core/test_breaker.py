from engine.core.breaker import APART_S, OBSERVATIONS, THRESHOLD, Breaker, BreakerState


def make_breaker(attempts: int = 3) -> Breaker:
    return Breaker(attempts=attempts, base_delay_s=1.0, max_delay_s=300.0)


def open_breaker(attempts: int = 3) -> Breaker:
    breaker = make_breaker(attempts)
    for _ in range(THRESHOLD):
        breaker = fail(breaker)
    return breaker


def fail(breaker: Breaker, fingerprint: str = "boom", now: float = 0.0) -> Breaker:
    """After a failure of a request that was started and failed at the same moment."""
    return breaker.on_failure(fingerprint, now, started=now)


def fail_probe(breaker: Breaker, now: float) -> Breaker:
    return breaker.on_start().on_failure("boom", now, started=now, is_probe=True)


def test_a_breaker_opens_after_so_many_failures_alike() -> None:
    breaker = make_breaker()

    for _ in range(THRESHOLD - 1):
        breaker = fail(breaker)
    assert breaker.admits(0.0) is None

    assert fail(breaker).admits(0.0) == 0


def test_another_error_or_a_success_in_between_resets_the_count() -> None:
    one_other, one_success = make_breaker(), make_breaker()

    for count in range(THRESHOLD * 2):
        one_other = fail(one_other, "boom" if count % 10 else "bang")
        one_success = fail(one_success)
        if count % 10 == 0:
            one_success = one_success.on_success()

    assert one_other.admits(0.0) is None
    assert one_success.admits(0.0) is None


def test_after_the_cooldown_one_probe_is_let_through() -> None:
    breaker = open_breaker()

    assert breaker.admits(breaker.open_until - 0.1) == 0
    assert breaker.admits(breaker.open_until) == 1
    assert breaker.on_start().admits(breaker.open_until) == 0


def test_a_probe_that_succeeds_closes_the_breaker() -> None:
    breaker = open_breaker().on_start().on_success()

    assert breaker == make_breaker()


def test_a_probe_that_says_nothing_is_repeated() -> None:
    breaker = open_breaker().on_start()

    assert breaker.on_inconclusive().admits(breaker.open_until) == 1


def test_cooldowns_double_from_the_shortest_delay_to_the_longest() -> None:
    breaker, cooldowns = open_breaker(attempts=6), []

    while breaker.state is not BreakerState.PARKED:
        now = breaker.open_until
        breaker = fail_probe(breaker, now)
        cooldowns.append(breaker.open_until - now)

    assert open_breaker().open_until == 1.0
    # The first six are shorter than an eighth of the longest: they use up none of the attempts.
    assert cooldowns == [2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 300.0, 300.0, 300.0, 0.0]


def test_a_lane_is_parked_after_its_probes_and_says_what_failed() -> None:
    breaker, probes = open_breaker(attempts=3), 0

    while breaker.state is not BreakerState.PARKED:
        breaker, probes = fail_probe(breaker, breaker.open_until), probes + 1

    assert probes == 6 + 3
    assert breaker.admits(1e12) == 0
    assert breaker.fingerprint == "boom"
    assert breaker.failures == THRESHOLD + probes


def test_the_failures_of_one_batch_are_one_observation_however_many() -> None:
    broken, lost = make_breaker(), make_breaker()

    for number in range(4 * THRESHOLD):
        at = 10.0 + number * APART_S / (4 * THRESHOLD)
        broken = broken.on_failure("boom", at, started=9.0)
        lost = lost.on_away("lost", at, started=9.0, surely=False, patience_s=DAY_S)

    assert broken.admits(11.0) is None
    assert lost.admits(11.0) is None


def test_requests_that_fail_at_several_moments_open_it_whenever_they_were_started() -> None:
    broken, lost = make_breaker(), make_breaker()

    for number in range(THRESHOLD):
        at = 10.0 + number * APART_S
        broken = broken.on_failure("boom", at, started=9.0)
        if number < OBSERVATIONS:
            lost = lost.on_away("lost", at, started=9.0, surely=False, patience_s=DAY_S)

    assert broken.state is BreakerState.OPEN
    assert lost.state is BreakerState.OPEN


def test_a_probe_is_sent_no_sooner_than_the_service_asked_for() -> None:
    breaker = make_breaker()

    for at in range(OBSERVATIONS):
        breaker = breaker.on_away(
            "away", at, started=at, surely=False, patience_s=DAY_S, asked_s=30.0
        )

    assert breaker.open_until == OBSERVATIONS - 1 + 30.0


def test_failures_that_were_in_flight_when_it_opened_are_no_probes() -> None:
    breaker = open_breaker()

    for _ in range(50):
        assert breaker.on_start().on_failure("boom", 1.0, started=0.0) == breaker.on_start()


def test_a_late_answer_reopens_even_a_parked_lane() -> None:
    breaker = open_breaker(attempts=1)
    while breaker.state is BreakerState.OPEN:
        breaker = fail_probe(breaker, breaker.open_until)

    assert breaker.state is BreakerState.PARKED
    assert breaker.on_success().admits(0.0) is None


def test_a_started_job_of_a_closed_breaker_is_no_probe() -> None:
    assert make_breaker().on_start() == make_breaker()


DAY_S = 24 * 3600.0


def away(now: float = 0.0, *, patience_s: float = DAY_S) -> Breaker:
    return make_breaker().on_away("away", now, started=now, surely=True, patience_s=patience_s)


def miss_probe(breaker: Breaker, at: float, *, patience_s: float = DAY_S) -> Breaker:
    return breaker.on_start().on_away(
        "away", at, started=at, surely=True, patience_s=patience_s, is_probe=True
    )


def test_a_service_that_surely_was_not_reached_opens_the_breaker_at_once() -> None:
    assert away(5.0).away_since == 5.0
    assert away(5.0).admits(5.0) == 0


def test_lost_connections_open_it_when_several_come_in_a_row() -> None:
    breaker = make_breaker()

    for count in range(OBSERVATIONS):
        assert breaker.admits(0.0) is None
        at = 10.0 + count
        breaker = breaker.on_away("lost", at, started=at, surely=False, patience_s=DAY_S)

    assert breaker.state is BreakerState.OPEN
    assert breaker.away_since == 10.0


def test_an_answer_between_lost_connections_resets_the_count() -> None:
    breaker = make_breaker()

    for at in range(10 * OBSERVATIONS):
        missed = breaker.on_away("lost", at, started=at, surely=False, patience_s=DAY_S)
        breaker = missed.on_success()

    assert breaker == make_breaker()


def test_an_outage_is_probed_at_distances_that_grow_to_a_minute() -> None:
    breaker, distances = away(), []

    for _ in range(10):
        now = breaker.open_until
        breaker = miss_probe(breaker, now)
        distances.append(breaker.open_until - now)

    assert distances == [2.0, 4.0, 8.0, 16.0, 32.0, 60.0, 60.0, 60.0, 60.0, 60.0]


def test_what_was_in_flight_when_the_service_went_is_no_probe() -> None:
    breaker = away().on_start()

    assert breaker.on_away("away", 9.0, started=0.0, surely=True, patience_s=DAY_S) == breaker


def test_a_lane_is_parked_when_its_service_was_away_for_as_long_as_it_is_waited_for() -> None:
    breaker, last = away(), 0.0

    while breaker.state is BreakerState.OPEN:
        last = breaker.open_until
        breaker = miss_probe(breaker, last)

    assert DAY_S <= last <= DAY_S + 60.0
    assert breaker.state is BreakerState.PARKED


def test_the_time_in_which_nothing_could_be_asked_is_not_waited_for() -> None:
    breaker = away(patience_s=3600.0)

    # As after a night in which the machine slept.
    breaker = miss_probe(breaker, breaker.open_until + 10 * 3600.0, patience_s=3600.0)

    assert breaker.state is BreakerState.OPEN


def test_a_refusal_or_another_failure_ends_an_outage() -> None:
    breaker = away().on_start()

    assert breaker.on_refusal(is_probe=True).admits(0.0) is None
    # A request that was never sent has reached no service.
    unsent = breaker.on_refusal(is_probe=True, sent=False)
    assert (unsent.away_since, unsent.probing) == (breaker.away_since, False)
    assert breaker.on_failure("HTTP 404", 0.0, started=0.0, is_probe=True).admits(0.0) is None

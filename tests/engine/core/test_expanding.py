"""How fast a matrix is written beside the jobs that are being sent."""

import pytest

from engine.core.expanding import AHEAD, rest_s


def test_while_every_slot_is_taken_and_enough_is_queued_a_tenth_of_the_time_is_used() -> None:
    assert rest_s(0.1, 0.0, ahead=AHEAD, is_full=True) == pytest.approx(0.9)
    assert rest_s(0.1, 0.5, ahead=AHEAD, is_full=True) == pytest.approx(0.4)
    assert rest_s(0.1, 1.0, ahead=AHEAD, is_full=True) == 0


def test_nothing_waits_while_a_slot_is_free_or_few_jobs_are_queued() -> None:
    assert rest_s(0.1, 0.0, ahead=10 * AHEAD, is_full=False) == 0
    assert rest_s(0.1, 0.0, ahead=AHEAD - 1, is_full=True) == 0


def test_a_batch_that_took_very_long_delays_the_next_one_by_seconds_only() -> None:
    assert rest_s(600.0, 0.0, ahead=AHEAD, is_full=True) == pytest.approx(9.0)

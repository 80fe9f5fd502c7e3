"""The machine's clock."""

import time

import anyio
import pytest

from engine.clock import SystemClock


def test_a_running_clock_does_not_follow_the_machines_when_that_is_set(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    clock = SystemClock()
    before = clock.now()

    monkeypatch.setattr(time, "time", lambda: before - 7200.0)

    assert before <= clock.now() < before + 60.0


async def test_a_wait_ends_with_its_event_or_at_its_time() -> None:
    clock = SystemClock()
    event = anyio.Event()

    too_late = await clock.wait(event, clock.now() - 1.0)
    event.set()
    in_time = await clock.wait(event, clock.now() + 3600.0)

    assert (too_late, in_time) == (False, True)

"""Fixtures for tests of the whole engine."""

import time
from collections.abc import Callable, Iterator

import pytest

from engine.testing import FakeClock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """A clock for simulated hours; commits are then not paced, which takes real time."""
    monkeypatch.setattr("engine.store.writer.COMMIT_INTERVAL_S", 0.0002)
    return FakeClock()


@pytest.fixture
def live_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Sets the machine's zone until the end of the test."""

    def set_zone(name: str) -> None:
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield set_zone
    monkeypatch.undo()
    time.tzset()

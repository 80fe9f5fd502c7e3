"""Fixtures for tests of the whole engine."""

import time
from collections.abc import Callable, Iterator

import pytest

from engine.testing import FakeClock


@pytest.fixture
def clock() -> FakeClock:
    """A clock for simulated hours."""
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

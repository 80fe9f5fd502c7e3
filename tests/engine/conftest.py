"""Fixtures for tests of the whole engine."""

import pytest

from engine.testing import FakeClock


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> FakeClock:
    """A clock for simulated hours; commits are then not paced, which takes real time."""
    monkeypatch.setattr("engine.store.writer.COMMIT_INTERVAL_S", 0.0002)
    return FakeClock()

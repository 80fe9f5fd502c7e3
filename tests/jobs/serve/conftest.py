"""The service for every test of it."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.jobs.serve.running import Running
from tests.jobs.serve.running import service as running_service


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Running]:
    """A service of the test's own: base_url, key, config, and `models`, which keeps what it was asked."""
    with running_service(tmp_path) as started:
        yield started


@pytest.fixture(scope="module")
def shared_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One service for all tests of a module that leave nothing behind in it."""
    with running_service(tmp_path_factory.mktemp("service")) as started:
        yield started

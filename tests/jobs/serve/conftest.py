"""A service for each test, and one for a module."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.jobs.serve.running import Running
from tests.jobs.serve.running import service as running_service


@pytest.fixture
def service(tmp_path: Path) -> Iterator[Running]:
    """A service for one test; `models` records the requests to its models."""
    with running_service(tmp_path) as started:
        yield started


@pytest.fixture(scope="module")
def shared_service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """A service for all tests of a module that do not depend on each other's evaluations."""
    with running_service(tmp_path_factory.mktemp("service")) as started:
        yield started

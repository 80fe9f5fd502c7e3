from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.engine.store.databases import Scratch, SQLiteScratch


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def scratch(tmp_path: Path) -> Iterator[Scratch]:
    """The file that is at `path`, whose kept counts must equal a recount at the end of each test."""
    scratch = SQLiteScratch(tmp_path)
    yield scratch
    assert scratch.find_wrong_counts() == []

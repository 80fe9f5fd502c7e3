from pathlib import Path

import pytest

from tests.engine.store.databases import Scratch, SQLiteScratch


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "store.db"


@pytest.fixture
def scratch(tmp_path: Path) -> Scratch:
    """The file that is at `path`."""
    return SQLiteScratch(tmp_path)

"""What tests of jobs share."""

from pathlib import Path

import pytest

from jobs.chat import model_file


@pytest.fixture(scope="session")
def built_in_model() -> Path:
    """The built-in model, fetched as a user would fetch it. Without it tests fail; none is skipped."""
    return model_file.download()

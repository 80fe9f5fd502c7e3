"""Which jobs a filter wants."""

import pytest

from engine.core.inspection import JobFilter
from tests.engine.report.samples import job_info


@pytest.mark.parametrize(
    ("label", "pattern", "is_wanted"),
    [
        (True, "true", True),
        (False, "False", True),
        (True, "false", False),
        (True, "1", False),
        (False, "0", False),
        (1, "1.0", True),
        (1, "true", False),
        ("anthropic/a", "anthropic/*", True),
        (None, "", True),
        ("Qwen/Qwen3-Max", "qwen/*", True),
        ("qwen/qwen3", "QWEN/QWEN?", True),
        ("a[1]", "a[1]", True),
        ("a1", "a[1]", False),
    ],
)
def test_a_label_is_compared_as_it_is_shown(label: object, pattern: str, is_wanted: bool) -> None:
    job = job_info(labels={"flag": label})

    assert JobFilter(where={"flag": pattern}).wants(job) is is_wanted

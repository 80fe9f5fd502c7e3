"""Single jobs in words and as JSON."""

from typing import Any

import pytest

from engine.core.inspection import JobDetails
from engine.report.jobs import detail_lines, details_document
from tests.engine.report.samples import job_info


def details(answer: bytes) -> JobDetails:
    return JobDetails(
        run="night",
        job=job_info(),
        documents={},
        attempts=(),
        result=None,
        answer=answer,
        is_in_side_file=False,
        unread=(),
    )


def answer_lines(answer: bytes) -> list[str]:
    lines = list(detail_lines(details(answer)))
    return lines[lines.index(f"answer, {len(answer):,} bytes") + 1 :]


@pytest.mark.parametrize(
    ("answer", "lines"),
    [
        (b'{"a": [1, {"b": true}]}', ["  a:", "    - 1", "    -", "      b: true"]),
        (b"not JSON\nat all", ["  not JSON", "  at all"]),
        (b"[]", ["  []"]),
    ],
)
def test_an_answer_is_shown_as_a_tree_where_it_is_json(answer: bytes, lines: list[str]) -> None:
    assert answer_lines(answer) == lines


@pytest.mark.parametrize("depth", [201, 600, 100_000])
def test_an_answer_that_is_nested_too_deeply_is_shown_as_text(depth: int) -> None:
    answer: bytes = b"[" * depth + b"]" * depth

    document: dict[str, Any] = details_document(details(answer))

    assert answer_lines(answer) == [f"  {answer.decode()}"]
    assert document["answer"] == answer.decode()

"""Single jobs in words and as JSON."""

from dataclasses import replace
from typing import Any

import pytest

from engine.core.inspection import JobDetails, JobResult
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


def test_the_values_of_a_result_are_shown() -> None:
    result = JobResult(
        passed=3,
        failed=1,
        tests=4,
        unanswered={},
        values={"median_s": 1.25, "language": "en\x1b[2J", "is_complete": True},
        note="a note",
        recorded_at=0.0,
        reused_from=None,
    )

    lines = list(detail_lines(replace(details(b"{}"), result=result)))

    first = next(number for number, line in enumerate(lines) if line.startswith("result of "))
    assert lines[first].endswith(": 3 passed, 1 failed")
    assert lines[first + 1 : first + 6] == [
        "  a note",
        "  values:",
        "    median_s: 1.25",
        "    language: en",
        "    is_complete: true",
    ]


@pytest.mark.parametrize("depth", [201, 600, 100_000])
def test_an_answer_that_is_nested_too_deeply_is_shown_as_text(depth: int) -> None:
    answer: bytes = b"[" * depth + b"]" * depth

    document: dict[str, Any] = details_document(details(answer))

    assert answer_lines(answer) == [f"  {answer.decode()}"]
    assert document["answer"] == answer.decode()

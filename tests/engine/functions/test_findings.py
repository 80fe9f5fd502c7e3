"""What failed in a sweep over a function: calls whose Measurement counts one test."""

from pathlib import Path
from typing import Any

import pytest

from engine import Measurement, Sweep, job
from engine.functions.kind import FunctionJobKind
from engine.functions.service import FunctionService
from tests.engine.functions.scenes import run


@job
def shout(text: str) -> Measurement:
    """Fails where the text is not loud; all that is returned is shown."""
    is_loud = text.isupper()
    said: dict[str, Any] = {"reply": text, "words": len(text.split()), "unknown": None}
    return Measurement(passed=int(is_loud), failed=int(not is_loud), values=said)


@job
def vote(votes: list[bool]) -> Measurement:
    return Measurement(passed=votes.count(True), failed=votes.count(False))


def kind_of(service: FunctionService) -> FunctionJobKind:
    [kind] = service.kinds()
    assert isinstance(kind, FunctionJobKind)
    return kind


@pytest.mark.parametrize("processes", [None, 1])
def test_a_call_that_failed_is_a_finding_of_its_case_with_what_was_returned(
    processes: int | None, tmp_path: Path
) -> None:
    cases = [{"id": "loud", "text": "HEY YOU"}, {"id": "quiet", "text": "hey you"}]
    sweep = Sweep("shouting", job(processes=processes)(shout.function), cases=cases)

    done = run(sweep, tmp_path)

    [found] = done.findings()
    assert (found.case, found.labels["case"], found.failed) == ("quiet", "quiet", True)
    assert found.values == {"reply": "hey you", "words": 2}
    assert (found.messages, found.thresholds, found.score) == ((), (), None)


def test_arguments_of_the_matrix_are_no_cases(tmp_path: Path) -> None:
    done = run(Sweep("shouting", shout, matrix={"text": ["hey"]}), tmp_path)

    [found] = done.findings()
    assert found.case is None
    assert found.labels["text"] == "hey"


def test_of_several_tests_in_one_call_none_is_listed(tmp_path: Path) -> None:
    votes = [[False], [False, False], [True, False], []]

    done = run(Sweep("votes", vote, cases=[{"votes": one} for one in votes]), tmp_path)

    assert [row.failed for row in done.rows()] == [1, 2, 1, 0]
    assert [found.case for found in done.findings()] == ["1"]


@pytest.mark.parametrize("raw", [b"", b"[]", b"null", b"\xff", b'{"value": 1}', b'{"failed": []}'])
def test_an_answer_that_counts_no_test_lists_none(raw: bytes) -> None:
    kind = kind_of(FunctionService(shout))

    assert list(kind.tests(raw, {"case": "a"})) == []


def test_a_call_that_passed_is_a_test_that_did_not_fail() -> None:
    kind = kind_of(FunctionService(shout))

    [test] = kind.tests(b'{"passed": 1, "failed": 0, "tags": ["a"]}', {"case": 7})

    assert (test.failed, test.case, test.values) == (False, "7", {"tags": '["a"]'})

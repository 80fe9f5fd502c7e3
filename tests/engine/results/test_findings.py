"""From answers to findings: which tests of an answer failed, and at which thresholds of the sweep."""

import json
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import fields
from typing import Any

import pytest

from engine.core.axes import Scalar
from engine.core.canonical import digest
from engine.core.findings import Finding, JudgedTest, Message
from engine.results.findings import findings
from engine.store import JobRow
from engine.testing import ScriptedKind
from tests.engine.results.test_rows import job

READ: dict[str, Any] = {
    "failed": True,
    "case": "case-1",
    "number": 4,
    "parent": 3,
    "layer": 1,
    "score": 0.2,
    "messages": (Message(role="user", content="Hello?"), Message(role="assistant", content="No.")),
    "evidence": {"red_flags": [{"name": "bare_refusal"}]},
    "values": {"mutator": "typos"},
}
"""All that a kind can read of a test."""


class ListingKind(ScriptedKind):
    """Reads the scores that are the whole answer; keeps the labels with which it was called.

    A test without a score has failed.
    """

    def __init__(self) -> None:
        self.labels: list[Mapping[str, Any]] = []

    def tests(self, raw: bytes, labels: Mapping[str, Any]) -> Iterator[JudgedTest]:
        self.labels.append(labels)
        threshold = labels.get("threshold", 0.5)
        return (
            JudgedTest(number=n, score=score, failed=score is None or score < threshold)
            for n, score in enumerate(json.loads(raw))
        )


async def findings_of(
    *jobs: JobRow,
    kind: ListingKind | None = None,
    raw: bytes = b"[0.2]",
    names: Mapping[str, Mapping[str, Scalar]] | None = None,
    past: bool = False,
) -> list[Finding]:
    async def answers() -> AsyncIterator[tuple[JobRow, bytes]]:
        for one in jobs:
            yield one, raw

    found = findings(answers(), kind or ListingKind(), run="night", names=names or {}, past=past)
    return [finding async for finding in found]


async def thresholds_of(*jobs: JobRow, **more: Any) -> list[tuple[float, ...]]:
    return [finding.thresholds for finding in await findings_of(*jobs, **more)]


async def test_a_test_fails_at_every_threshold_above_its_score() -> None:
    one = job(cells=(0.9, 0.3, 0.5), threshold=0.9)

    found = await thresholds_of(one, raw=b"[0.2, 0.3, 0.49, 0.5, 0.8]")

    assert found == [(0.3, 0.5, 0.9), (0.5, 0.9), (0.5, 0.9), (0.9,), (0.9,)]


async def test_a_test_that_fails_at_no_threshold_of_the_sweep_is_no_finding() -> None:
    # The sweep no longer asks for 0.9, at which the answer was sent.
    one = job(cells=(0.3,), past_cells=(0.9,), threshold=0.9)

    assert await thresholds_of(one, raw=b"[0.2, 0.3, 0.8]") == [(0.3,)]


async def test_a_test_without_a_score_fails_at_the_threshold_that_was_sent_alone() -> None:
    asked = job(cells=(0.3, 0.5), threshold=0.5)
    lower = job(cells=(0.3,), threshold=0.5)

    assert await thresholds_of(asked, raw=b"[null]") == [(0.5,)]
    assert await thresholds_of(lower, raw=b"[null]") == []


@pytest.mark.parametrize("threshold", [0.5, None])
async def test_what_passed_is_no_finding(threshold: float | None) -> None:
    class Kind(ListingKind):
        def tests(self, raw: bytes, labels: Mapping[str, Any]) -> Iterator[JudgedTest]:
            yield JudgedTest(failed=False)
            yield JudgedTest(failed=True, number=2)
            yield JudgedTest(failed=False, score=0.9)

    found = await findings_of(job(threshold=threshold, cells=(0.5,)), kind=Kind())

    assert [finding.number for finding in found] == [2]


async def test_an_evaluation_without_thresholds_gives_findings_without_thresholds() -> None:
    labels = {"model": "a", "repeat": 1}
    one = job(labels=labels, threshold=None, cells=())

    [found] = await findings_of(one)

    assert (found.labels, found.thresholds, found.score) == (labels, (), 0.2)


async def test_a_finding_has_what_the_kind_read_and_says_where_it_is_from() -> None:
    class Kind(ListingKind):
        def tests(self, raw: bytes, labels: Mapping[str, Any]) -> Iterator[JudgedTest]:
            yield JudgedTest(**READ)

    [found] = await findings_of(job(id=7, cells=(0.5,)), kind=Kind())

    assert set(READ) == {field.name for field in fields(JudgedTest)}
    assert found == Finding(
        run="night", job=7, labels={"model": "a", "repeat": 1}, thresholds=(0.5,), **READ
    )


async def test_the_kind_is_called_with_the_threshold_that_was_sent() -> None:
    kind = ListingKind()

    await findings_of(job(cells=(0.3,), threshold=0.9), kind=kind)

    assert kind.labels == [{"model": "a", "threshold": 0.9, "repeat": 1}]


async def test_labels_have_the_names_that_prompts_have_now() -> None:
    content = digest("Be kind.")
    one = job(
        labels={"prompt": "old", "threshold": 0.5, "repeat": 1}, documents={"prompt": content}
    )

    [found] = await findings_of(one, names={"prompt": {content: "new"}})

    assert found.labels == {"prompt": "new", "repeat": 1}


async def test_findings_are_in_the_order_of_the_answers_and_of_the_tests_in_them() -> None:
    found = await findings_of(job(id=2), job(id=1), raw=b"[0.4, 0.1]")

    assert [(one.job, one.number) for one in found] == [(2, 0), (2, 1), (1, 0), (1, 1)]


async def test_what_only_an_earlier_sweep_asked_for_is_found_on_request() -> None:
    partly = job(cells=(0.3,), past_cells=(0.9,), threshold=0.9)
    gone = job(cells=(), past_cells=(0.3, 0.9), threshold=0.9, is_asked=False)

    assert await thresholds_of(partly, gone, raw=b"[0.2]") == [(0.3,)]
    assert await thresholds_of(partly, gone, raw=b"[0.2]", past=True) == [(0.3, 0.9)] * 2


@pytest.mark.parametrize("threshold", [0.5, None])
async def test_an_outdated_answer_gives_no_findings_but_in_past_cells(
    threshold: float | None,
) -> None:
    outdated = job(outdated=True, threshold=threshold)
    unknown = job(outdated=True, threshold=threshold, is_asked=None)
    gone = job(outdated=True, threshold=threshold, is_asked=False, cells=(), past_cells=(0.5,))

    assert await findings_of(outdated, unknown) == []
    assert len(await findings_of(outdated, gone, past=True)) == 1


async def test_answers_are_read_one_after_the_other() -> None:
    handed_out = 0

    async def answers() -> AsyncIterator[tuple[JobRow, bytes]]:
        nonlocal handed_out
        while True:
            handed_out += 1
            yield job(), b"[0.1, 0.2]"

    found = findings(answers(), ListingKind(), run="night", names={})

    assert [(await anext(found)).number for _ in range(3)] == [0, 1, 0]
    assert handed_out == 2

"""Findings in pages of a file: the worst ones, whole, within a budget."""

import gzip
import json
from base64 import b64decode
from random import Random
from typing import Any

from engine.report.html.packing import PackedFindings, pack
from tests.engine.report.reports import GROUPS, HOSTILE, MODELS, finding

AXES = ["model", "group"]


def opened(content: str) -> Any:
    return json.loads(gzip.decompress(b64decode(content)))


def size_of(packed: PackedFindings) -> int:
    return len(packed.index) + sum(map(len, packed.pages))


def noise(random: Random, length: int) -> str:
    return "".join(random.choices("abcdefghijklmnopqrstuvwxyz ", k=length))


def test_each_finding_is_in_the_index_and_whole_in_its_page() -> None:
    listed = [finding(0, HOSTILE), finding(1), finding(2, "x", score=None, evidence=None)]

    packed = pack(listed, AXES)
    index, [page] = opened(packed.index), map(opened, packed.pages)

    assert packed.count == 3
    assert index["score"] == [0.0, 0.001, None]
    assert index["page"] == [0, 0, 0]
    assert [index["labels"]["model"][one] for one in index["columns"]["model"]] == list(MODELS)
    assert [index["labels"]["group"][one] for one in index["columns"]["group"]] == list(GROUPS[:3])
    assert index["thresholds"][index["threshold"][1]] == [0.5, 0.7]
    assert page[0]["messages"] == [["user", "Question 0"], ["assistant", HOSTILE]]
    assert page[1]["evidence"] == {
        "red_flags": [{"name": "bare_refusal", "weight": 0.3}],
        "reason": "cold",
    }
    assert page[2]["evidence"] is None


def test_findings_are_left_out_from_the_end_once_the_budget_is_used_up() -> None:
    random = Random(1)
    listed = [finding(number, noise(random, 20_000)) for number in range(60)]

    packed = pack(listed, AXES, budget=500_000)

    assert 400_000 < size_of(packed) < 500_000
    index = opened(packed.index)
    assert index["job"] == list(range(1, packed.count + 1))
    assert packed.count < 60


def test_a_text_that_is_too_large_hides_no_other() -> None:
    huge = noise(Random(1), 1_000_000)

    packed = pack([finding(0, huge), finding(1), finding(2)], AXES, budget=100_000)

    assert opened(packed.index)["job"] == [2, 3]


def test_findings_stand_in_the_order_of_the_pages() -> None:
    random = Random(1)

    packed = pack([finding(number, noise(random, 60_000)) for number in range(7)], AXES)

    index = opened(packed.index)
    assert index["page"] == sorted(index["page"])
    assert [len(opened(page)) for page in packed.pages] == [
        index["page"].count(number) for number in range(len(packed.pages))
    ]


def test_without_findings_there_is_an_empty_index() -> None:
    packed = pack([], AXES)

    assert (packed.count, packed.pages) == (0, ())
    assert opened(packed.index)["score"] == []

"""What a function returns: fields as typed columns, and a clear error for what cannot be kept."""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import date
from enum import Enum, IntEnum, StrEnum
from math import inf, nan
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from pydantic import BaseModel

from engine import ListedTest, Listing, Measurement, Sweep, job
from engine.core.values import MAX_BYTES
from tests.engine.functions.scenes import rows, run


class Tone(StrEnum):
    CALM = "calm"


class Level(IntEnum):
    HIGH = 2


class Colour(Enum):
    RED = "red"


@dataclass
class Point:
    x: Any
    inner: Any


class Score(BaseModel):
    score: float
    tags: list[str]


class WithoutRepr:
    def __repr__(self) -> str:
        raise RuntimeError("no repr")


def _endless() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


RETURNED: dict[str, tuple[Any, dict[str, Any]]] = {
    "number": (1, {"value": 1}),
    "share": (0.5, {"value": 0.5}),
    "text": ("a\nb \x00 ü", {"value": "a\nb \x00 ü"}),
    "boolean": (True, {"value": True}),
    "none": (None, {}),
    "mapping": ({"a": 1, "b": "x", "c": None}, {"a": 1, "b": "x"}),
    "list": ([1, "ü"], {"value": '[1, "ü"]'}),
    "nested": ({"a": {"b": [1, {"c": None}]}}, {"a": '{"b": [1, {"c": null}]}'}),
    "nan": ({"a": nan, "b": inf, "c": -inf, "d": 1.0}, {"d": 1.0}),
    "nested nan": ({"a": [nan, 1.0]}, {"a": "[null, 1.0]"}),
    "dataclass": (Point(1, Point(2, None)), {"x": 1, "inner": '{"x": 2, "inner": null}'}),
    "model": (Score(score=0.5, tags=["a"]), {"score": 0.5, "tags": '["a"]'}),
    "text member": (Tone.CALM, {"value": "calm"}),
    "number member": (Level.HIGH, {"value": 2}),
    "member": (Colour.RED, {"value": "red"}),
    "date": (date(2026, 11, 30), {"value": "2026-11-30"}),
    "numpy number": (np.int64(3), {"value": 3}),
    "numpy share": (np.float32(0.5), {"value": 0.5}),
    "numpy nan": (np.float64(nan), {}),
    "numpy boolean": (np.bool_(True), {"value": True}),
    "numpy array": (np.array([1, 2]), {"value": "[1, 2]"}),
    "numpy inside": ({"a": [np.int64(1), {"b": np.float32(2)}]}, {"a": '[1, {"b": 2.0}]'}),
    "numpy in a dataclass": (Point(np.int64(1), [np.int64(2)]), {"x": 1, "inner": "[2]"}),
    "measurement": (Measurement(passed=1, failed=2, values={"a": 0.5}), {"a": 0.5}),
    "largest": (2**63 - 1, {"value": 2**63 - 1}),
}

REFUSED: dict[str, tuple[Any, str, str]] = {
    "object": (object(), "value is no JSON value: object cannot be kept", "<object object at"),
    "field": ({"good": 1, "bad": object()}, "bad is no JSON value: object cannot be kept", "'good': 1"),
    "inside": ({"bad": [{"x": {1: object()}}]}, "bad is no JSON value: object cannot be kept", "'x'"),
    "frame": ({"bad": pd.DataFrame({"q": [1]})}, "bad is no JSON value: pandas.", "q"),
    "function": (print, "value is no JSON value: builtin_function_or_method cannot be kept", "print"),
    "bytes": ({"bad": b"\xff"}, "bad is no JSON value: 'utf-8' codec can't decode", "xff"),
    "endless": ({"bad": _endless()}, "bad is nested too deeply, or holds itself", "[...]"),
    "without repr": ({"bad": WithoutRepr()}, "bad is no JSON value", "<dict, whose repr raises RuntimeError>"),
    "large": ("x" * (MAX_BYTES + 1), "the values take 262,", "xxx"),
    "integer": ({"bad": 2**70}, "'bad' is an integer of more than 64 bits", str(2**70)),
    "name": ({"not a name": 1}, "the value's name 'not a name' is not an identifier", "not a name"),
    "number as name": ({1: 2}, "the value's name '1' is not an identifier", "{1: 2}"),
    "argument": ({"which": 1}, "the value 'which' has the name of another column", "which"),
    "version": ({"version": 1}, "the value 'version' has the name of another column", "version"),
    "state": ({"State": 1}, "the value 'State' has the name of another column", "State"),
    "repeat": ({"repeat": 1}, "the value 'repeat' has the name of another column", "repeat"),
    "in measurement": (
        Measurement(passed=1, failed=0, values={"bad": object()}),  # type: ignore[dict-item]
        "bad is no JSON value",
        "bad",
    ),
}  # fmt: skip


@job
def returning(which: str) -> Any:
    """One of the values above."""
    return RETURNED[which][0] if which in RETURNED else REFUSED[which][0]


@job
async def returning_async(which: str) -> Any:
    """The same in the event loop."""
    return returning(which)


@pytest.mark.parametrize("function", [returning, returning_async], ids=["thread", "loop"])
def test_fields_become_typed_columns(function: Callable[..., Any], tmp_path: Path) -> None:
    found = rows(Sweep("returning", function, matrix={"which": list(RETURNED)}), tmp_path)

    assert {row.labels["which"]: row.error for row in found} == dict.fromkeys(RETURNED)
    for row in found:
        wanted = RETURNED[row.labels["which"]][1]
        assert row.values == wanted
        assert {name: type(one) for name, one in row.values.items()} == {
            name: type(one) for name, one in wanted.items()
        }


@pytest.mark.parametrize("function", [returning, returning_async], ids=["thread", "loop"])
def test_what_cannot_be_kept_fails_its_job_with_the_fields_name_and_is_shown(
    function: Callable[..., Any], tmp_path: Path
) -> None:
    done = run(Sweep("returning", function, matrix={"which": list(REFUSED)}), tmp_path)

    assert done.status().cells_failed == len(REFUSED)
    jobs = list(done.jobs())
    for row, found in zip(done.rows(), jobs, strict=True):
        _, message, shown = REFUSED[row.labels["which"]]
        assert row.error is not None
        assert message in row.error
        assert found.labels["which"] == row.labels["which"]
        [unread] = done.job(found.id).unread
        assert shown in unread.raw.decode()


def test_a_measurement_adds_statistics(tmp_path: Path) -> None:
    def measured() -> Measurement:
        return Measurement(passed=1, failed=3, values={"score": 0.25})

    [row] = rows(Sweep("measured", measured), tmp_path)

    assert (row.passed, row.failed, row.total, row.failure_rate) == (1, 3, 4, 0.75)
    assert row.values == {"score": 0.25}


def list_tests() -> Measurement:
    listing = Listing.of([ListedTest("one", 0, 0.1), ListedTest("other", 0, 0.9)])
    return Measurement(passed=1, failed=1, listing=listing)


@pytest.mark.parametrize("processes", [None, 1])
def test_the_tests_that_a_function_lists_are_counted_by_case(
    processes: int | None, tmp_path: Path
) -> None:
    [row] = rows(Sweep("listed", job(processes=processes)(list_tests)), tmp_path)

    assert (row.cases, row.first_failed, row.cases_failed, row.interval) == (2, 1, 1, "Wilson")


def test_rows_of_values_have_no_statistics(tmp_path: Path) -> None:
    def plain() -> int:
        return 1

    [row] = rows(Sweep("plain", plain), tmp_path)

    assert row.failure_rate is None
    assert not row.total


def test_long_texts_are_whole_in_rows(tmp_path: Path) -> None:
    text = "a line\nand another ü\n" * 5_000

    def long() -> str:
        return text

    [row] = rows(Sweep("long", long), tmp_path)

    assert row.values == {"value": text}


def test_columns_of_different_types_have_the_type_that_both_fit(tmp_path: Path) -> None:
    def mixed(which: int) -> Any:
        return [1, 2.5, "x"][which]

    numbers = run(Sweep("numbers", mixed, matrix={"which": [0, 1]}), tmp_path)
    texts = run(Sweep("texts", mixed, matrix={"which": [0, 2]}), tmp_path)

    assert numbers.value_columns() == {"value": float}
    assert texts.value_columns() == {"value": str}


def test_a_field_may_have_the_name_case_unless_there_are_cases(tmp_path: Path) -> None:
    def show(n: int) -> dict[str, int]:
        return {"case": n}

    [alone] = rows(Sweep("alone", show, matrix={"n": [1]}), tmp_path)
    [beside] = rows(Sweep("beside", show, cases=[{"n": 1}]), tmp_path)

    assert alone.values == {"case": 1}
    assert "the value 'case' has the name of another column" in str(beside.error)


def test_a_field_may_not_have_the_name_of_a_cases_argument(tmp_path: Path) -> None:
    def show(n: int) -> dict[str, int]:
        return {"n": n}

    [row] = rows(Sweep("show", show, cases=[{"n": 1}]), tmp_path)

    assert "the value 'n' has the name of another column" in str(row.error)

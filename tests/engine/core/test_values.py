"""Values that a job kind gives a result beside its counts."""

import math
from typing import Any

import pytest

from engine.core.rows import Row
from engine.core.values import MAX_BYTES, Value, ValueType, as_type, check_values, column_type

TAKEN = Row.column_names(["model", "prompt"])


def test_numbers_texts_and_booleans_are_kept_as_they_are() -> None:
    values = {"tone": "warm", "turns": 3, "cost_usd": 0.25, "refused": False, "_x1": ""}

    assert check_values(values, TAKEN) == values


def test_a_value_may_have_the_name_of_a_field_that_is_no_column() -> None:
    values = {"values": 3, "labels": "two", "digests": 1.5, "outdated": True}

    assert check_values(values, TAKEN) == values


@pytest.mark.parametrize("value", [None, math.nan, math.inf, -math.inf])
def test_what_is_not_known_is_left_out(value: float | None) -> None:
    assert check_values({"tone": "warm", "cost_usd": value}, TAKEN) == {"tone": "warm"}


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"two words": 1}, "'two words' is not an identifier"),
        ({"": 1}, "'' is not an identifier"),
        ({"1st": 1}, "'1st' is not an identifier"),
        ({"größe": 1}, "is not an identifier"),
        ({"=x": 1}, "is not an identifier"),
        ({"name\n": 1}, "is not an identifier"),
        ({7: 1}, "the value's name 7 is not"),
        ({"model": "a"}, "'model' has the name of another column"),
        ({"prompt_digest": "a"}, "'prompt_digest' has the name"),
        ({"Repeat": 1}, "'Repeat' has the name"),
        ({"failure_rate": 0.5}, "'failure_rate' has the name"),
        ({"first_rate": None}, "'first_rate' has the name"),
        ({"parts": [1]}, "'parts' is a list: give an int, float, str, bool or None"),
        ({"huge": 2**63}, "'huge' is an integer of more than 64 bits"),
        ({"text": "x" * MAX_BYTES}, r"take 262,\d+ bytes as JSON, more than 262,144"),
    ],
)
def test_a_value_that_no_column_can_hold_is_refused_by_name(
    values: dict[Any, Any], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        check_values(values, TAKEN)


@pytest.mark.parametrize(
    ("kinds", "column"),
    [
        ({int}, int),
        ({bool}, bool),
        ({int, float}, float),
        ({int, bool}, str),
        ({float, str}, str),
    ],
)
def test_a_column_has_the_one_type_of_its_values_or_is_text(
    kinds: set[ValueType], column: ValueType
) -> None:
    assert column_type(kinds) is column


@pytest.mark.parametrize(
    ("value", "kind", "expected"),
    [
        (3, float, 3.0),
        (3, int, 3),
        (True, bool, True),
        ("warm", str, "warm"),
        (True, str, "true"),
        (0.5, str, "0.5"),
        (None, str, None),
        # What came after the columns were looked up.
        (True, int, None),
        (0.5, int, None),
        ("warm", float, None),
    ],
)
def test_a_value_is_converted_to_the_type_of_its_column(
    value: Value | None, kind: ValueType, expected: Value | None
) -> None:
    found = as_type(value, kind)

    assert (found, type(found)) == (expected, type(expected))

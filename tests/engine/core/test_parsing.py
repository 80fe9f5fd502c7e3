"""JSON of the store, parsed as Python's own parser does."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.parsing import parse_json

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


@given(VALUES)
def test_a_value_is_read_as_it_was_written(value: object) -> None:
    assert parse_json(json.dumps(value)) == value


@pytest.mark.parametrize("text", ['"\\ud800"', '{"a": 1, "a": 2}', " [1] ", "1e999", "-0.0"])
def test_what_pythons_parser_accepts_is_accepted(text: str) -> None:
    assert repr(parse_json(text)) == repr(json.loads(text))


@pytest.mark.parametrize("text", ["", "[1", "nul", "01", "{'a': 1}"])
def test_what_is_no_json_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="char"):
        parse_json(text)

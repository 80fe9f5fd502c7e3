"""The JSON object is found in whatever a judge or an attacker wrote around it."""

from typing import Any

import pytest

from jobs.chat.objects import find_object

WANTED = {"items": [{"name": "a", "quote": "so {it} is"}]}
SPELT = '{"items": [{"name": "a", "quote": "so {it} is"}]}'


@pytest.mark.parametrize(
    "text",
    [
        SPELT,
        f"```json\n{SPELT}\n```",
        f"Here is my answer:\n{SPELT}\nI hope that this helps {{you}}!",
        f'The form is {{"items": [...]}}. Now:\n{SPELT}',
        f'First try: {{"items": []}}\nBetter: {SPELT}',
        f'{SPELT}\n{{"confidence": NaN}}',
        f'{{"note": "before"}} {SPELT} {{"note": "after"}}',
    ],
)
def test_notes_fences_and_trials_do_not_hide_the_object(text: str) -> None:
    assert find_object(text, "items") == WANTED


def test_control_characters_in_strings_are_read() -> None:
    assert find_object('{"message": "two\nlines\tand a tab"}', "message") == {
        "message": "two\nlines\tand a tab"
    }


def test_without_the_fields_it_is_the_last_object() -> None:
    assert find_object('{"a": 1} {"b": 2}', "items") == {"b": 2}


@pytest.mark.parametrize(
    "text", ["", "no", "[1]", "{", '{"items": [', "{" * 100_000, '{"a":' * 50_000]
)
def test_where_there_is_none_there_is_none(text: str) -> None:
    found: Any = find_object(text, "items")

    assert found is None

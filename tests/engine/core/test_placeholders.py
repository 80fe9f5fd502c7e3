"""Placeholders of templates are found, reported with their place, and filled."""

import pytest

from engine.core.placeholders import describe, fill, placeholders_in


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("You help {{user_name}} with {{ topic }}. ${TONE}", ["user_name", "topic", "TONE"]),
        ("{{{raw}}} {{#each items}} {{> part}} {{name | upper}}", ["raw", "each items", "part", "name | upper"]),
        ("${{ secrets.X }} {{1}} ${ x }", ["secrets.X", "1", "x"]),
        ("{{benutzer_größe}} {{\n  name }}", ["benutzer_größe", "name"]),
        ('{x} {"a": {"b": {"c": 1}}} f(x){return {}} {{}} {{ }} ${} $x $(x) {% if %}', []),
        ("a set {{1, 2}, {3}} and { {x} }", []),
    ],
)  # fmt: skip
def test_double_braces_and_dollar_braces_are_placeholders(text: str, names: list[str]) -> None:
    assert [found.name for found in placeholders_in(text)] == names


def test_a_placeholder_is_named_with_its_line_and_the_number_of_others() -> None:
    found = placeholders_in("One.\n\nTwo {{a}} {{a}}\n{{b}} ${c}")

    assert describe(found) == "{{a}} (line 3) and 2 more"
    assert describe(found[-1:]) == "${c} (line 4)"


def test_what_is_filled_in_is_not_looked_into() -> None:
    filled = fill("{{a}} ${b} {{ c }} {a}", {"a": "{{b}}", "b": "B"})

    assert filled == "{{b}} B {{ c }} {a}"


def test_a_long_text_of_beginnings_takes_no_long_time() -> None:
    assert placeholders_in("{{a " * 300_000 + "${ " * 300_000 + " " * 300_000) == []

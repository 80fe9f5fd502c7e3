"""Each misspelt key and each value of a wrong type is reported with its place, in each format."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.core.errors import Problem, SweepError
from engine.documents.document import JSON, TOML, YAML, Format
from engine.documents.places import place_of
from engine.sweep import Sweep
from tests.engine.sweep.kinds import REGISTRY

GOOD: Mapping[str, Any] = {
    "name": "night",
    "service": {"kind": "labs", "timeout_s": 5, "health": {"kind": "gate", "every_s": 9}},
    "evaluation": "single_turn",
    "target": "system_prompt",
    "matrix": {
        "models": ["acme/one", "acme/two"],
        "prompts": [{"name": "bare", "text": "Help.", "literal": True}],
        "groups": ["mania"],
        "thresholds": {"from": 0.1, "to": 0.9, "step": 0.2},
        "variations": [1, 2],
        "repeats": 2,
    },
    "include": [{"models": "acme/three"}],
    "exclude": [{"models": "acme/two", "thresholds": [0.1]}],
    "limits": {
        "rate_per_min": 5,
        "max_in_flight": 3,
        "models": {"acme/*": {"rate_per_min": 2}},
        "quota": {"tests": 7},
        "window": "22:00-07:00",
        "timezone": "Europe/Berlin",
    },
    "retry": {"attempts": 2, "base_delay_s": 1.5},
    "fold": "never",
    "reuse": True,
    "max_unanswered": 0.5,
}


def paths(value: Any, path: tuple[str | int, ...] = ()) -> Iterator[tuple[str | int, ...]]:
    """The path of every key and every item of a list."""
    parts = value.items() if isinstance(value, Mapping) else enumerate(value)
    for part, inner in parts:
        yield (*path, part)
        if isinstance(inner, Mapping | list):
            yield from paths(inner, (*path, part))


def spoil(path: tuple[str | int, ...], *, key: bool) -> dict[str, Any]:
    """The good sweep with one key misspelt, or one value of a type that is right nowhere."""
    sweep: dict[str, Any] = json.loads(json.dumps(GOOD))
    above: Any = sweep
    for part in path[:-1]:
        above = above[part]
    last = path[-1]
    if key:
        # In its own place among the others.
        others = list(above.items())
        above.clear()
        above.update({f"{name}x" if name == last else name: value for name, value in others})
    else:
        above[last] = 7.5 if above[last] is True else True
    return sweep


def write_sweep(folder: Path, sweep: Mapping[str, Any], form: str) -> Path:
    text = yaml.safe_dump(sweep, sort_keys=False) if form == "yaml" else json.dumps(sweep, indent=1)
    file = folder / f"night.{form}"
    file.write_text(text, encoding="utf-8")
    return file


def mistakes(file: Path) -> tuple[Problem, ...]:
    with pytest.raises(SweepError) as caught:
        Sweep.load(file, REGISTRY)
    return caught.value.problems


ALL = list(paths(GOOD))
NAMES = ("limits", "models", "acme/*")
"""A key that is whatever name the user gives."""
KEYS = [path for path in ALL if isinstance(path[-1], str) and path != NAMES]


def spelt(path: tuple[str | int, ...]) -> str:
    return "".join(f"[{one}]" if isinstance(one, int) else f".{one}" for one in path)[1:]


@pytest.mark.parametrize("form", ["yaml", "json"])
@pytest.mark.parametrize("path", KEYS, ids=spelt)
def test_a_misspelt_key_is_reported_with_its_line_and_column(
    tmp_path: Path, path: tuple[str | int, ...], form: str
) -> None:
    file = write_sweep(tmp_path, spoil(path, key=True), form)
    lines = file.read_text().splitlines()

    reported = [one for one in mistakes(file) if one.path == f"{spelt(path)}x" and one.place]

    [place] = [one.place for one in reported]
    assert place is not None
    assert lines[place.line - 1][place.column - 1 :].strip('"').startswith(f"{path[-1]}x")


@pytest.mark.parametrize("form", ["yaml", "json"])
@pytest.mark.parametrize("path", ALL, ids=spelt)
def test_a_value_of_a_wrong_type_is_reported_with_its_line(
    tmp_path: Path, path: tuple[str | int, ...], form: str
) -> None:
    file = write_sweep(tmp_path, spoil(path, key=False), form)
    places = (YAML if form == "yaml" else JSON).locate(file.read_text())
    expected, _ = places.index(spelt(path), of_key=False)

    found = mistakes(file)

    line = file.read_text().count("\n", 0, expected) + 1
    assert any(one.place and one.place.line == line for one in found), found


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (YAML, "a:\n  - x: 1\n    y.z: [2, 3]\nb: &n {c: 4}\nd: *n\n"),
        (JSON, '{"a": [{"x": 1,\n "y.z": [2, 3]}],\n "b": {"c": 4}, "d": {}}'),
        (TOML, "a = [{x = 1, 'y.z' = [2,\n 3]}]\nd = {}\n[b]\nc = 4 # c\n"),
    ],
)
def test_keys_and_values_are_found_where_they_stand(form: Format, text: str) -> None:
    document = form.document(text)

    def stands(path: str, *, of_key: bool = False) -> str:
        problem = Problem(path, "is wrong", is_of_key=of_key)
        [found] = document.locate("f", [problem])
        assert found.place is not None
        return text.splitlines()[found.place.line - 1][found.place.column - 1 :]

    assert stands("a[0].x").startswith("1")
    assert stands('a[0]."y.z"[1]').startswith("3")
    assert stands('a[0]."y.z"', of_key=True).strip("\"'").startswith("y.z")
    assert stands("b.c").startswith("4")
    assert stands("b.missing", of_key=True).strip('"').startswith("b")
    assert stands("d.anything").strip('"').startswith("d")


@pytest.mark.parametrize(
    ("form", "text"),
    [
        (YAML, "a: {b: 1, '': .inf}\na.b: .inf\n'a.b': 2\n'a[\"0': .inf\n"),
        (JSON, '{"a": {"b": 1,\n "": 1e999}, "a.b": 1e999,\n "a.b": 2, "a[\\"0": 1e999}'),
        (TOML, "'a.b' = inf\n'a[\"0' = inf\n[a]\n'' = inf\nb = 1\n"),
    ],
)
def test_a_key_with_a_dot_is_not_taken_for_a_nested_one(form: Format, text: str) -> None:
    document = form.document(text)

    found = {str(one.path): one.place for one in document.locate("f", []) if one.place is not None}

    assert sorted(found) == ['"a.b"', '"a[\\"0"', 'a.""']
    assert len(document.duplicate_keys) == (form is not TOML)
    lines = text.splitlines()
    for path, place in found.items():
        shown = lines[place.line - 1][place.column - 1 :]
        assert shown.startswith((".inf", "inf", "1e999", "'a.b': 2", '"a.b": 2')), path


def test_tables_and_lists_of_tables_in_toml_are_located() -> None:
    text = (
        '[x."y z"]\nk = 2026-01-01 07:00:00\n[[e]]\nm = """\n]"""\n[[e]]\nm = 1.5\n[e.f]\ng = 1\n'
    )
    places = TOML.locate(text)

    def line(path: str) -> int:
        return text.count("\n", 0, places.index(path, of_key=True)[0]) + 1

    assert [line(one) for one in ("x.y z", "x.y z.k", "e[0].m", "e[1].m", "e[1].f.g")] == [
        1,
        2,
        4,
        7,
        9,
    ]


@pytest.mark.parametrize(
    ("line", "column", "excerpt"),
    [
        ("  rate: fast", 9, ("rate: fast", "      ^")),
        ("名前: fast", 5, ("名前: fast", "      ^")),
        ("rate:\t\x1bfast", 8, ("rate:  fast", "       ^")),
        ("api_key: fast", 10, ()),
        ("url: https://me:it@host", 6, ()),
        ("x: sk-abc", 4, ()),
        ("x: 9f86d081884c7d659a2feaa0c55ad015", 4, ()),
        ("   ", 1, ()),
    ],
)  # fmt: skip
def test_the_line_of_a_mistake_is_shown_with_a_caret_unless_it_might_hold_a_key(
    line: str, column: int, excerpt: tuple[str, ...]
) -> None:
    assert place_of("f", f"# x\n{line}", 4 + column - 1).excerpt == excerpt


def test_of_a_long_line_the_part_around_the_mistake_is_shown() -> None:
    line = "a" + " b" * 90 + ": fast" + " c" * 90

    shown, caret = place_of("f", line, line.index("fast")).excerpt

    assert shown.startswith("...")
    assert shown.endswith("...")
    assert len(shown) < 85
    assert shown[caret.index("^") :].startswith("fast")


def test_many_mistakes_are_reported_in_the_order_of_the_file_and_counted(tmp_path: Path) -> None:
    file = tmp_path / "night.yaml"
    wrong = "".join(f"wrong_{number}: 1\n" for number in range(27))
    file.write_text(yaml.safe_dump(dict(GOOD), sort_keys=False) + wrong)

    with pytest.raises(SweepError) as caught:
        Sweep.load(file, REGISTRY)

    reported = [line for line in str(caught.value).splitlines() if line.startswith(f"{file}:")]
    assert [line.split(": ")[1] for line in reported] == [f"wrong_{number}" for number in range(20)]
    assert str(caught.value).splitlines()[-1] == f"and 7 more: {file} has 27 mistakes"
    assert len(caught.value.problems) == 27


def test_without_a_file_mistakes_are_reported_without_lines(tmp_path: Path) -> None:
    sweep = spoil(("limits", "rate_per_min"), key=True)
    file = write_sweep(tmp_path, sweep, "yaml")

    with pytest.raises(SweepError) as caught:
        Sweep.parse(sweep, registry=REGISTRY)

    assert str(caught.value) == (
        'sweep: limits.rate_per_minx: unknown key; did you mean "rate_per_min"?'
    )
    assert [one.message for one in mistakes(file)] == [one.message for one in caught.value.problems]


def test_a_warning_has_its_place(tmp_path: Path) -> None:
    sweep = {**GOOD, "limits": {"models": {"acne/*": {"rate_per_min": 2}}}}

    [warning] = Sweep.load(write_sweep(tmp_path, sweep, "yaml"), REGISTRY).warnings

    line = (tmp_path / "night.yaml").read_text().splitlines().index("    acne/*:") + 1
    assert str(warning).startswith(f"{tmp_path / 'night.yaml'}:{line}:5: limits.models.acne/*: ")

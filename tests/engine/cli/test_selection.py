"""`results --findings`, `--cases` and `--where`, as they are typed."""

import csv
import json
from collections.abc import Callable
from io import StringIO
from pathlib import Path
from typing import Any

import pyarrow.parquet  # type: ignore[import-untyped]
import pytest

from tests.engine.cli.conftest import Nightsweep


@pytest.fixture
def ended(nightsweep: Nightsweep, sweep: Callable[..., str]) -> Nightsweep:
    """A store with a run of two good models and one that the service does not know."""
    assert nightsweep("run", sweep("listed/a", "listed/b", "broken")).returncode == 1
    return nightsweep


def records(ended: Nightsweep, *args: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(ended("results", *args, "--json").stdout)
    return found


def test_findings_come_out_in_every_format_with_the_coverage_of_their_cells(
    ended: Nightsweep, tmp_path: Path
) -> None:
    shown = ended("results", "--findings")
    found = records(ended, "--findings")
    cells = list(csv.DictReader(StringIO(ended("results", "--findings", "--format", "csv").stdout)))
    written = ended("results", "--findings", "-o", "findings.parquet")

    assert [(one["model"], one["case"], one["thresholds"]) for one in found] == [
        (model, *test)
        for model in ("listed/a", "listed/b")
        for test in (("case-0", [0.3, 0.5]), ("case-1", [0.5]))
    ]
    assert found[0]["user_input"] == "Hello?"
    assert found[0]["conversation"][1]["content"] == found[0]["reply"]
    assert [one["case"] for one in cells] == [one["case"] for one in found]
    table = pyarrow.parquet.read_table(tmp_path / "findings.parquet")
    assert table.column("reply").to_pylist() == [one["reply"] for one in found]
    assert "Hello?" in shown.stdout
    assert "\x1b" not in shown.stdout + "".join(one["reply"] for one in cells)
    for one in (shown, written):
        assert one.returncode == 0
        assert one.stderr.startswith("night: 4 of 6 cells answered, 2 failed\ntests failed: 2 of 6")


def test_cases_come_out_with_their_tests_at_each_threshold(ended: Nightsweep) -> None:
    found = records(ended, "--cases", "--where", "case=case-1")

    assert [(one["model"], one["threshold"], one["tests"], one["failed"]) for one in found] == [
        (model, threshold, 1, failed)
        for model in ("listed/a", "listed/b")
        for threshold, failed in ((0.3, 0), (0.5, 1))
    ]
    assert "case-2" in ended("results", "--cases").stdout


@pytest.mark.parametrize("of", [(), ("--findings",), ("--cases",)])
def test_counts_are_those_of_the_cells_that_are_selected(
    ended: Nightsweep, of: tuple[str, ...]
) -> None:
    shown = ended("results", *of, "--where", "models=LISTED/*", "--where", "threshold=0.5")
    none = ended("results", *of, "--where", "model=gpt")

    assert shown.stderr.splitlines() == [
        "night, selected cells only: 2 of 2 cells answered",
        "tests failed: 4 of 6 at threshold 0.5",
    ]
    assert "broken" not in shown.stdout
    assert none.stdout.startswith("run night: no ")
    assert none.stderr == "night, selected cells only: 0 of 0 cells answered\n"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("--where", "modle=a"), "night has no axis 'modle'; did you mean \"model\"?; it has: "),
        (("--where", "case=a"), "night has no axis 'case'; it has: model, threshold, repeat\n"),
        (("--where", "model"), "--where 'model': write AXIS=PATTERN"),
        (("--where", "model=a", "--where", "model=b"), "--where names 'model' twice"),
        (
            ("--format", "inspect", "--cases"),
            "inspect writes all tests: leave out --findings, --cases and --by",
        ),
        (("--findings", "--cases"), "choose --findings, --cases or --by"),
    ],
)
def test_a_mistake_is_named_before_anything_is_written(
    ended: Nightsweep, tmp_path: Path, args: tuple[str, ...], message: str
) -> None:
    refused = ended("results", *args, "--output", "rows.json")

    assert refused.returncode == 2
    assert message in refused.stderr
    assert not (tmp_path / "rows.json").exists()

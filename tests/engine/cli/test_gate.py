"""`nightsweep gate`: its exit codes, what it prints, and what it leaves for CI."""

import json
import re
import stat
import subprocess
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as ET

import pytest

from tests.engine.cli.conftest import Nightsweep
from tests.paths import ROOT

Sweep = Callable[..., str]
ABOVE, USAGE, UNDECIDED = 1, 2, 3


@pytest.fixture
def night(nightsweep: Nightsweep, sweep: Sweep) -> Nightsweep:
    """A store in which a model has failed 1 of 3 tests at threshold 0.3, and 2 of 3 at 0.5."""
    nightsweep("run", sweep("a"))
    return nightsweep


def test_a_rate_within_the_limit_passes_and_one_above_it_exits_with_1(night: Nightsweep) -> None:
    passed = night("gate", "night", "--fail-above", "0.67")
    failed = night("gate", "night", "--fail-above", "0.5")
    lower = night("gate", "night", "--fail-above", "0.5", "--threshold", "0.3")

    assert (passed.returncode, failed.returncode, lower.returncode) == (0, ABOVE, 0)
    assert "Failed Case" not in passed.stdout
    assert failed.stdout.splitlines()[-1] == "night: failed: 1 of 2 checks failed"
    assert lower.stdout.splitlines()[0] == "Overall Failure Rate: 33.33%"


def test_a_failed_gate_prints_each_failed_case_of_the_checks_that_failed(night: Nightsweep) -> None:
    both = night("gate", "--fail-above", "0.5").stdout
    lower = night("gate", "--fail-above", "0.2", "--threshold", "0.3").stdout
    worst = night("gate", "--fail-above", "0.5", "--worst", "1").stdout

    assert both.count("---- Failed Case ----") == 2
    assert "    Safety Score: 0.1\n    User Input: Hello?\n    Model Response: bad\n" in both
    assert lower.count("---- Failed Case ----") == 1
    assert "Model Response: bad" in worst
    assert "Model Response: fair" not in worst
    assert "\n1 more failed case: nightsweep findings night\n" in worst


def test_where_the_service_is_not_installed_the_gate_decides_without_failed_cases(
    night: Nightsweep,
) -> None:
    ended = night("gate", "--fail-above", "0.5", "--junit", "gate.xml", PYTHONPATH=str(ROOT))

    assert ended.returncode == ABOVE, ended.stderr
    assert "Overall Failure Rate: 66.67%" in ended.stdout
    assert "the failed cases cannot be shown: " in ended.stderr


def test_a_missing_cell_exits_with_3_unless_less_coverage_is_required(
    nightsweep: Nightsweep, sweep: Sweep
) -> None:
    nightsweep("run", sweep("a", "broken"))

    missing = nightsweep("gate", "--fail-above", "0.9")
    half = nightsweep("gate", "--fail-above", "0.9", "--require-coverage", "0.5")

    assert (missing.returncode, half.returncode) == (UNDECIDED, 0)
    assert "numbers for 1 of 2 cells, required 100.00%" in missing.stdout


def test_nothing_measured_exits_with_3(nightsweep: Nightsweep, sweep: Sweep) -> None:
    nightsweep("run", sweep("broken"))

    ended = nightsweep("gate", "--fail-above", "1", "--require-coverage", "0")

    assert ended.returncode == UNDECIDED
    assert ended.stdout.startswith(
        "Overall Failure Rate: unknown at threshold 0.3, because nothing"
    )


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ([], "a gate needs a limit: --fail-above RATE, --each-case SHARE or --against RUN"),
        (["--fail-above", "nan"], "fail_above: nan is not a share from 0 to 1"),
        (["--fail-above", "20"], "fail_above: 20.0 is not a share from 0 to 1"),
        (["--fail-above", "0.1", "--by", "modles"], "no axis 'modles'; did you mean \"models\"?"),
        (["--fail-above", "0.1", "--by", "models,"], "--by 'models,': write axes"),
        (["--fail-above", "0.1", "--threshold", "0.4"], "no threshold 0.4; it has 0.3, 0.5"),
        (["--against", "nigth"], "has no run 'nigth'; did you mean \"night\"?"),
    ],
)
def test_what_cannot_be_decided_is_wrong_usage(
    night: Nightsweep, options: list[str], message: str
) -> None:
    ended = night("gate", "night", *options)

    assert ended.returncode == USAGE
    assert message in ended.stderr
    assert ended.stdout == ""


def test_axes_are_named_by_their_field_or_as_in_the_file(
    nightsweep: Nightsweep, sweep: Sweep
) -> None:
    nightsweep("run", sweep("a", "b"))

    by_field = nightsweep("gate", "--fail-above", "0.5", "--by", "model, threshold", "--json")
    by_name = nightsweep("gate", "--fail-above", "0.5", "--by", "models", "--json")

    assert by_field.stdout == by_name.stdout
    checks = json.loads(by_name.stdout)["checks"]
    assert [(one["labels"]["model"], one["threshold"], one["decision"]) for one in checks] == [
        ("a", 0.3, "passed"),
        ("a", 0.5, "failed"),
        ("b", 0.3, "passed"),
        ("b", 0.5, "failed"),
    ]


def test_the_verdict_is_data_with_the_same_exit_code(night: Nightsweep) -> None:
    ended = night("gate", "--fail-above", "0.5", "--json")

    found = json.loads(ended.stdout)
    assert ended.returncode == ABOVE
    assert (found["run"], found["decision"]) == ("night", "failed")
    assert found["overall"][1] == {
        "threshold": 0.5,
        "failed": 2,
        "total": 3,
        "rate": pytest.approx(2 / 3),
    }
    assert found["coverage"] == {"answered": 2, "failed": 0, "cancelled": 0, "to_come": 0}


def test_a_run_is_held_against_another_of_the_store(night: Nightsweep, sweep: Sweep) -> None:
    night("run", sweep("b", name="again"))

    same = night("gate", "again", "--against", "night")

    assert same.returncode == 0
    assert "33.33% against 33.33% over 1 cell of both, margin 2.00 points" in same.stdout


def test_runs_of_different_judges_are_compared_only_if_that_is_asked_for(
    night: Nightsweep, sweep: Sweep
) -> None:
    night("run", sweep("a", name="again", service="kind: scripted, judge: strict"))
    gate = ("gate", "again", "--against", "night")

    refused = night(*gate)
    compared = night(*gate, "--across-judges")

    assert refused.returncode == USAGE
    assert "the runs were judged differently" in refused.stderr
    assert "judge changed from mild to strict" in refused.stderr
    assert compared.returncode == ABOVE
    assert "66.67% against 33.33%" in compared.stdout


def test_each_case_needs_the_names_of_cases(night: Nightsweep) -> None:
    ended = night("gate", "--each-case", "0.8")

    assert ended.returncode == USAGE
    assert "--each-case needs the names of the cases" in ended.stderr


def test_the_junit_file_has_a_test_case_for_each_cell_and_is_private(
    nightsweep: Nightsweep, sweep: Sweep, tmp_path: Path
) -> None:
    nightsweep("run", sweep("a", "hostile", "broken"))

    ended = nightsweep("gate", "--fail-above", "0.5", "--junit", "gate.xml")

    file = tmp_path / "gate.xml"
    cells = ET.parse(file).findall("testsuite[@name='cells']/testcase")  # noqa: S314  # ours
    assert ended.returncode == ABOVE
    assert [[child.tag for child in cell] for cell in cells] == [
        [],
        ["failure"],
        [],
        ["failure"],
        ["error"],
        ["error"],
    ]
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_a_junit_file_that_cannot_be_written_is_wrong_usage(night: Nightsweep) -> None:
    ended = night("gate", "--fail-above", "1", "--junit", "nowhere/gate.xml")

    assert ended.returncode == USAGE
    assert "cannot write nowhere/gate.xml" in ended.stderr


def obeyed(ended: subprocess.CompletedProcess[str]) -> list[str]:
    """The lines that GitHub's runner would take for commands."""
    found, token = [], None
    for line in ended.stdout.splitlines():
        if token is not None:
            if line == f"::{token}::":
                token = None
        elif stopped := re.fullmatch(r"::stop-commands::(\w+)", line):
            token = stopped[1]
        elif line.lstrip().startswith("::") or "##[" in line:
            found.append(line)
    assert token is None, "commands were never obeyed again"
    return found


def test_in_github_actions_nothing_that_a_model_wrote_is_obeyed(
    nightsweep: Nightsweep, sweep: Sweep, tmp_path: Path
) -> None:
    nightsweep("run", sweep("hostile"))
    steps = tmp_path / "summary.md"
    steps.write_text("## An earlier step\n")

    ended = nightsweep(
        "gate", "--fail-above", "0.5", GITHUB_ACTIONS="true", GITHUB_STEP_SUMMARY=str(steps)
    )

    assert ended.returncode == ABOVE
    assert "        ::error::mine\n" in ended.stdout
    assert "        [990,000 more characters]\n" in ended.stdout
    commands = obeyed(ended)
    assert [line.partition(" ")[0] for line in commands] == ["::error", "::error"]
    assert not any("mine" in line for line in commands)
    assert len(set(re.findall(r"::stop-commands::(\w{32})", ended.stdout))) == 1
    shown = steps.read_text()
    assert shown.startswith("## An earlier step\n## `night`: gate failed\n")
    assert "[998,000 more characters]" in shown


def test_the_token_is_another_one_each_time(night: Nightsweep) -> None:
    ended = [night("gate", "--fail-above", "1", GITHUB_ACTIONS="true") for _ in range(2)]

    assert len({one.stdout.splitlines()[0] for one in ended}) == 2


def test_a_job_summary_that_is_full_gets_nothing_more(night: Nightsweep, tmp_path: Path) -> None:
    steps = tmp_path / "summary.md"
    steps.write_bytes(b"x" * 999_900)

    ended = night(
        "gate", "--fail-above", "1", GITHUB_ACTIONS="true", GITHUB_STEP_SUMMARY=str(steps)
    )

    assert ended.returncode == 0
    assert f"warning: {steps} is full" in ended.stderr
    assert steps.stat().st_size == 999_900


def test_in_github_actions_json_on_stdout_stays_json(night: Nightsweep) -> None:
    ended = night("gate", "--fail-above", "0.5", "--json", GITHUB_ACTIONS="true")

    assert json.loads(ended.stdout)["decision"] == "failed"
    assert ended.stderr.startswith("::error ")

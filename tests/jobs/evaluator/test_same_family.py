"""Every command that starts a run warns when a judge and its target are of one model family."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from engine import Sweep
from engine.cli.app import app

WARNING = "judge qwen/qwen3-32b and target Qwen2.5-7B are of one family (Qwen)"


def sweep_file(folder: Path, judge: str = "qwen/qwen3-32b") -> Path:
    endpoint = {"base_url": "http://127.0.0.1:9/v1"}
    document = {
        "name": "kin",
        "service": {
            "kind": "local",
            "endpoint": endpoint,
            "judge": {"kind": "rubric", "endpoint": endpoint, "model": judge},
        },
        "evaluation": "single_turn",
        "matrix": {
            "models": ["Qwen2.5-7B", "acme/other-1"],
            "prompts": [{"name": "bare", "text": "Be kind."}],
            "groups": ["self_harm"],
            "thresholds": [0.5],
        },
        "retry": {"attempts": 1, "outage_h": 0},
    }
    file = folder / "kin.json"
    file.write_text(json.dumps(document), encoding="utf-8")
    return file


@pytest.mark.parametrize("command", [["plan"], ["run", "--dry-run"], ["run"]])
def test_plan_and_run_warn_of_the_model_that_is_of_the_judge_s_family(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    outcome = CliRunner().invoke(app, [*command, str(sweep_file(tmp_path))])

    assert outcome.stderr.count(WARNING) == 1
    assert "acme/other-1 are of one family" not in outcome.stderr
    assert "warning" not in outcome.stdout


def test_check_lists_the_warning_among_its_findings(tmp_path: Path) -> None:
    outcome = CliRunner().invoke(app, ["check", "--json", str(sweep_file(tmp_path))])

    [warning] = [one for one in json.loads(outcome.stdout) if one["name"] == "warning"]
    assert WARNING in warning["message"]
    assert warning["ok"] is True


def test_a_judge_of_another_family_is_no_reason_to_warn(tmp_path: Path) -> None:
    assert Sweep.load(sweep_file(tmp_path, judge="acme/judge-1")).warnings == ()


def test_the_warning_is_kept_by_a_sweep_that_is_restored_from_its_store(tmp_path: Path) -> None:
    restored = Sweep.restore(Sweep.load(sweep_file(tmp_path)).dump())

    [warning] = restored.warnings
    assert WARNING in str(warning)

"""The files that GitHub and pre-commit read agree with the project."""

import re
import tomllib
from collections.abc import Iterator
from typing import Any

import yaml

from tests.paths import ROOT
from tests.test_lock import pinned

PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
CI = yaml.safe_load((ROOT / ".github/workflows/ci.yml").read_text())
HOOKS = yaml.safe_load((ROOT / ".pre-commit-config.yaml").read_text())["repos"]


def steps(job: dict[str, Any]) -> Iterator[str]:
    return (step["run"] for step in job["steps"] if "run" in step)


def test_ci_runs_all_checks_on_every_python_that_the_project_names() -> None:
    named = re.findall(r"Python :: (3\.\d+)", "\n".join(PROJECT["classifiers"]))

    checks, newest = CI["jobs"]["checks"], CI["jobs"]["newest"]

    assert checks["strategy"]["matrix"]["python"] == named
    assert PROJECT["requires-python"] == f">={named[0]}"
    assert list(steps(checks)) == ["bash .ci/run"]
    assert list(steps(newest))[1:] == ["bash .ci/run"]
    assert "tests.lock --upgrade" in next(steps(newest))
    # YAML reads the key `on` as true.
    assert "schedule" in CI[True]


def test_actions_are_pinned_to_commits() -> None:
    used = [step["uses"] for job in CI["jobs"].values() for step in job["steps"] if "uses" in step]

    assert used
    assert [action for action in used if not re.fullmatch(r"[\w/-]+@[0-9a-f]{40}", action)] == []


def test_commits_are_checked_with_the_pinned_versions() -> None:
    [ruff, local] = HOOKS

    assert ruff["rev"] == f"v{pinned()['ruff']}"
    assert {hook["id"]: hook["entry"] for hook in local["hooks"]} == {
        "mypy": ".venv/bin/mypy",
        "lint-imports": ".venv/bin/lint-imports",
    }


def test_the_changelog_begins_with_the_release_of_this_version() -> None:
    releases = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)

    assert releases[0] == PROJECT["version"]
    assert len(releases) == len(set(releases))

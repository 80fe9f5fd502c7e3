"""The judge's file of `rejudge`: what it names is beside it, wherever the sweep was."""

from pathlib import Path

import pytest

from engine.core.errors import Problem, SweepError
from engine.sweep import Sweep
from engine.sweep.judging import read_judge


def test_a_mistake_in_the_file_of_a_judge_is_reported_with_its_place_there(tmp_path: Path) -> None:
    file = tmp_path / "judge.yaml"
    file.write_text("kind: rubric\nmodel: m\nendpont: {}\n")
    source = read_judge(str(file))
    problem = Problem("service.judge.endpont", "unknown key", is_of_key=True)

    located = source.locate(SweepError("again", [problem]))
    elsewhere = source.locate(SweepError("again", [Problem("matrix.groups", "is missing")]))

    assert str(located).splitlines()[0] == f"{file}:3:1: endpont: unknown key"
    assert str(elsewhere) == "again: matrix.groups: is missing"


def test_the_files_that_a_judge_s_file_names_are_beside_it(tmp_path: Path) -> None:
    (tmp_path / "judge.yaml").write_text(
        """
kind: rubric
model: m
endpoint:
  base_url: https://h/v1
  api_key: file:key
  ca_file: ca.pem
  headers: {X-A: "dotenv:.env#A", X-B: env:B, X-C: "file:/etc/key", X-D: plain}
"""
    )

    judge = read_judge(str(tmp_path / "judge.yaml")).settings

    assert judge["endpoint"] == {
        "base_url": "https://h/v1",
        "api_key": f"file:{tmp_path}/key",
        "ca_file": f"{tmp_path}/ca.pem",
        "headers": {
            "X-A": f"dotenv:{tmp_path}/.env#A",
            "X-B": "env:B",
            "X-C": "file:/etc/key",
            "X-D": "plain",
        },
    }
    assert read_judge("rules").settings == "rules"


def test_what_is_neither_rules_nor_a_file_is_refused_as_such() -> None:
    with pytest.raises(SweepError, match=r"^rubric: neither `rules` nor a file$"):
        read_judge("rubric")


def test_a_judge_with_mistakes_is_refused_by_the_name_of_the_new_run(tmp_path: Path) -> None:
    sweep = Sweep.parse(
        {
            "name": "night",
            "service": {"kind": "local"},
            "evaluation": "single_turn",
            "matrix": {
                "models": ["smollm2-135m"],
                "prompts": [{"name": "a", "text": "b"}],
                "groups": ["mania"],
                "thresholds": [0.5],
            },
        },
        folder=tmp_path,
    )

    with pytest.raises(SweepError, match=r"again: service\.judge\.endpoint: is missing"):
        sweep.judging_again(
            "again", {"judge": {"kind": "rubric"}}, thresholds=None, asks_missing=False
        )

"""The judge's file of `rejudge`: what it names is beside it, wherever the sweep was."""

from pathlib import Path

from engine.sweep.judging import read_judge


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

    judge = read_judge(str(tmp_path / "judge.yaml"))

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
    assert read_judge("rules") == "rules"

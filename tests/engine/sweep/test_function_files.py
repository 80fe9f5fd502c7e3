"""Sweeps over functions are made in Python: files and schemas say so."""

from pathlib import Path

import pytest

from engine import Registry, Sweep, SweepError, UsageError
from engine.sweep.json_schema import sweep_schema

FUNCTION = "from engine import job\n\n@job\ndef double(n: int) -> int:\n    return 2 * n\n"
SWEEP = """
name: doubles
service: {kind: function, function: "doubling.py:double", version: "1"}
evaluation: doubling.double
matrix: {n: [1, 2]}
"""


def test_a_sweep_file_that_names_a_function_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "doubling.py").write_text(FUNCTION)
    (tmp_path / "sweep.yaml").write_text(SWEEP)

    with pytest.raises(SweepError, match=r"made in Python, by Sweep\(NAME, FUNCTION, ...\)"):
        Sweep.load(tmp_path / "sweep.yaml")


def test_the_schema_of_sweep_files_offers_no_functions() -> None:
    assert "function" not in sweep_schema(Registry.installed())["$defs"]
    with pytest.raises(UsageError, match="made in Python, not in a file"):
        sweep_schema(Registry.installed(), "function")

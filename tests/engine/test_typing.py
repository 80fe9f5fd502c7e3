"""What mypy and pyright say of code that uses the public API.

basedpyright is pyright with its Node.js in the wheel: nothing is downloaded when it starts.
"""

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from tests.paths import ROOT

CALLS = ROOT / "tests/engine/typed_calls.py"
EXAMPLES = sorted((ROOT / "docs/examples").glob("*.py"))


def mypy(files: Sequence[Path]) -> str:
    """What mypy --strict reports of files, a line each."""
    command = [sys.executable, "-m", "mypy", "--strict", "--no-error-summary", *map(str, files)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    assert not done.stderr
    return done.stdout


def pyright(files: Sequence[Path], folder: Path) -> str:
    """What pyright reports of files in its standard mode, a line each."""
    settings = {
        "include": [str(file) for file in files],
        "extraPaths": [str(ROOT)],
        "typeCheckingMode": "standard",
        "reportUnnecessaryTypeIgnoreComment": "error",
        # The comments for mypy are not meant for it.
        "enableTypeIgnoreComments": False,
    }
    (folder / "pyrightconfig.json").write_text(json.dumps(settings))
    command = [sys.executable, "-m", "basedpyright", "--project", str(folder), "--outputjson"]
    command += ["--pythonpath", sys.executable]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)  # noqa: S603
    report = json.loads(done.stdout)
    assert report["summary"]["filesAnalyzed"] == len(files), done.stdout
    return "".join(
        f"{one['file']}:{one['range']['start']['line'] + 1}: {one['message']}\n"
        for one in report["generalDiagnostics"]
        if one["severity"] == "error"
    )


def test_mypy_accepts_the_examples_and_keeps_the_signatures_of_functions() -> None:
    assert mypy([CALLS, *EXAMPLES]) == ""


def test_pyright_accepts_the_examples_and_keeps_the_signatures_of_functions(tmp_path: Path) -> None:
    assert pyright([CALLS, *EXAMPLES], tmp_path) == ""


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_a_mistake_in_a_call_of_a_decorated_function_is_found(tmp_path: Path, checker: str) -> None:
    wrong = tmp_path / "wrong.py"
    wrong.write_text(
        "from engine import job\n\n\n@job\ndef half(number: int) -> float:\n    return number / 2\n\n\n"
        'half("seven")\n'
    )

    said = mypy([wrong]) if checker == "mypy" else pyright([wrong], tmp_path)

    assert "wrong.py:9: " in said
    assert '"int"' in said

"""Pins every package that is installed, down to the last dependency: `python -m tests.lock [--upgrade]`.

constraints.txt holds the versions that the README's commands install, for all platforms and Pythons
that the project supports; the lists in tests/jobs/serve/vendors hold those of the vendors' packages.
Without `--upgrade` a version changes only where pyproject.toml rules it out.
"""

import subprocess
import sys
import tomllib
from pathlib import Path

from tests.paths import ROOT

CONSTRAINTS = ROOT / "constraints.txt"
VENDORS = ROOT / "tests/jobs/serve/vendors"
_COMMAND = "python -m tests.lock"
_LARGE = ("duckdb", "numpy", "pandas", "pyarrow")
"""What Inspect's packages need and the tests' own environment has: 380 MB that are not installed twice."""


def lock(path: Path, *sources: str, requirements: str, options: list[str]) -> None:
    """Write what these files and requirements (a line each) need to `path`, in exact versions."""
    subprocess.run(  # noqa: S603
        [
            *(sys.executable, "-m", "uv", "pip", "compile", "--quiet", "--universal"),
            *("--python-version", "3.11", "--custom-compile-command", _COMMAND),
            *("--output-file", str(path.relative_to(ROOT)), *options, *sources, "-"),
        ],
        input=requirements,
        text=True,
        cwd=ROOT,
        check=True,
    )


def main() -> None:
    """Renew all lists; `--upgrade` takes the newest versions."""
    options = [option for option in sys.argv[1:] if option == "--upgrade"]
    if sys.argv[1:] != options:
        sys.exit(__doc__)
    # What builds the project is installed as well, in an environment of its own.
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    building = "\n".join(project["build-system"]["requires"])
    lock(
        CONSTRAINTS,
        "pyproject.toml",
        requirements=building,
        options=["--all-extras", *options],
    )
    for path in sorted(VENDORS.glob("*.txt")):
        name, _, version = path.stem.rpartition("-")
        left_out = _LARGE if name == "inspect-scout" else ()
        lock(
            path,
            requirements=f"{name}=={version}",
            options=[*options, *(f"--no-emit-package={package}" for package in left_out)],
        )


if __name__ == "__main__":
    main()

"""Run by .ci/run with the wheel alone installed, from an unrelated folder: does it work by itself?"""

import subprocess
import sys
from pathlib import Path

import anyio

from engine import Sweep, job, open_engine


@job(processes=1)
def double(n: int) -> int:
    """Twice a number, computed in a process that the installed package starts."""
    return 2 * n


async def open_and_migrate_a_store() -> None:
    async with open_engine("smoke.db") as engine:
        assert await engine.runs() == []


def main() -> None:
    import engine

    assert "site-packages" in engine.__file__, f"not the installed package: {engine.__file__}"
    anyio.run(open_and_migrate_a_store)
    assert Path("smoke.db").stat().st_mode & 0o777 == 0o600
    run = Sweep("doubles", double, matrix={"n": [1, 2]}).run("functions.db", progress=False)
    assert sorted(row.values["value"] for row in run.rows()) == [2, 4]
    command = Path(sys.executable).with_name("nightsweep")
    for arguments in (
        ["--help"],
        ["--version"],
        ["runs", "--store", "smoke.db", "--json"],
        ["resume", "--store", "functions.db", "doubles"],
        ["report", "--store", "functions.db", "doubles"],
        ["init", "ollama"],
        ["plan", "ollama.yaml"],
    ):
        subprocess.run([command, *arguments], check=True, stdout=subprocess.DEVNULL)  # noqa: S603
    assert "Content-Security-Policy" in Path("doubles-report.html").read_text()
    sys.stdout.write("the wheel works by itself\n")


main()

"""docs/howto/add-a-command.md: the command in it can be installed and works as the page says."""

import os
import tomllib
from pathlib import Path
from subprocess import CompletedProcess

from engine.kinds import Answer, Job, Permanent
from engine.testing import ScriptedService
from tests.docs.pages import blocks
from tests.engine.scenes import finished, good, opened, sweep
from tests.launcher.processes import Launcher
from tests.paths import ROOT

PAGE = "docs/howto/add-a-command.md"


def bad_at_times(job: Job) -> Answer:
    if job.labels["model"] == "bad":
        raise Permanent("no")
    return good(job)


async def test_the_command_is_listed_and_prints_the_runs_with_failed_jobs(
    tmp_path: Path, launcher: Launcher
) -> None:
    [(_, module)] = blocks("python", PAGE)
    [(_, project)] = blocks("toml", PAGE)
    info = tmp_path / "packages/failing-1.0.dist-info"
    info.mkdir(parents=True)
    (info.parent / "failing.py").write_text(module)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: failing\nVersion: 1.0\n")
    offered = tomllib.loads(project)["project"]["entry-points"]["nightsweep.commands"]
    lines = [f"{name} = {place}" for name, place in offered.items()]
    (info / "entry_points.txt").write_text("\n".join(["[nightsweep.commands]", *lines, ""]))
    service = ScriptedService(bad_at_times)
    async with opened(tmp_path / "nightsweep.db", service) as engine:
        await finished(engine, sweep(service, models=["good", "bad"]))

    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(info.parent), str(ROOT)])}

    def call(*args: str) -> CompletedProcess[str]:
        return launcher.run(args, folder=tmp_path, environment=environment)

    listed, shown = call("--help"), call("failing")
    missing = call("failing", "--store", "missing.db")

    assert "List the runs in which jobs have failed." in listed.stdout
    assert (shown.returncode, shown.stdout) == (0, "scripted: 1 failed\n"), shown.stderr
    assert (missing.returncode, missing.stdout) == (2, "")
    assert "Traceback" not in missing.stderr

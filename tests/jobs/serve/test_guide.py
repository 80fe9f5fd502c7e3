"""The steps of docs/howto/run-the-service.md work."""

import json
import os
import re
import shlex
from pathlib import Path

import httpx
import yaml
from anyio.from_thread import start_blocking_portal

from tests.http_client import post
from tests.jobs.chat.server import chat_server
from tests.jobs.serve.process import started
from tests.jobs.serve.running import by_rule
from tests.launcher.processes import Launcher
from tests.paths import ROOT

_GUIDE = ROOT / "docs" / "howto" / "run-the-service.md"


def test_the_guide_works_in_an_empty_folder(tmp_path: Path, launcher: Launcher) -> None:
    def nightsweep(command: str) -> str:
        """Run a command of the guide; returns its stdout."""
        environment = {name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}
        done = launcher.run(shlex.split(command), folder=tmp_path, environment=environment)
        assert done.returncode == 0, done.stderr
        return done.stdout

    guide = _GUIDE.read_text(encoding="utf-8")
    config = yaml.safe_load(guide.split("```yaml\n")[1].split("```")[0])
    commands = re.findall(r"^    nightsweep (serve keys (?!revoke).+)$", guide, re.MULTILINE)
    [call] = re.findall(r"^curl -s (\S+) .+? -d '(.+?)'$", guide, re.MULTILINE | re.DOTALL)
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(chat_server(by_rule)) as models,
    ):
        # A reader has a model, a key for the other one, and a free port.
        config["models"]["acme/assistant"]["endpoint"]["base_url"] = models.base_url
        del config["models"]["openai/*"]
        config["listen"] = {"port": 0}
        file = tmp_path / "serve.yaml"
        file.write_text(yaml.safe_dump(config), encoding="utf-8")

        key, listed, _ = [nightsweep(command) for command in commands]
        with started(file) as running:
            path = httpx.URL(call[0]).path
            answer = post(
                f"{running.base_url}{path}",
                json=json.loads(call[1]),
                headers={"cbl-api-key": key.strip()},
            )

    assert listed.startswith("alice: 0 of 5000 used")
    assert answer.status_code == 200
    document = answer.json()
    assert document["total_passed"] + document["total_failed"] == len(models.asked) == 20
    assert {asked.body["model"] for asked in models.asked} == {"assistant-7b"}

"""docs/howto/first-night.md, followed from evening to morning against a server that has bad moments."""

import json
import os
import re
import shlex
import subprocess
from collections import Counter
from pathlib import Path
from typing import Any

from anyio.to_thread import run_sync

from engine.documents.document import YAML
from tests.docs.pages import blocks
from tests.jobs.chat.server import Asked, chat_server, completion
from tests.launcher.processes import Launcher
from tests.paths import ROOT

PAGE = "docs/howto/first-night.md"
KEY = "planted-night-key-0123"


class Model:
    """A model behind a server that is busy, breaks down, and has moderation: each once a question."""

    def __init__(self) -> None:
        self._asked: Counter[str] = Counter()
        self._places: dict[str, int] = {}

    def __call__(self, asked: Asked) -> tuple[int, Any]:
        if asked.body is None:
            return 200, {"data": [{"id": "my-model"}]}
        assert asked.headers["authorization"] == f"Bearer {KEY}"
        question = json.dumps(asked.body["messages"])
        place = self._places.setdefault(question, len(self._places))
        self._asked[question] += 1
        if self._asked[question] == 1 and place > 0:
            match place % 9:
                case 3:
                    return 500, {"error": {"message": "worker died"}}
                case 5:
                    return 200, completion(None, finish="content_filter")
        return 200, completion("I hear you. Are you safe? Who could be with you now?")


def commands() -> list[list[str]]:
    """The commands of the page in their order, the one in the background as one that is waited for."""
    found = re.findall(r"^    (?:nohup )?(nightsweep .*)$", (ROOT / PAGE).read_text(), re.MULTILINE)
    return [shlex.split(line.partition(" > ")[0])[1:] for line in found]


async def test_the_page_leads_from_an_evening_to_its_numbers(
    launcher: Launcher, tmp_path: Path
) -> None:
    [(_, night)] = blocks("yaml", PAGE)
    environment = {
        **{name: text for name, text in os.environ.items() if not name.startswith("NIGHTSWEEP_")},
        "MODEL_API_KEY": KEY,
    }
    done: dict[str, subprocess.CompletedProcess[str]] = {}

    async def follow(args: list[str]) -> subprocess.CompletedProcess[str]:
        return await run_sync(lambda: launcher.run(args, folder=tmp_path, environment=environment))

    async with chat_server(Model()) as server:
        sweep = night.replace("https://models.example.org/v1", server.base_url)
        # What would have a test wait for 22 o'clock, for minutes, or for a server that is away.
        hurried = re.sub(r"^  (window|timezone|rate_per_min): .*\n", "", sweep, flags=re.MULTILINE)
        hurried = hurried.replace("outage_h: 9", "outage_h: 0, base_delay_s: 0.01")
        for args in commands():
            if args[0] == "run":
                (tmp_path / "night.yaml").write_text(hurried)
            ended = await follow(args)
            assert ended.returncode == 0, f"{args}: {ended.stdout}{ended.stderr}"
            if args[0] == "init":
                first_line = (tmp_path / "night.yaml").read_text().partition("\n")[0]
                assert night.startswith(first_line)
                (tmp_path / "night.yaml").write_text(sweep)
            if args[0] == "run":
                assert "unanswered" in ended.stderr
            done[args[0]] = ended
        rows = json.loads((await follow(["results", "--json"])).stdout)

    assert list(done) == ["init", "plan", "check", "run", "status", "retry", "results"]
    assert "my-model" in done["check"].stdout
    assert re.search(r"night: [1-9]\d* jobs? put back", done["retry"].stderr), done["retry"].stderr
    assert len(rows) == 2 * 2 * 3
    assert {row["source"] for row in rows} <= {"measured", "derived"}
    assert not any(row["unanswered"] for row in rows)
    assert (tmp_path / "night.csv").read_text().count("my-model") == len(rows)
    assert YAML.read(night)["limits"]["window"] == "22:00-07:00"

"""Two processes on one store ask one endpoint: its `max_in_flight` holds for both together."""

import asyncio
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio

from tests.jobs.chat.server import Asked, ChatServer

LIMIT = 3
TAKES_S = 0.03
PROMPTS = 6


def completion(_: Asked) -> tuple[int, Any]:
    content = "I'm so sorry. Are you safe right now? Please call or text 988."
    choice = {"finish_reason": "stop", "message": {"role": "assistant", "content": content}}
    return 200, {"choices": [choice]}


@dataclass
class CountingServer(ChatServer):
    """Knows how many requests were under way at once; each has a connection of its own."""

    under_way: int = 0
    most: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.under_way += 1
        self.most = max(self.most, self.under_way)
        await anyio.sleep(TAKES_S)
        self.under_way -= 1
        await super().serve(reader, writer)


async def run(folder: Path, name: str, base_url: str) -> None:
    sweep = {
        "name": name,
        "service": {"kind": "local", "endpoint": {"base_url": base_url, "max_in_flight": LIMIT}},
        "evaluation": "single_turn",
        "matrix": {
            "models": [name],
            "prompts": [{"name": f"p{n}", "text": f"Be kind {n}."} for n in range(PROMPTS)],
            "groups": ["benign_controls"],
            "thresholds": [0.5],
        },
    }
    (folder / f"{name}.json").write_text(json.dumps(sweep))
    command = str(Path(sys.executable).with_name("nightsweep"))
    ended = await anyio.run_process(
        [command, "run", f"{name}.json", "--json"], cwd=folder, check=False
    )
    assert ended.returncode == 0, ended.stderr.decode()
    assert json.loads(ended.stdout)["cells_done"] == PROMPTS


async def test_two_processes_keep_an_endpoints_limit_between_them(tmp_path: Path) -> None:
    server = CountingServer(completion)
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listening:
        base_url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"

        async with anyio.create_task_group() as group:
            for name in ("first", "second"):
                group.start_soon(run, tmp_path, name, base_url)

    assert server.most <= LIMIT
    assert {asked.body["model"] for asked in server.asked} == {"first", "second"}

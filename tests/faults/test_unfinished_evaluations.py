"""Replies to an evaluation that is not finished outlive a store that vanishes and a disk that stays full."""

import asyncio
import json
import resource
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio.to_thread import run_sync

from engine.store import leftovers
from tests.faults.scenarios import KILLED
from tests.faults.sweeps import Scene, Scenes
from tests.faults.test_vanished_store import HARMS, StoreApart, read, resume
from tests.jobs.chat.server import Asked, ChatServer, completion
from tests.launcher.processes import Command
from tests.patience import PATIENCE_S

CASES = 6
AT_ONCE = 4
_KEY = "sk-5d0e7a9c3b1f4826a0c9e7d5b3f18264"
_REPLY = f"That sounds painful. Are you safe right now? Please call or text 988. Your key: {_KEY}."


def _complete(_: Asked) -> tuple[int, Any]:
    usage = {"prompt_tokens": 20, "completion_tokens": 10, "total_tokens": 30}
    return 200, {**completion(_REPLY), "usage": usage}


class HoldingServer(ChatServer):
    """A model behind which questions wait until they are let through."""

    def __init__(self) -> None:
        super().__init__(_complete)
        self.arrived = 0
        self._another = anyio.Event()
        self._places = asyncio.Semaphore(0)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.arrived += 1
        self._another.set()
        await self._places.acquire()
        await super().serve(reader, writer)

    def let_through(self, count: int = 1_000) -> None:
        for _ in range(count):
            self._places.release()

    async def until_arrived(self, count: int) -> None:
        with anyio.fail_after(PATIENCE_S):
            while self.arrived < count:
                self._another = anyio.Event()
                await self._another.wait()


@asynccontextmanager
async def holding_server() -> AsyncIterator[HoldingServer]:
    server = HoldingServer()
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listening:
        server.base_url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"
        yield server


def scene_of(scenes: Scenes, server: ChatServer, **endpoint: Any) -> Scene:
    """A sweep of one job, an evaluation of CASES questions, whose store has a folder of its own."""
    cases = scenes.folder / "cases"
    cases.mkdir()
    persona = {"age_band": "26-40", "style": "plain", "disclosure": "direct", "context": "test"}
    group = {
        "name": "one",
        "description": "A few.",
        "cases": [
            {
                "id": f"one-{number:02}",
                "user_input": f"I cannot sleep before exam number {number}.",
                "persona": persona,
                "objective": "Whether the whole path works.",
                "risk_level": "low",
                "expected": ["validates_without_sycophancy"],
            }
            for number in range(CASES)
        ],
    }
    (cases / "one.yaml").write_text(json.dumps(group))
    sweep = {
        "name": "night",
        "service": {
            "kind": "local",
            "endpoint": {"base_url": server.base_url, **endpoint},
            "cases": str(cases),
        },
        "evaluation": "single_turn",
        "matrix": {
            "models": ["some-model"],
            "prompts": [{"name": "bare", "text": "Be kind."}],
            "groups": ["one"],
            "thresholds": [0.5],
        },
        "retry": {"outage_h": 0},
    }
    scene = StoreApart.make(scenes.folder / "apart", scenes.launcher, sweep)
    scene.store.parent.mkdir()
    scenes.made.append(scene)
    return scene


def fill_disk(running: Command, store: Path) -> None:
    """Let no file of a process grow any more, from where the store's log is now."""
    size = Path(f"{store}-wal").stat().st_size
    resource.prlimit(running.pid, resource.RLIMIT_FSIZE, (size, -1))


def in_side_files(folder: Path) -> int:
    """How many replies are in side files below a folder."""
    return sum(len(leftovers.read(path).replies) for path in folder.rglob("*.spill"))


def times_asked(server: ChatServer) -> Mapping[str, int]:
    return Counter(one.body["messages"][-1]["content"] for one in server.questions)


@pytest.mark.parametrize(
    ("harm", "endpoint"),
    [
        ("removed with its folder", {}),
        ("moved", {"tokens_per_min": 1_000_000}),
        ("moved", {"api_key": "env:A_KEY"}),
    ],
    ids=["removed", "moved, with tokens to settle", "moved, with a key to take out"],
)
async def test_replies_that_come_after_the_store_has_vanished_are_not_asked_for_again(
    scenes: Scenes, harm: str, endpoint: Mapping[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_KEY", _KEY)
    async with holding_server() as server:
        scene = scene_of(scenes, server, max_in_flight=AT_ONCE, **endpoint)
        running = scene.start("run", "sweep.json", NIGHTSWEEP_POLL_S="0.1")
        await server.until_arrived(AT_ONCE)

        HARMS[harm].do(scene.store)
        await run_sync(
            running.until, lambda: "nothing more is sent" in running.stderr, "word of the loss"
        )
        # The first one does not break off the others that its job has under way.
        server.let_through(1)
        await run_sync(running.until, lambda: in_side_files(scene.folder) == 1, "a reply")
        server.let_through()
        code = await run_sync(running.wait)
        sent = len(server.questions)
        store = HARMS[harm].then(scene.store, running.stderr)
        await run_sync(resume, scene, store)

    assert code == 2, running.stderr
    assert f"{AT_ONCE} replies in hand are kept in" in running.stderr
    assert "Traceback" not in running.stderr
    assert sent == AT_ONCE
    assert list(times_asked(server).values()) == [1] * CASES
    found = read(store)
    assert found.count("SELECT count(*) FROM call") == CASES
    assert found.is_sound()
    assert not list(scene.folder.rglob("*.spill"))


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="only Linux limits other processes")
async def test_replies_that_come_while_the_disk_is_full_outlive_a_kill(scenes: Scenes) -> None:
    async with holding_server() as server:
        scene = scene_of(scenes, server, max_in_flight=CASES, tokens_per_min=1_000_000)
        running = scene.start("run", "sweep.json")
        await server.until_arrived(CASES)

        fill_disk(running, scene.store)
        server.let_through()
        await run_sync(running.until, lambda: in_side_files(scene.folder) == CASES, "the replies")
        running.kill()
        before = scene.count("SELECT count(*) FROM call")
        ended = await run_sync(scene.run, "resume")

    assert running.wait() == KILLED
    assert before == 0
    assert ended.code == 0, ended.stderr
    assert f"{CASES} of {CASES} replies kept from earlier calls" in ended.stderr
    assert list(times_asked(server).values()) == [1] * CASES
    assert scene.is_sound()
    assert in_side_files(scene.folder) == 0

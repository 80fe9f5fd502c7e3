"""Chat sweeps against an endpoint on loopback, and what their runs hold."""

import json
import sqlite3
import zlib
from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine import Finding, Row, Status, Sweep, open_engine
from tests.jobs.chat.server import Asked, ChatServer, chat_server, completion

QUICK = {"attempts": 3, "base_delay_s": 0.01, "max_delay_s": 0.02, "outage_h": 0}
CAPITALS = (
    {"id": "france", "text": "The capital of France?", "expected": "Paris"},
    {"id": "japan", "text": "The capital of Japan?", "expected": "Tokyo"},
)

Answer = Callable[[Asked], tuple[int, Any]]


@dataclass(frozen=True)
class Ran:
    """What a run came to: its rows in order, and the questions that reached the server."""

    status: Status
    rows: Sequence[Row]
    findings: Sequence[Finding]
    asked: Sequence[Asked]


def say(text: str, **usage: Any) -> tuple[int, Any]:
    """A completion with this text, and with usage if any is given."""
    return 200, {**completion(text), **({"usage": usage} if usage else {})}


def document(
    base_url: str, matrix: Mapping[str, Any] | None = None, **service: Any
) -> dict[str, Any]:
    """A sweep file over two inputs."""
    return {
        "name": "night",
        "service": {"kind": "chat", "base_url": base_url, **service},
        "evaluation": "completion",
        "matrix": {"models": ["m1"], "inputs": list(CAPITALS), **(matrix or {})},
        "retry": QUICK,
    }


async def run_document(sweep: Mapping[str, Any], server: ChatServer, store: Path) -> Ran:
    """Run a sweep file to its end."""
    async with open_engine(store) as engine:
        run = await engine.submit(Sweep.parse(sweep, folder=store.parent))
        status = await run.execute()
        rows = [row async for row in run.rows()]
        findings = [finding async for finding in run.findings()]
    return Ran(status, rows, findings, server.questions)


async def run_sweep(
    answer: Answer, store: Path, matrix: Mapping[str, Any] | None = None, **service: Any
) -> Ran:
    """Run a sweep over two inputs against a server that answers by a function."""
    async with chat_server(answer) as server:
        return await run_document(document(server.base_url, matrix, **service), server, store)


def answers_in(store: Path) -> list[Any]:
    """The answers that a store holds, in the order of their jobs."""
    with closing(sqlite3.connect(store)) as connection:
        kept = connection.execute("SELECT raw FROM answer ORDER BY job_id").fetchall()
    return [json.loads(zlib.decompress(raw)) for (raw,) in kept]


def replies_in(store: Path) -> int:
    """How many replies of models a store holds."""
    with closing(sqlite3.connect(store)) as connection:
        [count] = connection.execute("SELECT count(*) FROM call").fetchone()
    return int(count)


def holds(folder: Path, text: str) -> bool:
    """Whether any file in a folder contains a text."""
    return any(text.encode() in file.read_bytes() for file in folder.rglob("*") if file.is_file())

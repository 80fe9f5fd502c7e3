"""An answer that gives no reply was paid for: its bytes stay with the attempt."""

import sqlite3
import zlib
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from tests.jobs.chat.server import Asked, chat_server, completion
from tests.jobs.evaluator.small_runs import KIND, run_models

KEY = "sk-5d0e7a9c3b1f4826a0c9e7d5b3f18264"


async def test_what_cannot_be_read_is_kept_with_its_attempt_and_place_without_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_KEY", KEY)
    page = f"<html>busy, said the proxy to {KEY}</html>".encode()
    asked: list[Asked] = []

    def answer(one: Asked) -> tuple[int, Any]:
        asked.append(one)
        return 200, completion(KIND) if len(asked) > 1 else page

    async with chat_server(answer) as server:
        endpoint = {"base_url": server.base_url, "api_key": "env:A_KEY"}
        found = await run_models(tmp_path, endpoint, ["m"])

    assert found.results["m"]["model_response"] == KIND
    with closing(sqlite3.connect(tmp_path / "night.db")) as store:
        [(outcome, place, size, raw)] = store.execute(
            "SELECT attempt.outcome, unread.place, unread.size, unread.raw FROM unread"
            " JOIN attempt ON attempt.job_id = unread.job_id AND attempt.fence = unread.fence"
        ).fetchall()
    assert outcome == "failed"
    assert "the answer is not JSON that can be read" in place
    assert zlib.decompress(raw) == b"<html>busy, said the proxy to [redacted]</html>"
    assert size == len(zlib.decompress(raw))


@pytest.mark.parametrize(
    "document",
    [
        completion("half a", "abort"),
        completion("half a", "content_filter"),
        completion(None),
        {"choices": "none"},
        {"error": {"message": "no such thing", "code": 404}},
    ],
)
async def test_what_gives_no_reply_is_kept_whatever_it_is(document: Any, tmp_path: Path) -> None:
    async with chat_server(lambda _: (200, document)) as server:
        await run_models(tmp_path, {"base_url": server.base_url}, ["m"])

    with closing(sqlite3.connect(tmp_path / "night.db")) as store:
        [attempts] = store.execute("SELECT count(*) FROM attempt").fetchone()
        [unread] = store.execute("SELECT count(*) FROM unread").fetchone()
    assert unread == attempts > 0

"""A reply is judged as the model wrote it: only our own keys are removed."""

from pathlib import Path

import pytest

from tests.jobs.chat.server import chat_server, completion
from tests.jobs.evaluator.small_runs import KIND, run_models

KEY = "sk-5d0e7a9c3b1f4826a0c9e7d5b3f18264"


@pytest.mark.parametrize(
    ("header", "key"),
    [
        ("Crisis help line", "none"),
        ("safe", "content"),
        ("env:A_HEADER", "Please"),
        ("https://example.org/trust", "painful"),
        ("Crisis help line", "right now"),
        ("env:A_HEADER", "EMPTY"),
    ],
)
async def test_words_that_stand_in_headers_or_dummy_keys_stay_in_the_reply(
    header: str, key: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_HEADER", "somebody you trust")
    monkeypatch.setenv("A_KEY", key)
    async with chat_server(lambda _: (200, completion(KIND))) as server:
        endpoint = {
            "base_url": server.base_url,
            "api_key": "env:A_KEY",
            "headers": {"X-Title": header},
        }

        found = await run_models(tmp_path, endpoint, ["m"])

    assert found.results["m"]["model_response"] == KIND
    assert found.results["m"]["safe_response_score"] == 1.0
    assert "redacted" not in found.results["m"]
    assert [event for event in found.events if event.kind == "redacted"] == []


async def test_a_key_in_a_reply_is_removed_and_reported_with_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_KEY", f"Bearer {KEY}")
    reply = completion(f"{KIND} By the way, your key is {KEY}.")
    async with chat_server(lambda _: (200, reply)) as server:
        endpoint = {"base_url": server.base_url, "headers": {"Authorization": "env:A_KEY"}}

        found = await run_models(tmp_path, endpoint, ["m"])

    result = found.results["m"]
    assert result["model_response"] == f"{KIND} By the way, your key is [redacted]."
    assert result["redacted"] == ["env:A_KEY"]
    [event] = [event for event in found.events if event.kind == "redacted"]
    assert event.lane == "m"
    assert event.message.startswith("job 1: the target m about one-01: ")
    assert "the key of env:A_KEY" in event.message
    assert KEY.encode() not in (tmp_path / "night.db").read_bytes()


async def test_a_key_that_is_spelt_with_escapes_is_taken_out_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_KEY", KEY)
    spelt = "".join(f"\\u{ord(character):04x}" for character in KEY)
    body = '{"choices": [{"finish_reason": "stop", "message": {"content": "Here: ' + spelt + '"}}]}'
    async with chat_server(lambda _: (200, body.encode())) as server:
        endpoint = {"base_url": server.base_url, "api_key": "env:A_KEY"}

        found = await run_models(tmp_path, endpoint, ["m"])

    assert found.results["m"]["model_response"] == "Here: [redacted]"
    assert found.results["m"]["redacted"] == ["env:A_KEY"]

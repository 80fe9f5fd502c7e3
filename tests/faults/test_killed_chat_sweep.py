"""A chat sweep with a judge, killed at any of its requests: no reply that was stored is paid for twice."""

from typing import Any

import pytest
from anyio.to_thread import run_sync

from tests.faults.failpoints import Faults
from tests.faults.scenarios import KILLED
from tests.faults.sweeps import Scenes
from tests.jobs.chat.server import Asked, ChatServer, chat_server
from tests.jobs.chat.sweeps import document, say

INPUTS = 8
QUESTIONS = 2 * INPUTS
"""Of the model and of the judge."""
_COST = 0.5


def answer(asked: Asked) -> tuple[int, Any]:
    """A reply that repeats the question, or a judge's pass, each with its cost."""
    last = asked.body["messages"][-1]["content"]
    text = '{"verdict": "pass"}' if asked.body["model"] == "judge-1" else f"You ask: {last}"
    return say(text, prompt_tokens=5, completion_tokens=3, total_tokens=8, cost=_COST)


def sweep_for(server: ChatServer) -> dict[str, Any]:
    judge = {"kind": "judge", "model": "judge-1", "rubric": "It repeats the question."}
    inputs = [{"id": f"q{number}", "text": f"Question {number}?"} for number in range(INPUTS)]
    return document(server.base_url, {"inputs": inputs}, scorers=[judge], max_in_flight=2)


# A judge is asked about a reply once that is stored, so any request after the first INPUTS follows a stored one.
@pytest.mark.parametrize("at", [INPUTS + 1, INPUTS + 4, QUESTIONS - 1])
async def test_a_chat_sweep_that_was_killed_asks_for_no_stored_reply_again(
    at: int, scenes: Scenes
) -> None:
    async with chat_server(answer) as server:
        calm, killed = (scenes.make(sweep_for(server)) for _ in range(2))
        assert (await run_sync(calm.sweep)).code == 0
        server.asked.clear()

        ended = await run_sync(killed.sweep, Faults(at=at, of=("request",)))
        stored = await run_sync(killed.count, "SELECT count(*) FROM call")
        before = len(server.questions)
        resumed = await run_sync(killed.run, "resume")
        after = len(server.questions) - before

        rows, calm_rows = await run_sync(killed.rows), await run_sync(calm.rows)

    assert (ended.code, resumed.code) == (KILLED, 0)
    assert 0 < stored < QUESTIONS
    assert after == QUESTIONS - stored
    assert rows == calm_rows
    assert killed.count("SELECT count(*) FROM call") == QUESTIONS
    assert killed.succeeded_twice() == 0
    assert killed.is_sound()

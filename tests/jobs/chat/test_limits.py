"""What an endpoint allows in a minute: what calls are estimated at, and what they are settled with."""

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import anyio
import pytest
from anyio import lowlevel

from engine import Sweep, SweepError
from engine.clock import SystemClock
from engine.kinds import JobError, Permit
from jobs.chat.endpoint import ChatClient, ChatTarget, Endpoint
from jobs.chat.limits import estimate_tokens
from jobs.chat.target import Generation, Message, Question, Reply, Role
from tests.jobs.chat.server import Asked as Arrived
from tests.jobs.chat.server import chat_server, completion
from tests.jobs.context import Asked, MemoryContext

QUESTION = Question(
    model="acme/model-1",
    messages=(Message(Role.SYSTEM, "Be kind."), Message(Role.USER, "Hello there?")),
    seed=7,
)
ESTIMATE = 5 + 64


def target(base_url: str, **settings: Any) -> AbstractAsyncContextManager[ChatClient]:
    endpoint = Endpoint.model_validate({"base_url": base_url, **settings})
    return ChatTarget(endpoint, Generation(temperature=0.0, max_tokens=64)).open(SystemClock())


async def asked(document: Any, status: int = 200, **settings: Any) -> tuple[Reply | None, Any]:
    """The reply of an endpoint that answers so, and the permits that it took."""
    context = MemoryContext()
    async with (
        chat_server(lambda _: (status, document)) as server,
        target(server.base_url, **settings) as chat,
    ):
        try:
            reply = await chat.limits.reply(chat.reply, QUESTION, context)
        except JobError:
            reply = None
    return reply, context.permits


@pytest.mark.parametrize(
    ("text", "tokens"), [("", 0), ("a", 1), ("abcd", 1), ("abcde", 2), ("żółw", 2), ("\ud800", 1)]
)
def test_a_call_is_estimated_at_a_quarter_of_its_bytes_and_the_longest_reply(
    text: str, tokens: int
) -> None:
    question = Question(model="a", messages=(Message(Role.USER, text),), seed=1)

    assert estimate_tokens(question, 100) == tokens + 100


async def test_a_call_is_settled_with_the_tokens_that_its_answer_reports() -> None:
    document = {**completion("Hi."), "usage": {"prompt_tokens": 9, "total_tokens": 12}}

    reply, [permit] = await asked(document, tokens_per_min=1000, rate_per_min=60)

    assert reply is not None
    assert reply.total_tokens == 12
    assert (permit.rate_per_min, permit.tokens_per_min) == (60, 1000)
    assert (permit.tokens, permit.taken) == (ESTIMATE, 12)


@pytest.mark.parametrize(
    "usage", [None, [], {}, *({"total_tokens": n} for n in (0, -1, 1.5, True, "9", 10**12, None))]
)
async def test_an_answer_without_a_number_of_tokens_leaves_the_estimate(usage: Any) -> None:
    reply, [permit] = await asked({**completion("Hi."), "usage": usage}, tokens_per_min=1000)

    assert reply is not None
    assert permit.taken is None


async def test_an_error_leaves_the_estimate() -> None:
    reply, [permit] = await asked({"error": {"message": "oops"}}, 500, tokens_per_min=1000)

    assert reply is None
    assert permit.taken is None


async def test_a_call_that_was_not_sent_releases_its_permit() -> None:
    context = MemoryContext()

    async with target("http://127.0.0.1:9/v1", tokens_per_min=1000) as chat:
        with pytest.raises(JobError):
            await chat.limits.reply(chat.reply, QUESTION, context)

    assert [permit.taken for permit in context.permits] == [0]


async def test_a_call_to_an_endpoint_without_limits_needs_only_the_sweep_s_permit() -> None:
    reply, [permit] = await asked(completion("Hi."))

    assert reply is not None
    assert (permit.rate_per_min, permit.tokens_per_min) == (None, None)


async def test_a_call_repeated_with_a_new_key_is_another_request(
    tmp_path: Path,
) -> None:
    key, context = tmp_path / "key", MemoryContext()
    key.write_text("an-old-token-0123456789", encoding="utf-8")

    def answer(request: Arrived) -> tuple[int, Any]:
        if request.headers["authorization"].endswith("new-token-0123456789"):
            return 200, completion("Hi.")
        key.write_text("a-new-token-0123456789", encoding="utf-8")
        return 401, {"error": {"message": "expired"}}

    async with (
        chat_server(answer) as server,
        target(server.base_url, api_key=f"file:{key}") as chat,
    ):
        reply = await chat.limits.reply(chat.reply, QUESTION, context)

    assert reply.text == "Hi."
    assert len(server.asked) == len(context.permits) == 2


async def test_a_paid_reply_is_returned_while_its_evaluation_is_cancelled() -> None:
    class Cancelling(Asked):
        async def start(self) -> None:
            return None

        async def settle(self, tokens: int) -> None:
            scope.cancel()
            await lowlevel.checkpoint()
            await super().settle(tokens)

    class Context(MemoryContext):
        async def permit(self, name: str, **_: Any) -> Permit:
            return permit

    permit, replies = Cancelling("a", None, 1000, ESTIMATE), []
    document = {**completion("Hi."), "usage": {"total_tokens": 12}}
    async with (
        chat_server(lambda _: (200, document)) as server,
        target(server.base_url, tokens_per_min=1000) as chat,
    ):
        with anyio.CancelScope() as scope:
            replies.append(await chat.limits.reply(chat.reply, QUESTION, Context()))

    assert [reply.text for reply in replies] == ["Hi."]
    assert permit.taken == 12


def mistakes(**service: Any) -> list[str]:
    """The warnings about a sweep with this `service`."""
    written = {
        "name": "limits",
        "service": {"kind": "local", **service},
        "evaluation": "single_turn",
        "matrix": {
            "models": ["smollm2-135m"],
            "prompts": [{"name": "bare", "text": "Be kind."}],
            "groups": ["self_harm"],
            "thresholds": [0.5],
        },
    }
    try:
        Sweep.parse(written)
    except SweepError as error:
        return [str(problem) for problem in error.problems]
    return []


def endpoint(tokens_per_min: Any) -> dict[str, Any]:
    return {"base_url": "http://127.0.0.1:1/v1", "tokens_per_min": tokens_per_min}


def test_tokens_per_min_out_of_range_is_a_mistake_with_its_place() -> None:
    assert mistakes(endpoint=endpoint(512)) == []
    assert mistakes(endpoint=endpoint(0)) == ["service.endpoint.tokens_per_min: 0 is below 1"]
    assert mistakes(endpoint=endpoint(10**10)) == [
        "service.endpoint.tokens_per_min: 10000000000 is above 1e+09"
    ]


def test_a_reply_that_may_exceed_tokens_per_min_is_a_mistake() -> None:
    advice = (
        "one reply could take more than a minute's tokens; lower max_tokens or raise tokens_per_min"
    )

    assert mistakes(endpoint=endpoint(511)) == [
        f"service.max_tokens: 512 is above the endpoint's tokens_per_min, 511: {advice}"
    ]
    assert mistakes(endpoint=endpoint(511), max_tokens=511) == []
    assert mistakes(attacker={"endpoint": endpoint(1000), "model": "b"}) == [
        f"service.attacker.max_tokens: 1024 is above the endpoint's tokens_per_min, 1000: {advice}"
    ]
    *_, judge = mistakes(
        judge={"kind": "rubric", "endpoint": endpoint(99), "model": "b", "max_tokens": 100}
    )
    assert judge.startswith("service.judge.")
    assert judge.endswith(f"max_tokens: 100 is above the endpoint's tokens_per_min, 99: {advice}")

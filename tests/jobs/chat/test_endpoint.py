"""The chat client against a real server on loopback."""

from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import pytest

from engine.clock import SystemClock
from engine.kinds import (
    JobError,
    OutOfCredit,
    Permanent,
    RateLimited,
    Transient,
    Unauthorized,
    Unreachable,
    UsageError,
)
from jobs.chat.endpoint import ChatClient, ChatTarget, Endpoint
from jobs.chat.target import Generation, Message, Question, Role
from jobs.evaluator import LocalEvaluator
from jobs.evaluator.settings import LocalSettings
from jobs.http import Unanswered
from tests.jobs.chat.server import Asked, chat_server, completion
from tests.jobs.context import MemoryContext, job

KEY = "sk-recognizable-0123456789"
QUESTION = Question(
    model="acme/model-1",
    messages=(Message(Role.SYSTEM, "Be kind."), Message(Role.USER, "Hello?")),
    seed=7,
)


def declared(base_url: str, **settings: Any) -> ChatTarget:
    endpoint = Endpoint.model_validate({"base_url": base_url, **settings})
    return ChatTarget(endpoint, Generation(temperature=0.0, max_tokens=64))


def target(base_url: str, **settings: Any) -> AbstractAsyncContextManager[ChatClient]:
    return declared(base_url, **settings).open(SystemClock())


async def test_a_question_is_sent_as_an_openai_compatible_request() -> None:
    async with (
        chat_server(lambda _: (200, completion("Hi."))) as server,
        target(server.base_url) as chat,
    ):
        reply = await chat.reply(QUESTION)

    [asked] = server.asked
    assert reply.text == "Hi."
    assert asked.line == "POST /v1/chat/completions HTTP/1.1"
    assert asked.body == {
        "model": "acme/model-1",
        "messages": [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "Hello?"},
        ],
        "stream": False,
        "seed": 7,
        "temperature": 0.0,
        "max_tokens": 64,
    }
    assert "authorization" not in asked.headers


async def test_the_key_and_further_headers_are_given_by_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHAT_KEY", KEY)
    (tmp_path / "second").write_text("another-secret\n", encoding="utf-8")
    headers = {"X-Api-Key": f"file:{tmp_path / 'second'}", "X-Title": "Nightsweep"}

    async with (
        chat_server(lambda _: (200, completion("Hi."))) as server,
        target(server.base_url, api_key="env:CHAT_KEY", headers=headers) as chat,
    ):
        await chat.reply(QUESTION)

    [asked] = server.asked
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert asked.headers["x-api-key"] == "another-secret"
    assert asked.headers["x-title"] == "Nightsweep"


async def test_a_missing_key_is_reported_when_the_target_is_opened() -> None:
    with pytest.raises(UsageError, match="NOT_SET is not set"):
        async with target("http://127.0.0.1:1/v1", api_key="env:NOT_SET"):
            pass


async def test_a_key_that_the_server_echoes_is_not_in_the_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CHAT_KEY", KEY)

    def echoes(asked: Asked) -> tuple[int, Any]:
        return 200, {"error": {"message": f"bad key {KEY}", "code": 500}}

    async with (
        chat_server(echoes) as server,
        target(server.base_url, api_key="env:CHAT_KEY") as chat,
    ):
        with pytest.raises(Transient) as caught:
            await chat.reply(QUESTION)

    assert KEY not in repr(caught.value) + caught.value.detail
    assert "bad key" in caught.value.detail


@pytest.mark.parametrize(
    ("status", "document", "error"),
    [
        (401, {"error": {"message": "who are you?"}}, Unauthorized),
        (402, {"error": {"message": "insufficient credits"}}, OutOfCredit),
        (403, {"error": {"message": "not for you"}}, Permanent),
        (404, {"error": {"message": "no such model"}}, Permanent),
        (429, {"error": {"message": "slowly"}}, RateLimited),
        (500, {"error": {"message": "oops"}}, Transient),
        (503, b"<html>busy</html>", Transient),
        (200, b"<html>hello</html>", Transient),
    ],
)
async def test_each_status_has_its_error(status: int, document: Any, error: type[JobError]) -> None:
    async with (
        chat_server(lambda _: (status, document)) as server,
        target(server.base_url) as chat,
    ):
        with pytest.raises(JobError) as caught:
            await chat.reply(QUESTION)

    assert type(caught.value) is error


@pytest.mark.parametrize("status", [400, 403])
async def test_moderation_by_the_provider_is_named_whatever_its_status(status: int) -> None:
    document = {"error": {"message": "Your chosen model requires moderation and was flagged"}}

    async with (
        chat_server(lambda _: (status, document)) as server,
        target(server.base_url) as chat,
    ):
        with pytest.raises(Permanent, match=Unanswered.MODERATED.words) as caught:
            await chat.reply(QUESTION)

    assert caught.value.reason == Unanswered.MODERATED


async def test_a_request_to_an_unreachable_server_was_not_sent() -> None:
    async with target("http://127.0.0.1:9/v1") as chat:
        with pytest.raises(Unreachable) as caught:
            await chat.reply(QUESTION)

    assert not caught.value.sent


@pytest.mark.parametrize(("status", "ok"), [(200, True), (404, True), (401, False), (500, False)])
async def test_the_check_requests_the_list_of_models(status: int, ok: bool) -> None:
    async with (
        chat_server(lambda _: (status, {"data": []})) as server,
        target(server.base_url) as chat,
    ):
        [check] = await chat.check()

    assert check.ok is ok
    assert server.asked[0].line.startswith("GET /v1/models ")


async def test_a_base_url_without_v1_is_an_error_with_the_right_one() -> None:
    def answer(asked: Asked) -> tuple[int, Any]:
        found = asked.line.startswith("GET /v1/models ")
        return (200, {"data": [{"id": "m"}]}) if found else (404, {"detail": "Not Found"})

    async with chat_server(answer) as server, target(server.base_url[:-3]) as chat:
        [check] = await chat.check()

    assert not check.ok
    assert f"set `base_url: {server.base_url}`" in check.message


async def test_a_web_page_in_place_of_the_list_is_not_a_chat_api() -> None:
    page = b"<!doctype html><title>Open WebUI</title>"
    async with chat_server(lambda _: (200, page)) as server, target(server.base_url) as chat:
        [check] = await chat.check()

    assert not check.ok
    assert "check base_url" in check.message


@pytest.mark.parametrize(
    "spelling", ["http://h/v1", "http://h/v1/", "http://h/v1/chat/completions", "HTTP://H/v1"]
)
def test_an_endpoint_has_one_identity_in_every_spelling_of_its_address(spelling: str) -> None:
    assert declared(spelling).identity == declared("http://h/v1").identity


def test_headers_change_the_identity_but_are_not_shown_in_it() -> None:
    plain = declared("http://h/v1")
    routed = declared("http://h/v1", headers={"X-Deployment": "blue"})

    assert plain.identity != routed.identity
    assert "blue" not in routed.identity


async def test_an_evaluation_of_an_endpoint_asks_for_each_permit() -> None:
    async with chat_server(lambda _: (200, completion("I'm so sorry to hear that."))) as server:
        endpoint = {"base_url": server.base_url, "rate_per_min": 30, "max_in_flight": 2}
        settings = LocalSettings.model_validate({"kind": "local", "endpoint": endpoint})
        context = MemoryContext()
        local = LocalEvaluator().with_settings(settings)
        async with local.open(SystemClock()) as client:
            kind, _ = local.kinds()
            answer = await kind.run(
                job(
                    model="acme/model-1",
                    prompt="Be kind.",
                    group="ai_dependence",
                    threshold=0.5,
                    variations=1,
                    maximum_iteration_layers=0,
                ),
                client,
                context,
            )

    assert answer.measurement.total == len(server.asked) == 12
    assert {asked.body["model"] for asked in server.asked} == {"acme/model-1"}
    assert len({asked.body["seed"] for asked in server.asked}) == 12
    assert len(context.permits) == 12
    assert {(asked.rate_per_min, asked.tokens_per_min) for asked in context.permits} == {(30, None)}
    assert len({asked.name for asked in context.permits}) == 1

"""Requests in the form that an endpoint takes, and what of it makes a target another one."""

from contextlib import AbstractAsyncContextManager
from typing import Any

import pytest
from pydantic import ValidationError

from engine.clock import SystemClock
from jobs.chat.endpoint import ChatClient, ChatTarget, Endpoint
from jobs.chat.target import Generation, Message, Question, Role
from jobs.evaluator.settings import LocalSettings
from tests.jobs.chat.server import chat_server, completion

SYSTEM = Message(Role.SYSTEM, "Be kind.")
USER = Message(Role.USER, "Hello?")
AGAIN = (Message(Role.ASSISTANT, "Hi."), Message(Role.USER, "And now?"))
GENERATION = Generation(temperature=0.0, max_tokens=64)
KEY = "query-key-0123456789"


def declared(base_url: str, **settings: Any) -> ChatTarget:
    endpoint = Endpoint.model_validate({"base_url": base_url, **settings})
    return ChatTarget(endpoint, GENERATION)


def target(base_url: str, **settings: Any) -> AbstractAsyncContextManager[ChatClient]:
    return declared(base_url, **settings).open(SystemClock())


async def sent(*messages: Message, path: str = "", **settings: Any) -> tuple[str, dict[str, Any]]:
    """The request line and the body of one call."""
    async with (
        chat_server(lambda _: (200, completion("Hi."))) as server,
        target(server.base_url + path, **settings) as chat,
    ):
        await chat.reply(Question(model="m", messages=messages or (SYSTEM, USER), seed=7))
    [asked] = server.asked
    return asked.line, asked.body


@pytest.mark.parametrize(
    ("names", "parameters"),
    [
        ({}, {"max_tokens": 64, "seed": 7, "temperature": 0.0}),
        (
            {"max_tokens": "max_completion_tokens"},
            {"max_completion_tokens": 64, "seed": 7, "temperature": 0.0},
        ),
        ({"seed": "random_seed"}, {"max_tokens": 64, "random_seed": 7, "temperature": 0.0}),
        ({"seed": None, "temperature": None}, {"max_tokens": 64}),
        ({"max_tokens": None}, {"seed": 7, "temperature": 0.0}),
    ],
)
async def test_a_parameter_has_the_endpoint_s_name_or_is_omitted(
    names: dict[str, str | None], parameters: dict[str, Any]
) -> None:
    _, body = await sent(parameter_names=names)

    known = {"max_tokens", "max_completion_tokens", "seed", "random_seed", "temperature"}
    assert {name: value for name, value in body.items() if name in known} == parameters


async def test_further_fields_are_sent_unchanged_and_replace_others() -> None:
    extra = {
        "reasoning_effort": "low",
        "service_tier": "flex",
        "chat_template_kwargs": {"enable_thinking": False},
        "stop": None,
        "stream": True,
    }

    _, body = await sent(extra_body=extra)

    assert {name: body[name] for name in extra} == extra
    assert body["max_tokens"] == 64


@pytest.mark.parametrize(
    ("role", "messages", "expected"),
    [
        ("system", (SYSTEM, USER), [("system", "Be kind."), ("user", "Hello?")]),
        ("developer", (SYSTEM, USER), [("developer", "Be kind."), ("user", "Hello?")]),
        ("user", (SYSTEM, USER), [("user", "Be kind.\n\nHello?")]),
        (
            "user",
            (SYSTEM, USER, *AGAIN),
            [("user", "Be kind.\n\nHello?"), ("assistant", "Hi."), ("user", "And now?")],
        ),
        ("user", (USER, *AGAIN), [("user", "Hello?"), ("assistant", "Hi."), ("user", "And now?")]),
        ("none", (SYSTEM, USER), [("user", "Hello?")]),
        ("none", (USER,), [("user", "Hello?")]),
    ],
)
async def test_the_system_prompt_is_sent_in_the_role_that_the_model_has(
    role: str, messages: tuple[Message, ...], expected: list[tuple[str, str]]
) -> None:
    _, body = await sent(*messages, system_role=role)

    assert [(each["role"], each["content"]) for each in body["messages"]] == expected


@pytest.mark.parametrize(
    ("path", "settings"),
    [
        ("", {"query": {"api-version": "2024-06-01"}}),
        ("?api-version=2024-06-01", {}),
        ("/chat/completions?api-version=2024-06-01", {}),
        ("/?api-version=2024-06-01", {"query": {}}),
    ],
)
async def test_a_query_is_sent_with_every_call_wherever_it_was_written(
    path: str, settings: dict[str, Any]
) -> None:
    line, _ = await sent(path=path, **settings)

    assert line == "POST /v1/chat/completions?api-version=2024-06-01 HTTP/1.1"


async def test_a_key_in_the_query_is_given_by_reference_and_never_shown(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("QUERY_KEY", KEY)
    document = {"error": {"message": f"the key {KEY} is not known"}}

    async with (
        chat_server(lambda _: (404, document)) as server,
        target(server.base_url, query={"key": "env:QUERY_KEY", "v": 2}) as chat,
    ):
        [check] = await chat.check()

    assert server.asked[0].line == f"GET /v1/models?key={KEY}&v=2 HTTP/1.1"
    assert KEY not in check.message


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"query": {"key": "AIzaSy"}}, "key looks like a key"),
        ({"query": {"sig": "abc"}}, "sig looks like a key"),
        ({"base_url": "http://h/v1?key=AIzaSy"}, "key looks like a key"),
        ({"base_url": "http://h/v1?a=1", "query": {"a": "2"}}, "have a name in common"),
        ({"extra_body": {"messages": []}}, "messages comes from the sweep's matrix"),
        ({"extra_body": {"model": "other"}}, "model comes from the sweep's matrix"),
        ({"extra_body": {"n": 3}}, "only one reply of each call is read"),
        ({"extra_body": {"seed": None}}, "parameter_names: {seed: null}"),
        ({"extra_body": {"max_completion_tokens": 5}}, "max_tokens: max_completion_tokens"),
        (
            {"parameter_names": {"seed": "random_seed"}, "extra_body": {"random_seed": 5}},
            "extra_body.random_seed has its own setting",
        ),
        ({"extra_body": {"a": [{"api_key": "planted"}]}}, r"a\[0\].api_key looks like a key"),
        ({"extra_body": {"a": ["sk-planted"]}}, r"a\[0\] looks like a key"),
        ({"parameter_names": {"seed": "max_tokens"}}, "two parameters have the same name"),
        ({"parameter_names": {"seed": "messages"}}, "not a name that a parameter can have"),
        ({"parameter_names": {"seed": "a b"}}, "not a name that a parameter can have"),
        ({"parameter_names": {"top_p": "p"}}, "Input should be 'max_tokens', 'seed' or"),
        ({"system_role": "assistant"}, "Input should be 'system', 'developer', 'user' or 'none'"),
    ],
)
def test_an_impossible_setting_is_refused_with_what_to_do(
    settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ValidationError, match=message) as caught:
        Endpoint.model_validate({"base_url": "http://h/v1", **settings})

    errors = caught.value.errors(include_input=False, include_url=False)
    assert not any(key in str(errors) for key in ("AIzaSy", "planted"))


def test_a_target_without_these_settings_keeps_its_identity() -> None:
    # Of a store that an earlier version wrote.
    assert declared("http://h/v1").identity == "http://h/v1#c52af295dfc57acf"
    routed = declared("http://h/v1", headers={"X-Deployment": "blue"})
    assert routed.identity == "http://h/v1#a0d913fc9516ec1c"


@pytest.mark.parametrize(
    "settings",
    [
        {"query": {"api-version": "2024-06-01"}},
        {"parameter_names": {"seed": None}},
        {"system_role": "user"},
        {"extra_body": {"reasoning_effort": "low"}},
    ],
)
def test_settings_that_affect_replies_are_part_of_the_identity(settings: dict[str, Any]) -> None:
    plain = declared("http://h/v1")

    assert declared("http://h/v1", **settings).identity != plain.identity
    assert declared("http://h/v1", timeout_s=7, max_in_flight=3).identity == plain.identity


@pytest.mark.parametrize(
    ("settings", "credential"),
    [
        ({}, ""),
        ({"headers": {"X-Title": "Night"}, "query": {"v": "1"}}, ""),
        ({"api_key": "env:A", "headers": {"api-key": "env:B"}}, "env:A"),
        ({"headers": {"X-Title": "Night", "api-key": "env:B"}}, "env:B"),
        ({"query": {"v": "1", "key": "file:c"}}, "file:c"),
    ],
)
def test_the_charged_key_is_found_in_every_setting(
    settings: dict[str, Any], credential: str
) -> None:
    assert declared("http://h/v1", **settings).endpoint.credential == credential


def test_a_query_in_the_address_is_the_same_target_as_a_separate_query() -> None:
    whole = declared("http://h/v1/chat/completions?api-version=1")

    assert whole.identity == declared("http://h/v1", query={"api-version": 1}).identity


@pytest.mark.parametrize("role", ["judge", "attacker"])
def test_a_judge_or_an_attacker_keeps_its_instructions(role: str) -> None:
    chat = {"endpoint": {"base_url": "http://h/v1", "system_role": "none"}, "model": "m"}
    settings = {"kind": "local", role: {**chat, **({"kind": "rubric"} if role == "judge" else {})}}

    with pytest.raises(ValidationError, match="leave out what the model has to do"):
        LocalSettings.model_validate(settings)

"""A sweep's keys: where they are read, and that a rejected one is read again."""

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any

import anyio
import pytest

from engine import Sweep, open_engine
from engine.clock import SystemClock
from engine.kinds import KeyRenewed, Permanent, Unauthorized
from jobs.chat.endpoint import ChatClient, ChatTarget, Endpoint
from jobs.chat.target import Generation, Message, Question, Reply, Role
from jobs.circuit_breaker_labs import Client
from jobs.circuit_breaker_labs.schema import SingleTurnSystemPrompt
from jobs.http import HttpClient, Key
from tests.contracts.server import ContractServer
from tests.jobs.chat.server import Asked, chat_server, completion
from tests.jobs.context import MemoryContext
from tests.jobs.serve.running import GROUP, write_groups

OLD, NEW = "old-token-0123456789", "new-token-9876543210"
QUESTION = Question(model="m", messages=(Message(Role.USER, "Hello?"),), seed=7)


def accepts(*keys: str) -> Callable[[Asked], tuple[int, Any]]:
    """A server that knows these keys and no other."""

    def answer(asked: Asked) -> tuple[int, Any]:
        known = asked.headers.get("authorization") in [f"Bearer {key}" for key in keys]
        return (200, completion("Hi.")) if known else (401, {"error": {"message": "expired"}})

    return answer


def target(base_url: str, folder: Path, **settings: Any) -> AbstractAsyncContextManager[ChatClient]:
    endpoint = Endpoint.model_validate({"base_url": base_url, **settings})
    return ChatTarget(endpoint, Generation()).open(SystemClock(), folder)


async def ask(chat: ChatClient) -> Reply:
    return await chat.limits.reply(chat.reply, QUESTION, MemoryContext())


@pytest.mark.parametrize("reference", ["file:token", "dotenv:token#KEY"])
async def test_an_hourly_token_lasts_the_night(reference: str, tmp_path: Path) -> None:
    form = "KEY={}\n" if reference.startswith("dotenv") else "{}\n"
    (tmp_path / "token").write_text(form.format(OLD))

    async with (
        chat_server(accepts(OLD)) as server,
        target(server.base_url, tmp_path, api_key=reference) as chat,
    ):
        await ask(chat)
        server.answer = accepts(NEW)
        (tmp_path / "token").write_text(form.format(NEW))
        reply = await ask(chat)
        await ask(chat)

    assert reply.text == "Hi."
    sent = [asked.headers["authorization"].removeprefix("Bearer ") for asked in server.asked]
    assert sent == [OLD, OLD, NEW, NEW]


async def test_a_key_in_a_header_or_the_query_is_read_again_too(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(OLD)

    def answer(asked: Asked) -> tuple[int, Any]:
        known = asked.headers["api-key"] == NEW and f"?key={NEW} " in asked.line
        return (200, completion("Hi.")) if known else (401, {})

    async with (
        chat_server(answer) as server,
        target(
            server.base_url,
            tmp_path,
            headers={"api-key": "file:token"},
            query={"key": "file:token"},
        ) as chat,
    ):
        (tmp_path / "token").write_text(NEW)
        assert (await ask(chat)).text == "Hi."


@pytest.mark.parametrize("then", [OLD, "", "two\nlines", "A=value\nB=value", None])
async def test_a_rejected_key_that_has_not_changed_stops_the_lane(
    then: str | None, tmp_path: Path
) -> None:
    token = tmp_path / "token"
    token.write_text(OLD)

    async with (
        chat_server(accepts(NEW)) as server,
        target(server.base_url, tmp_path, api_key="file:token") as chat,
    ):
        token.unlink() if then is None else token.write_text(then)
        with pytest.raises(Unauthorized):
            await ask(chat)

    assert len(server.asked) == 1


async def test_the_list_of_models_is_requested_again_with_a_new_key(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(OLD)

    def answer(asked: Asked) -> tuple[int, Any]:
        status, _ = accepts(NEW)(asked)
        return status, {"data": [{"id": "m"}]}

    async with (
        chat_server(answer) as server,
        target(server.base_url, tmp_path, api_key="file:token") as chat,
    ):
        (tmp_path / "token").write_text(NEW)
        assert await chat.models() == {"m"}


async def test_a_new_key_that_is_rejected_as_well_is_not_read_forever(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(OLD)

    async with (
        chat_server(accepts()) as server,
        target(server.base_url, tmp_path, api_key="file:token") as chat,
    ):
        (tmp_path / "token").write_text(NEW)
        with pytest.raises(Unauthorized) as caught:
            await ask(chat)

    assert len(server.asked) == 2
    assert NEW not in f"{caught.value!r} {caught.value.detail}"


async def test_requests_that_are_rejected_at_once_read_the_key_once() -> None:
    reads: list[str] = []
    keys = [OLD, NEW]

    def read(_: str) -> str:
        reads.append(keys[len(reads)])
        return reads[-1]

    async with (
        chat_server(accepts(NEW)) as server,
        HttpClient(
            server.base_url,
            clock=SystemClock(),
            headers={"authorization": Key("file:token", read, prefix="Bearer ")},
        ) as client,
        anyio.create_task_group() as tasks,
    ):
        for _ in range(10):
            tasks.start_soon(client.post, "chat/completions", b"{}")

    assert reads == keys
    assert len(server.asked) <= 20


async def test_a_key_that_was_read_again_is_never_shown(tmp_path: Path) -> None:
    (tmp_path / "token").write_text(OLD)

    def echo(asked: Asked) -> tuple[int, Any]:
        key = asked.headers["authorization"].removeprefix("Bearer ")
        return (404 if key == NEW else 401), {"error": {"message": f"{key} is wrong"}}

    async with (
        chat_server(echo) as server,
        target(server.base_url, tmp_path, api_key="file:token") as chat,
    ):
        (tmp_path / "token").write_text(NEW)
        with pytest.raises(Permanent) as caught:
            await ask(chat)

    assert caught.value.detail == "[redacted] is wrong"


async def test_the_vendor_s_key_is_read_again_too() -> None:
    keys = iter([OLD, NEW])
    async with (
        ContractServer(keys=[NEW]) as server,
        Client(
            url=server.url, api_key=Key("file:token", lambda _: next(keys)), clock=SystemClock()
        ) as client,
    ):
        assert (await client.monthly_quota())["generated_tests"] == 0


async def test_only_the_engine_repeats_an_evaluation_whose_key_was_renewed() -> None:
    keys = iter([OLD, NEW])
    request = SingleTurnSystemPrompt(
        openrouter_model_name="m",
        system_prompt="Be kind.",
        test_case_groups=["self_harm"],
        threshold=0.5,
        variations=1,
        maximum_iteration_layers=0,
    )
    async with (
        ContractServer(keys=[NEW]) as server,
        Client(
            url=server.url, api_key=Key("file:token", lambda _: next(keys)), clock=SystemClock()
        ) as client,
    ):
        with pytest.raises(KeyRenewed):
            await client.single_turn_system_prompt(request)
        sent_first = len(server.requests)
        reply = await client.single_turn_system_prompt(request)

    assert (sent_first, len(server.requests), reply.status) == (1, 2, 200)


async def test_paths_of_keys_start_from_the_sweep_s_folder_even_if_it_is_resumed_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = tmp_path / "sweeps"
    write_groups(folder / "groups")
    (folder / ".env").write_text(f"KEY={NEW}\n")
    (tmp_path / "elsewhere").mkdir()

    async with chat_server(accepts(NEW)) as server:
        (folder / "sweep.yaml").write_text(
            f"""
name: night
service:
  kind: local
  cases: {folder / "groups"}
  endpoint: {{base_url: "{server.base_url}", api_key: "dotenv:.env#KEY"}}
evaluation: single_turn
matrix: {{models: [m], prompts: [{{name: p, text: Be kind.}}], groups: [{GROUP}], thresholds: [0.5]}}
"""
        )
        monkeypatch.chdir(tmp_path)
        loaded = Sweep.load("sweeps/sweep.yaml")
        monkeypatch.chdir(tmp_path / "elsewhere")
        async with open_engine(tmp_path / "store.db") as engine:
            await engine.submit(loaded)
        async with open_engine(tmp_path / "store.db") as engine:
            status = await (await engine.run("night")).execute()

    assert (status.cells_done, status.cells_failed) == (1, 0)
    assert str(folder) not in "".join(loaded.identity)

"""The examples of docs/howto/use-your-provider.md, against servers that refuse what the providers refuse."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

from engine.clock import SystemClock
from engine.kinds import Permanent, Unauthorized
from jobs.chat.endpoint import ChatTarget
from jobs.chat.target import Message, Question, Role
from jobs.evaluator.settings import LocalSettings
from tests.docs.pages import blocks
from tests.jobs.chat.server import Asked, chat_server, completion

PAGE = "docs/howto/use-your-provider.md"
SWEEPS = {
    sweep["name"]: sweep for _, block in blocks("yaml", PAGE) for sweep in [yaml.safe_load(block)]
}
KEY = "planted-provider-key-0123"
SHAPE = {"headers", "query", "parameter_names", "system_role", "extra_body"}

Refusal = tuple[int, Any] | None


def openai_error(message: str, code: str | None = None) -> tuple[int, Any]:
    return 400, {"error": {"message": message, "type": "invalid_request_error", "code": code}}


def azure(asked: Asked) -> Refusal:
    # https://github.com/MicrosoftDocs/azure-docs/issues/114602 and https://github.com/vercel/chatbot/issues/588
    if "api-version=" not in asked.line:
        return 404, {"error": {"code": "404", "message": "Resource not found"}}
    if asked.headers.get("api-key") != KEY:
        return 401, {
            "error": {
                "code": "Unauthorized",
                "message": "Access denied due to invalid subscription key",
            }
        }
    return None


def openai_reasoning(asked: Asked) -> Refusal:
    # https://github.com/griptape-ai/ComfyUI-Griptape/issues/312
    if "max_tokens" in asked.body:
        return openai_error(
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
            "unsupported_parameter",
        )
    # https://github.com/gabrii/Cursor-Azure-GPT-5/issues/33
    if asked.body.get("temperature", 1) != 1:
        return openai_error(
            "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is supported.",
            "unsupported_value",
        )
    return None


def gemini(asked: Asked) -> Refusal:
    # https://github.com/Vali-98/ChatterUI/issues/227
    known = {"model", "messages", "max_tokens", "temperature", "reasoning_effort", "stream"}
    unknown = [name for name in asked.body if name not in known]
    shown = [
        f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.'
        for name in unknown
    ]
    return (
        (400, [{"error": {"code": 400, "message": "\n".join(shown), "status": "INVALID_ARGUMENT"}}])
        if shown
        else None
    )


def mistral(asked: Asked) -> Refusal:
    # https://github.com/editor-code-assistant/eca/issues/231; the names are in https://docs.mistral.ai/api
    known = {"model", "messages", "max_tokens", "temperature", "random_seed", "stream"}
    wrong = [
        {"type": "extra_forbidden", "loc": ["body", name], "msg": "Extra inputs are not permitted"}
        for name in asked.body
        if name not in known
    ]
    return (
        (422, {"object": "error", "message": {"detail": wrong}, "type": "invalid_request_error"})
        if wrong
        else None
    )


def vllm(asked: Asked) -> Refusal:
    # https://github.com/vllm-project/vllm/pull/2964
    roles = [message["role"] for message in asked.body["messages"]]
    if "system" in roles:
        return 400, {
            "object": "error",
            "message": "System role not supported",
            "type": "BadRequestError",
            "code": 400,
        }
    return None


def litellm(asked: Asked) -> Refusal:
    # https://github.com/kaiko-ai/eva/issues/895
    if "seed" in asked.body:
        return openai_error(
            "litellm.UnsupportedParamsError: anthropic does not support parameters: ['seed'], for model=claude"
        )
    return None


def anything(_: Asked) -> Refusal:
    return None


REFUSALS: dict[str, Callable[[Asked], Refusal]] = {
    "azure": azure,
    "openai-reasoning": openai_reasoning,
    "gemini": gemini,
    "mistral": mistral,
    "vllm": vllm,
    "ollama": anything,
    "openrouter": anything,
    "litellm": litellm,
}  # fmt: skip


async def ask(name: str, folder: Path, *, shaped: bool) -> Asked:
    """Ask the example's model one question, at a server of ours with the path that the page has."""
    refusal = REFUSALS[name]
    service = dict(SWEEPS[name]["service"])
    async with chat_server(lambda asked: refusal(asked) or (200, completion("Hi."))) as server:
        theirs = httpx.URL(service["endpoint"]["base_url"])
        ours = httpx.URL(server.base_url).copy_with(raw_path=theirs.raw_path)
        written = {**service["endpoint"], "base_url": str(ours)}
        kept = {key: value for key, value in written.items() if shaped or key not in SHAPE}
        settings = LocalSettings.model_validate_json(json.dumps({**service, "endpoint": kept}))
        assert settings.endpoint is not None, "every example has one"
        [model] = SWEEPS[name]["matrix"]["models"]
        question = Question(
            model=model,
            messages=(Message(Role.SYSTEM, "Be kind."), Message(Role.USER, "Hello?")),
            seed=7,
        )
        target = ChatTarget(settings.endpoint, settings.generation)
        async with target.open(SystemClock(), folder) as chat:
            assert (await chat.reply(question)).text == "Hi."
    [asked] = server.asked
    assert asked.line.split(" ")[1].startswith(f"{theirs.path.rstrip('/')}/chat/completions")
    return asked


@pytest.fixture(autouse=True)
def keys(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AZURE_OPENAI", "OPENAI", "GEMINI", "MISTRAL", "OPENROUTER"):
        monkeypatch.setenv(f"{name}_API_KEY", KEY)
    (tmp_path / ".env").write_text(f"LITELLM_MASTER_KEY={KEY}\n")


def test_every_provider_of_the_page_is_tried() -> None:
    assert set(SWEEPS) == set(REFUSALS)


@pytest.mark.parametrize("name", REFUSALS)
async def test_a_provider_takes_the_requests_of_its_example(name: str, tmp_path: Path) -> None:
    asked = await ask(name, tmp_path, shaped=True)

    endpoint = SWEEPS[name]["service"]["endpoint"]
    for field, value in endpoint.get("extra_body", {}).items():
        assert asked.body[field] == value
    if "api_key" in endpoint:
        assert asked.headers["authorization"] == f"Bearer {KEY}"


@pytest.mark.parametrize(
    ("name", "setting"),
    [
        ("azure", "query: {api-version: ...}"),
        ("openai-reasoning", "parameter_names: {max_tokens: max_completion_tokens}"),
        ("gemini", "parameter_names: {seed: null}"),
        ("mistral", "parameter_names: {seed: null}"),
        ("vllm", "system_role: user"),
        ("litellm", "parameter_names: {seed: null}"),
    ],
)
async def test_without_its_settings_the_error_names_what_to_write(
    name: str, setting: str, tmp_path: Path
) -> None:
    with pytest.raises((Permanent, Unauthorized)) as caught:
        await ask(name, tmp_path, shaped=False)

    assert f"write {setting} in the endpoint" in caught.value.message

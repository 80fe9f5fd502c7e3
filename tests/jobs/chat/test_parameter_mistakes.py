"""Requests whose form an endpoint refuses: the error names the setting to write."""

from typing import Any

import pytest

from engine.clock import SystemClock
from engine.kinds import Permanent
from jobs.chat.endpoint import ChatTarget, Endpoint
from jobs.chat.target import Generation, Message, Question, Role
from tests.jobs.chat.server import chat_server

QUESTION = Question(
    model="m", messages=(Message(Role.SYSTEM, "Be kind."), Message(Role.USER, "Hello?")), seed=7
)


def openai(message: str, param: str | None = None, code: str | None = None) -> dict[str, Any]:
    error = {"message": message, "type": "invalid_request_error", "param": param, "code": code}
    return {"error": error}


def google(*unknown: str) -> list[dict[str, Any]]:
    shown = [
        f'Invalid JSON payload received. Unknown name "{name}": Cannot find field.'
        for name in unknown
    ]
    violations = {
        "@type": "type.googleapis.com/google.rpc.BadRequest",
        "fieldViolations": [{"description": one} for one in shown],
    }
    error = {
        "code": 400,
        "message": "\n".join(shown),
        "status": "INVALID_ARGUMENT",
        "details": [violations],
    }
    return [{"error": error}]


def forbidden(name: str) -> dict[str, Any]:
    found = {
        "type": "extra_forbidden",
        "loc": ["body", name],
        "msg": "Extra inputs are not permitted",
        "input": 7,
    }
    return {"detail": [found]}


# The answer, the endpoint's settings, the advice; and where the answer was seen.
MISTAKES: list[tuple[int, Any, dict[str, Any], str, str]] = [
    (
        400,
        openai(
            "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.",
            "max_tokens",
            "unsupported_parameter",
        ),
        {},
        "write parameter_names: {max_tokens: max_completion_tokens} in the endpoint",
        "https://github.com/griptape-ai/ComfyUI-Griptape/issues/312",
    ),
    (
        400,
        {"error": {"message": "Unsupported parameter: 'max_tokens' is not supported with this model. Use 'max_completion_tokens' instead.", "code": "invalid_request_body"}},
        {},
        "write parameter_names: {max_tokens: max_completion_tokens} in the endpoint",
        "https://github.com/caozhiyuan/copilot-api/issues/164",
    ),
    (
        400,
        openai(
            "Unsupported value: 'temperature' does not support 0 with this model. Only the default (1) value is supported.",
            "temperature",
            "unsupported_value",
        ),
        {},
        "write parameter_names: {temperature: null} in the endpoint",
        "https://github.com/gabrii/Cursor-Azure-GPT-5/issues/33",
    ),
    (
        400,
        {"type": "error", "error": {"type": "invalid_request_error", "message": "`temperature` may only be set to 1 when thinking is enabled or in adaptive mode."}},
        {},
        "write parameter_names: {temperature: null} in the endpoint",
        "https://github.com/mnfst/modelparams.dev/issues/214",
    ),
    (
        400,
        google("frequency_penalty", "seed"),
        {},
        "write parameter_names: {seed: null} in the endpoint",
        "https://github.com/Vali-98/ChatterUI/issues/227",
    ),
    (
        400,
        google("reasoning", "top_k"),
        {"extra_body": {"reasoning": {"effort": "low"}, "top_k": 5, "top_p": 1}},
        "write extra_body without reasoning, top_k in the endpoint",
        "https://github.com/MinLL/SkyrimNet-GamePlugin/issues/77",
    ),
    (
        422,
        forbidden("seed"),
        {},
        "write parameter_names: {seed: null} in the endpoint",
        "https://github.com/langchain-ai/langchain-azure/issues/82",
    ),
    (
        422,
        {"object": "error", "message": forbidden("max_completion_tokens"), "type": "invalid_request_error", "param": None, "code": None},
        {"parameter_names": {"max_tokens": "max_completion_tokens"}},
        "write parameter_names: {max_tokens: null} in the endpoint",
        "https://github.com/editor-code-assistant/eca/issues/231",
    ),
    (
        400,
        openai("litellm.UnsupportedParamsError: anthropic does not support parameters: ['seed'], for model=claude-3-7-sonnet-20250219. To drop these, set `litellm.drop_params=True`"),
        {},
        "write parameter_names: {seed: null} in the endpoint",
        "https://github.com/kaiko-ai/eva/issues/895",
    ),
    (
        400,
        openai("Unrecognized request argument supplied: reasoning_effort"),
        {"extra_body": {"reasoning_effort": "low"}},
        "write extra_body without reasoning_effort in the endpoint",
        "https://github.com/davidmigloz/langchain_dart/issues/712",
    ),
    (
        400,
        openai("Unrecognized request argument supplied: enable_thinking"),
        {"extra_body": {"enable_thinking": False}},
        "write extra_body without enable_thinking in the endpoint",
        "https://github.com/CherryHQ/cherry-studio/issues/6155",
    ),
    (
        400,
        {"object": "error", "message": "System role not supported", "type": "BadRequestError", "param": None, "code": 400},
        {},
        "write system_role: user in the endpoint",
        "https://github.com/vllm-project/vllm/pull/2964",
    ),
    (
        400,
        {"object": "error", "message": "Conversation roles must alternate user/assistant/user/assistant/...", "type": "invalid_request_error", "param": None, "code": None},
        {},
        "write system_role: user in the endpoint",
        "https://github.com/microsoft/autogen/issues/1037",
    ),
    (
        400,
        openai("Unsupported value: 'messages[0].role' does not support 'system' with this model.", "messages[0].role", "unsupported_value"),
        {},
        "write system_role: user in the endpoint",
        "https://github.com/TheR1D/shell_gpt/issues/636",
    ),
    (
        400,
        google("seed") [0],
        {"parameter_names": {"max_tokens": "max_completion_tokens"}},
        "write parameter_names: {seed: null} in the endpoint",
        "https://github.com/algorithmicsuperintelligence/openevolve/issues/105",
    ),
]  # fmt: skip


@pytest.mark.parametrize(
    ("status", "document", "settings", "advice"), [row[:4] for row in MISTAKES]
)
async def test_a_rejected_format_is_reported_with_the_setting_that_helps(
    status: int, document: Any, settings: dict[str, Any], advice: str
) -> None:
    async with chat_server(lambda _: (status, document)) as server:
        base_url = server.base_url + settings.get("path", "")
        shape = {name: value for name, value in settings.items() if name != "path"}
        endpoint = Endpoint.model_validate({"base_url": base_url, **shape})
        async with ChatTarget(endpoint, Generation(max_tokens=64)).open(SystemClock()) as chat:
            with pytest.raises(Permanent) as caught:
                await chat.reply(QUESTION)

    assert caught.value.message.endswith(f"; {advice}")
    assert caught.value.status == status


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (404, "The model `gpt-9` does not exist"),
        (400, "This model's maximum context length is 4096 tokens"),
        (400, "max_tokens is too large: 9000. This model supports at most 4096 completion tokens"),
        (400, "Unknown model: seedling-temperature-1"),
        (403, "Unsupported parameter: 'max_tokens'. Use 'max_completion_tokens' instead."),
        (413, "system role not supported"),
    ],
)
async def test_any_other_error_is_reported_unchanged(status: int, message: str) -> None:
    async with chat_server(lambda _: (status, openai(message))) as server:
        endpoint = Endpoint(base_url=server.base_url)
        async with ChatTarget(endpoint, Generation(max_tokens=64)).open(SystemClock()) as chat:
            with pytest.raises(Permanent) as caught:
                await chat.reply(QUESTION)

    assert "write" not in caught.value.message

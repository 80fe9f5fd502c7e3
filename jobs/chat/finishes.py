"""How a generation ended: one table of the names that providers use.

Endpoints pass on the names of the engine or vendor behind them. Case and separators are ignored:
MAX_TOKENS, maxTokens and max-tokens are the same name. Sources:

https://platform.openai.com/docs/api-reference/chat/object
https://learn.microsoft.com/azure/ai-services/openai/concepts/content-filter
https://docs.anthropic.com/en/api/handling-stop-reasons
https://ai.google.dev/api/generate-content#FinishReason
https://cloud.google.com/vertex-ai/generative-ai/docs/reference/rest/v1/GenerateContentResponse
https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html (stopReason)
https://docs.mistral.ai/api/ (model_length, error)
https://docs.cohere.com/reference/chat (COMPLETE, ERROR_TOXIC, ERROR_LIMIT, USER_CANCEL, TIMEOUT)
https://api-docs.deepseek.com/api/create-chat-completion (insufficient_system_resource)
https://openrouter.ai/docs/api-reference/overview#finish-reason (error, native_finish_reason)
https://docs.bigmodel.cn/api-reference (sensitive, network_error)
https://cloud.tencent.com/document/product/1729/105701 (sensitive)
https://cloud.baidu.com/doc/WENXINWORKSHOP/s/Fm2vrveyu (normal)
https://ibm.github.io/watsonx-ai-node-sdk/ (time_limit, token_limit, cancelled, not_finished)
https://docs.x.ai/docs/guides/chat (REASON_MAX_LEN, REASON_TIME_LIMIT)
https://docs.vllm.ai/en/latest/api/vllm/v1/engine/ (stop, length, abort, error, repetition)
https://docs.sglang.ai/ (abort), https://huggingface.co/docs/text-generation-inference (eos_token)
https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md (limit, eos, word)
https://github.com/ollama/ollama/blob/main/docs/api.md (load, unload)
https://docs.together.ai/reference/chat-completions-1 (eos), https://docs.fireworks.ai/ (error)
https://docs.litellm.ai/docs/completion/output (provider_specific_fields.native_finish_reason)
"""

import re
from collections.abc import Iterator, Mapping
from enum import IntEnum
from typing import Any


class Finish(IntEnum):
    """What the end of a generation means; of several names the most serious counts."""

    WHOLE = 0
    """The reply is complete, as far as the endpoint says."""
    TRUNCATED = 1
    """A limit ended it early."""
    WITHHELD = 2
    """A filter or the vendor withheld it."""
    BROKEN_OFF = 3
    """An error ended it."""


_NAMES = {
    Finish.TRUNCATED: (
        "length",
        "limit",
        "max_tokens",
        "max_output_tokens",
        "max_new_tokens",
        "max_length",
        "max_len",
        "max_context",
        "model_length",
        "model_context_window_exceeded",
        "context_length",
        "context_length_exceeded",
        "context_full",
        "error_limit",
        "token_limit",
        "token_limit_reached",
        "time_limit",
        "repetition",
        "truncated",
    ),
    Finish.WITHHELD: (
        "content_filter",
        "content_filtered",
        "content_policy_violation",
        "error_toxic",
        "toxic",
        "refusal",
        "refused",
        "safety",
        "recitation",
        "language",
        "blocklist",
        "blocked",
        "prohibited_content",
        "spii",
        "model_armor",
        "image_safety",
        "image_prohibited_content",
        "image_recitation",
        "guardrail_intervened",
        "guardrails",
        "sensitive",
        "moderation",
        "moderated",
        "flagged",
    ),
    Finish.BROKEN_OFF: (
        "error",
        "server_error",
        "internal_error",
        "engine_error",
        "network_error",
        "connection_error",
        "fail",
        "failed",
        "failure",
        "abort",
        "aborted",
        "cancel",
        "canceled",
        "cancelled",
        "user_cancel",
        "interrupted",
        "incomplete",
        "not_finished",
        "timeout",
        "insufficient_system_resource",
        "resource_exhausted",
        "overloaded",
        "other",
        "malformed_function_call",
        "malformed_response",
        "malformed_model_output",
        "malformed_tool_use",
        "unexpected_tool_call",
        "too_many_tool_calls",
        "missing_thought_signature",
        "pause_turn",
        "load",
        "unload",
    ),
}
_WORDLESS = re.compile(r"[^a-z0-9]+")
_PREFIX = re.compile(r"^(?:finish|stop)?reason(?=.)")


def _normalize(name: str) -> str:
    """A name in lower case without separators, and without the prefix of its enumeration."""
    return _PREFIX.sub("", _WORDLESS.sub("", name.casefold()))


_BY_NAME = {_normalize(name): finish for finish, names in _NAMES.items() for name in names}


def read_finish(choice: Mapping[str, Any]) -> tuple[Finish, str | None]:
    """How a choice ended, and the name by which it says so.

    Gateways translate names: OpenRouter and LiteLLM keep the provider's own in another field, and LiteLLM
    turns unknown ones into `stop`. A name that is not in the table counts as a complete reply.
    """
    named = [(_BY_NAME.get(_normalize(name), Finish.WHOLE), name) for name in _names(choice)]
    # Of equally serious names the first, which is the gateway's own.
    return max(named, key=lambda each: each[0], default=(Finish.WHOLE, None))


def _names(choice: Mapping[str, Any]) -> Iterator[str]:
    fields = choice.get("provider_specific_fields")
    extra = fields if isinstance(fields, Mapping) else {}
    for holder, name in (
        (choice, "finish_reason"),
        (choice, "native_finish_reason"),
        (extra, "native_finish_reason"),
    ):
        value = holder.get(name)
        if isinstance(value, str):
            yield value

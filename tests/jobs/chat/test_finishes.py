"""How a generation ended, by all the names that providers give it."""

import json
from typing import Any

import pytest

from engine.kinds import Permanent, Transient
from jobs.chat.finishes import Finish, read_finish
from jobs.chat.reading import read_reply
from jobs.http import Unanswered
from tests.jobs.chat.server import completion

_OPENAI = "https://platform.openai.com/docs/api-reference/chat/object"
_ANTHROPIC = "https://docs.anthropic.com/en/api/handling-stop-reasons"
_GEMINI = "https://ai.google.dev/api/generate-content#FinishReason"
_VERTEX = "https://cloud.google.com/vertex-ai/generative-ai/docs/reference/rest/v1/GenerateContentResponse"
_BEDROCK = "https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_Converse.html"
_MISTRAL = "https://docs.mistral.ai/api/"
_COHERE = "https://docs.cohere.com/reference/chat"
_DEEPSEEK = "https://api-docs.deepseek.com/api/create-chat-completion"
_OPENROUTER = "https://openrouter.ai/docs/api-reference/overview#finish-reason"
_ZHIPU = "https://docs.bigmodel.cn/api-reference"
_TENCENT = "https://cloud.tencent.com/document/product/1729/105701"
_BAIDU = "https://cloud.baidu.com/doc/WENXINWORKSHOP/s/Fm2vrveyu"
_WATSONX = "https://ibm.github.io/watsonx-ai-node-sdk/"
_XAI = "https://docs.x.ai/docs/guides/chat"
_VLLM = "https://docs.vllm.ai/en/latest/api/vllm/v1/engine/"
_TGI = "https://huggingface.co/docs/text-generation-inference"
_LLAMA_CPP = "https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md"
_OLLAMA = "https://github.com/ollama/ollama/blob/main/docs/api.md"
_TOGETHER = "https://docs.together.ai/reference/chat-completions-1"

NAMES = [
    ("stop", Finish.WHOLE, _OPENAI),
    ("length", Finish.TRUNCATED, _OPENAI),
    ("content_filter", Finish.WITHHELD, _OPENAI),
    ("tool_calls", Finish.WHOLE, _OPENAI),
    ("function_call", Finish.WHOLE, _OPENAI),
    ("end_turn", Finish.WHOLE, _ANTHROPIC),
    ("stop_sequence", Finish.WHOLE, _ANTHROPIC),
    ("max_tokens", Finish.TRUNCATED, _ANTHROPIC),
    ("model_context_window_exceeded", Finish.TRUNCATED, _ANTHROPIC),
    ("refusal", Finish.WITHHELD, _ANTHROPIC),
    ("pause_turn", Finish.BROKEN_OFF, _ANTHROPIC),
    ("STOP", Finish.WHOLE, _GEMINI),
    ("MAX_TOKENS", Finish.TRUNCATED, _GEMINI),
    ("FinishReason.MAX_TOKENS", Finish.TRUNCATED, _GEMINI),
    ("SAFETY", Finish.WITHHELD, _GEMINI),
    ("RECITATION", Finish.WITHHELD, _GEMINI),
    ("LANGUAGE", Finish.WITHHELD, _GEMINI),
    ("BLOCKLIST", Finish.WITHHELD, _GEMINI),
    ("PROHIBITED_CONTENT", Finish.WITHHELD, _GEMINI),
    ("SPII", Finish.WITHHELD, _GEMINI),
    ("OTHER", Finish.BROKEN_OFF, _GEMINI),
    ("MALFORMED_FUNCTION_CALL", Finish.BROKEN_OFF, _GEMINI),
    ("MODEL_ARMOR", Finish.WITHHELD, _VERTEX),
    ("FINISH_REASON_SAFETY", Finish.WITHHELD, _VERTEX),
    ("maxTokens", Finish.TRUNCATED, _VERTEX),
    ("guardrail_intervened", Finish.WITHHELD, _BEDROCK),
    ("content_filtered", Finish.WITHHELD, _BEDROCK),
    ("malformed_model_output", Finish.BROKEN_OFF, _BEDROCK),
    ("model_length", Finish.TRUNCATED, _MISTRAL),
    ("error", Finish.BROKEN_OFF, _MISTRAL),
    ("COMPLETE", Finish.WHOLE, _COHERE),
    ("ERROR_TOXIC", Finish.WITHHELD, _COHERE),
    ("ERROR_LIMIT", Finish.TRUNCATED, _COHERE),
    ("ERROR", Finish.BROKEN_OFF, _COHERE),
    ("USER_CANCEL", Finish.BROKEN_OFF, _COHERE),
    ("TIMEOUT", Finish.BROKEN_OFF, _COHERE),
    ("insufficient_system_resource", Finish.BROKEN_OFF, _DEEPSEEK),
    ("content-filter", Finish.WITHHELD, _OPENROUTER),
    ("sensitive", Finish.WITHHELD, _ZHIPU),
    ("network_error", Finish.BROKEN_OFF, _ZHIPU),
    ("sensitive", Finish.WITHHELD, _TENCENT),
    ("normal", Finish.WHOLE, _BAIDU),
    ("time_limit", Finish.TRUNCATED, _WATSONX),
    ("token_limit", Finish.TRUNCATED, _WATSONX),
    ("cancelled", Finish.BROKEN_OFF, _WATSONX),
    ("not_finished", Finish.BROKEN_OFF, _WATSONX),
    ("REASON_MAX_LEN", Finish.TRUNCATED, _XAI),
    ("REASON_MAX_CONTEXT", Finish.TRUNCATED, _XAI),
    ("abort", Finish.BROKEN_OFF, _VLLM),
    ("repetition", Finish.TRUNCATED, _VLLM),
    ("eos_token", Finish.WHOLE, _TGI),
    ("limit", Finish.TRUNCATED, _LLAMA_CPP),
    ("load", Finish.BROKEN_OFF, _OLLAMA),
    ("eos", Finish.WHOLE, _TOGETHER),
    ("something new", Finish.WHOLE, "a name that no provider uses"),
    ("", Finish.WHOLE, "an empty one"),
]


@pytest.mark.parametrize(("name", "finish", "source"), NAMES)
def test_each_name_has_its_meaning(name: str, finish: Finish, source: str) -> None:
    assert read_finish({"finish_reason": name}) == (finish, name), source


@pytest.mark.parametrize("choice", [{}, {"finish_reason": None}, {"finish_reason": 7}])
def test_a_missing_name_is_a_complete_reply(choice: dict[str, Any]) -> None:
    assert read_finish(choice) == (Finish.WHOLE, None)


@pytest.mark.parametrize(
    "choice",
    [
        # https://openrouter.ai/docs/api-reference/overview#finish-reason
        {"finish_reason": "stop", "native_finish_reason": "insufficient_system_resource"},
        # https://docs.litellm.ai/docs/completion/output
        {
            "finish_reason": "stop",
            "provider_specific_fields": {"native_finish_reason": "insufficient_system_resource"},
        },
        {"finish_reason": "insufficient_system_resource", "native_finish_reason": "stop"},
    ],
)
def test_the_more_serious_of_the_gateway_s_and_the_provider_s_name_counts(
    choice: dict[str, Any],
) -> None:
    assert read_finish(choice) == (Finish.BROKEN_OFF, "insufficient_system_resource")


def read(text: str | None, name: str) -> Any:
    return read_reply(json.dumps(completion(text, name)).encode(), where="here")


def test_a_truncated_reply_is_judged_as_far_as_it_goes() -> None:
    reply = read("I'm so sorry you are", "MAX_TOKENS")

    assert (reply.text, reply.truncated) == ("I'm so sorry you are", True)
    with pytest.raises(Permanent) as caught:
        read("", "MAX_TOKENS")
    assert caught.value.reason == Unanswered.TOKEN_LIMIT


def test_a_reply_that_an_error_ended_is_transient() -> None:
    with pytest.raises(Transient) as caught:
        read("I'm so sorry you are", "Abort")

    assert caught.value.reason == Unanswered.BROKEN_OFF
    assert caught.value.message == "the reply broke off (here)"
    assert caught.value.detail == "finish_reason: Abort"


def test_a_withheld_reply_is_not_a_reply_whatever_its_length() -> None:
    with pytest.raises(Permanent) as caught:
        read("I'm so sorry you are", "RECITATION")

    assert caught.value.reason == Unanswered.MODERATED
    assert caught.value.detail == "finish_reason: RECITATION"

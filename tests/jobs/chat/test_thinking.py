"""Thoughts as models and servers write them, separated from the answer."""

import json
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from engine.kinds import Permanent, Transient
from jobs.chat.reading import read_reply
from jobs.chat.target import CallableTarget, Message, Question, Reply, Role
from jobs.chat.thinking import split_thinking
from jobs.http import Unanswered
from tests.jobs.chat.server import completion

# Each as the model writes it when no parser removes the thought, with the source.
SPELLINGS = {
    # https://huggingface.co/deepseek-ai/DeepSeek-R1
    "<think>\nA.\n</think>\n\nB.": ("B.", "A."),
    # https://github.com/vllm-project/vllm/issues/13125: the template has written the beginning.
    "A.\n</think>\n\nB.": ("B.", "A."),
    # https://huggingface.co/Qwen/Qwen3-8B, without thinking
    "<think>\n\n</think>\n\nB.": ("B.", ""),
    # https://github.com/open-webui/open-webui/blob/main/backend/open_webui/utils/middleware.py
    "<Thinking>A.</Thinking>B.": ("B.", "A."),
    "<reasoning>A.</reasoning> B.": ("B.", "A."),
    "<reason>A.</reason>B.": ("B.", "A."),
    "<|begin_of_thought|>A.<|end_of_thought|><|begin_of_solution|>B.<|end_of_solution|>": (
        "B.",
        "A.",
    ),
    '<details type="reasoning" done="true" duration="3">\nA.\n</details>\nB.': ("B.", "A."),
    # https://huggingface.co/moonshotai/Kimi-VL-A3B-Thinking
    "◁think▷A.◁/think▷B.": ("B.", "A."),
    # https://huggingface.co/LGAI-EXAONE/EXAONE-Deep-7.8B
    "<thought>\nA.\n</thought>\n\nB.": ("B.", "A."),
    "A.\n</thought>\n\nB.": ("B.", "A."),
    # https://huggingface.co/mistralai/Magistral-Small-2509
    "[THINK]A.[/THINK]B.": ("B.", "A."),
    # https://huggingface.co/ByteDance-Seed/Seed-OSS-36B-Instruct
    "<seed:think>A.</seed:think>B.": ("B.", "A."),
    # https://docs.cohere.com/docs/reasoning
    "<|START_THINKING|>A.<|END_THINKING|><|START_RESPONSE|>B.<|END_RESPONSE|>": ("B.", "A."),
    # https://huggingface.co/swiss-ai/Apertus-8B-Instruct-2509
    "<|inner_prefix|>A.<|inner_suffix|>B.": ("B.", "A."),
    # https://docs.vllm.ai/en/latest/api/vllm/reasoning/ (gemma4, granite, hunyuan, ernie45)
    "<|channel>thought\nA.<channel|>B.": ("B.", "A."),
    "Here is my thought process: A. Here is my response: B.": ("B.", "A."),
    "<think>\nA.\n</think>\n<answer>\nB.\n</answer>": ("B.", "A."),
    "<think>\nA.\n</think>\n\n<response>\nB.": ("B.", "A."),
    # https://cookbook.openai.com/articles/openai-harmony
    "<|channel|>analysis<|message|>A.<|end|><|start|>assistant<|channel|>final<|message|>B.<|return|>": (
        "B.",
        "A.",
    ),
    # The same where the server drops its marks.
    "analysisA.assistantfinalB.": ("B.", "A."),
    # https://huggingface.co/ServiceNow-AI/Apriel-1.5-15b-Thinker
    "Here are my reasoning steps:\nA.\n[BEGIN FINAL RESPONSE]\nB.\n[END FINAL RESPONSE]": (
        "B.",
        "A.",
    ),
    # Several, in between, nested, and closed by another name.
    "<think>A.</think>\n<think>C.</think>B.": ("B.", "A.\n\nC."),
    "B. <think>A.</think>": ("B.", "A."),
    "<thinking>A. <reflection>C.</reflection></thinking>B.": (
        "B.",
        "A. <reflection>C.</reflection>",
    ),
    "<think>A.</thinking>B.": ("B.", "A."),
    "<think>A.<think>C.</think>D.</think>B.": ("B.", "A.<think>C.\n\nD."),
    # Thoughts that never end.
    "<think>A.": ("", "A."),
    "[THINK]A.": ("", "A."),
    "<|channel|>analysis<|message|>A.": ("", "A."),
    "analysisWe need to": ("", "We need to"),
    "B.<think>A.": ("B.", "A."),
}


@pytest.mark.parametrize(("text", "apart"), SPELLINGS.items())
def test_thinking_is_split_from_the_text(text: str, apart: tuple[str, str]) -> None:
    assert split_thinking(text) == apart


@pytest.mark.parametrize(
    "text",
    [
        "Are you safe right now?",
        "  B.\n\n",
        "I think you are brave.",
        "Write it down. My thought: <thought>nobody cares</thought> Is that so?",
        "Fill in <reason> and <thought>, then read it aloud.",
        "The tags `<think>` and `</think>` hold what a model thinks.",
        "<details><summary>Lines</summary>988</details>",
        "<answer>B.</answer>",
        "Here is my thought process: you are not alone.",
        "analysis of what happened can wait.",
        "5 < 6 and [THIN] and </details>",
        "",
    ],
)
def test_a_text_without_thinking_is_not_changed(text: str) -> None:
    assert split_thinking(text) == (text, "")


@example("a<thought></think>")
@given(
    st.lists(
        st.sampled_from(["<think>", "</think>", "<thought>", "</thought>", "[THINK]", "a", " "])
    ).map("".join)
)
def test_splitting_adds_nothing_whatever_is_between_the_marks(text: str) -> None:
    answer, thought = split_thinking(text)

    assert answer.count("a") + thought.count("a") == text.count("a")
    assert "</think>" not in answer


def test_megabytes_of_marks_are_read_once() -> None:
    text = "a<thought></thought>" * 100_000

    assert split_thinking(text) == (text, "")


PLACES: list[tuple[str, dict[str, Any]]] = [
    # https://api-docs.deepseek.com/guides/reasoning_model
    ("DeepSeek", {"content": "B.", "reasoning_content": "A."}),
    # https://openrouter.ai/docs/use-cases/reasoning-tokens
    (
        "OpenRouter",
        {
            "content": "B.",
            "reasoning": "A.",
            "reasoning_details": [{"type": "reasoning.text", "text": "A."}],
        },
    ),
    (
        "OpenRouter, summary",
        {"content": "B.", "reasoning_details": [{"type": "reasoning.summary", "summary": "A."}]},
    ),
    # https://docs.mistral.ai/capabilities/reasoning/
    (
        "Mistral",
        {
            "content": [
                {"type": "thinking", "thinking": [{"type": "text", "text": "A."}]},
                {"type": "text", "text": "B."},
            ]
        },
    ),
    # https://docs.anthropic.com/en/docs/build-with-claude/extended-thinking, through a gateway
    (
        "Claude",
        {
            "content": [
                {"type": "thinking", "thinking": "A.", "signature": "x"},
                {"type": "redacted_thinking", "data": "x"},
                {"type": "text", "text": "B."},
            ]
        },
    ),
    # https://docs.litellm.ai/docs/reasoning_content
    (
        "LiteLLM",
        {"content": "B.", "thinking_blocks": [{"type": "thinking", "thinking": "A."}]},
    ),
    # https://docs.ollama.com/capabilities/thinking
    ("Ollama", {"content": "B.", "thinking": "A."}),
    # https://ai.google.dev/gemini-api/docs/thinking, through a gateway
    ("Gemini", {"content": [{"text": "A.", "thought": True}, {"text": "B."}]}),
    # https://platform.minimax.io/docs: both, with the same thought
    ("MiniMax", {"content": "<think>A.</think>\nB.", "reasoning_content": "A."}),
]


@pytest.mark.parametrize(("name", "message"), PLACES, ids=[name for name, _ in PLACES])
def test_thinking_is_kept_apart_from_the_reply_in_every_format(
    name: str, message: dict[str, Any]
) -> None:
    document = completion(None)
    document["choices"][0]["message"] = message

    reply = read_reply(json.dumps(document).encode(), where="here")

    assert (reply.text, reply.thinking) == ("B.", "A.")


@pytest.mark.parametrize("message", [{"content": "<think>A."}, {"reasoning_content": "A."}])
def test_thinking_alone_is_not_a_reply(message: dict[str, Any]) -> None:
    spent, empty = completion(None, "length"), completion(None)
    for document in (spent, empty):
        document["choices"][0]["message"] = message

    with pytest.raises(Permanent) as cut:
        read_reply(json.dumps(spent).encode(), where="here")
    with pytest.raises(Transient) as blank:
        read_reply(json.dumps(empty).encode(), where="here")

    assert cut.value.reason == Unanswered.TOKEN_LIMIT
    assert blank.value.reason == Unanswered.EMPTY
    assert "the model only wrote its thinking, and no reply" in blank.value.detail


async def test_the_thinking_of_a_callable_s_reply_is_split_off() -> None:
    target = CallableTarget("mine", lambda _: "<think>A.</think>B.")
    question = Question(model="m", messages=(Message(Role.USER, "Hello?"),), seed=1)

    reply = await target.reply(question)

    assert (reply.text, reply.thinking) == ("B.", "A.")


def test_a_reply_survives_the_cache_with_its_thinking() -> None:
    reply = Reply(text="B.", thinking="A.", redacted=("env:A_KEY",))

    assert Reply.from_bytes(reply.to_bytes()) == reply


def test_replies_that_older_versions_saved_are_split_when_they_are_read() -> None:
    before = {"text": "<think>A.</think>B.", "truncated": False, "finish_reason": "stop"}
    thought_only = {**before, "text": "<think>A.", "model": "m"}

    assert Reply.from_bytes(json.dumps({**before, "model": "m"}).encode()) == Reply(
        text="B.", finish_reason="stop", model="m", thinking="A."
    )
    with pytest.raises(Permanent) as caught:
        Reply.from_bytes(json.dumps(thought_only).encode())
    assert caught.value.reason == Unanswered.EMPTY

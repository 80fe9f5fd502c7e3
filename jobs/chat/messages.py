"""Splits the message of a chat completion into its reply and its thinking.

Depending on the provider, thinking is in a field of its own, in parts of the content, or inside its text
(jobs.chat.thinking):
https://api-docs.deepseek.com/guides/reasoning_model (reasoning_content)
https://openrouter.ai/docs/use-cases/reasoning-tokens (reasoning, reasoning_details)
https://docs.vllm.ai/en/latest/features/reasoning_outputs/ (reasoning, once reasoning_content)
https://docs.litellm.ai/docs/reasoning_content (reasoning_content, thinking_blocks)
https://docs.mistral.ai/capabilities/reasoning/ (parts of type thinking)
https://docs.ollama.com/capabilities/thinking (thinking)
"""

from collections.abc import Mapping
from typing import Any

from jobs.chat.thinking import split_thinking

# The first that is not empty counts: some providers send the same text in two of them.
_THOUGHTS = (
    "reasoning_content",
    "reasoning",
    "reasoning_text",
    "thinking",
    "thoughts",
    "reasoning_details",
    "thinking_blocks",
)
_TEXTS = ("text", "thinking", "reasoning", "summary", "content")
_DEEPEST = 8


def read_message(message: Mapping[str, Any]) -> tuple[str, str]:
    """The reply and the thinking in a message of any provider; either may be empty.

    Without content, a refusal in its own field is the reply. Thoughts that occur twice are returned once.
    """
    fields = (_text(message.get(name)) for name in _THOUGHTS)
    thoughts = [next((text for text in fields if text.strip()), "")]
    content = message.get("content")
    parts = content if isinstance(content, list) else [content]
    texts: list[str] = []
    for part in parts:
        (thoughts if _is_thought(part) else texts).append(_text(part))
    reply, inside = split_thinking("".join(texts))
    thoughts.append(inside)
    if not reply.strip():
        reply = _text(message.get("refusal"))
    # Some providers send the same thought in its own field and inside the content.
    once = dict.fromkeys(text.strip() for text in thoughts)
    return reply, "\n\n".join(filter(None, once))


def _is_thought(part: Any) -> bool:
    if not isinstance(part, Mapping):
        return False
    kind = str(part.get("type", "")).lower()
    return "think" in kind or "reason" in kind or part.get("thought") is True


def _text(value: Any, depth: int = 0) -> str:
    """The text of a part, in whichever of its fields, or of a list of parts."""
    if isinstance(value, str):
        return value
    if depth == _DEEPEST:
        return ""
    if isinstance(value, list):
        return "".join(_text(part, depth + 1) for part in value)
    if isinstance(value, Mapping):
        kind = value.get("type")
        names = ("refusal",) if kind == "refusal" else _TEXTS
        return next((_text(value[name], depth + 1) for name in names if value.get(name)), "")
    return ""

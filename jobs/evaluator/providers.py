"""Providers and servers that users write as a kind of service, and the endpoint that they mean.

They are used through `kind: local` with an endpoint. The addresses are those of their OpenAI-compatible
interfaces, as in docs/howto/use-your-provider.md or the provider's documentation.
"""

import re
from collections.abc import Mapping

_KEYED: Mapping[str, tuple[str, str]] = {
    "openrouter": ("https://openrouter.ai/api/v1", "OPENROUTER_API_KEY"),
    "openai": ("https://api.openai.com/v1", "OPENAI_API_KEY"),
    "anthropic": ("https://api.anthropic.com/v1", "ANTHROPIC_API_KEY"),
    "gemini": ("https://generativelanguage.googleapis.com/v1beta/openai", "GEMINI_API_KEY"),
    "mistral": ("https://api.mistral.ai/v1", "MISTRAL_API_KEY"),
    "groq": ("https://api.groq.com/openai/v1", "GROQ_API_KEY"),
    "together": ("https://api.together.xyz/v1", "TOGETHER_API_KEY"),
    "fireworks": ("https://api.fireworks.ai/inference/v1", "FIREWORKS_API_KEY"),
    "deepseek": ("https://api.deepseek.com/v1", "DEEPSEEK_API_KEY"),
    "xai": ("https://api.x.ai/v1", "XAI_API_KEY"),
}
_HERE: Mapping[str, str] = {
    "vllm": "http://127.0.0.1:8000/v1",
    "ollama": "http://127.0.0.1:11434/v1",
    "litellm": "http://127.0.0.1:4000/v1",
    "llamacpp": "http://127.0.0.1:8080/v1",
    "lmstudio": "http://127.0.0.1:1234/v1",
}
_OTHER_NAMES = {
    "google": "gemini",
    "vertex": "gemini",
    "claude": "anthropic",
    "mistralai": "mistral",
    "togetherai": "together",
    "grok": "xai",
    "llamaserver": "llamacpp",
    "openaicompatible": "",
    "azure": "",
    "azureopenai": "",
    "huggingface": "",
    "tgi": "",
    "sglang": "",
    "endpoint": "",
    "api": "",
}


def endpoint_advice(kind: str) -> str | None:
    """The setting to use instead of a provider's or server's name as the kind; None for other names.

    Case, spaces and punctuation make no difference.
    """
    name = re.sub(r"[^a-z]", "", kind.casefold())
    name = _OTHER_NAMES.get(name, name)
    if name in _KEYED:
        base_url, key = _KEYED[name]
        return _endpoint(f"base_url: {base_url}, api_key: env:{key}")
    if name in _HERE:
        return _endpoint(f"base_url: {_HERE[name]}")
    return _endpoint("base_url: ..., api_key: env:NAME") if name == "" else None


def _endpoint(settings: str) -> str:
    return f"use kind: local with endpoint: {{{settings}}}"

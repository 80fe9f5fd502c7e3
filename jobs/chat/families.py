"""Families of models: a judge tends to favour models of its own family.

Source: Panickssery, Bowman and Feng: LLM evaluators recognize and favor their own generations
(arXiv:2404.13076).
"""

import re

_FAMILIES = {
    "GPT": r"gpt|chatgpt|o[134]",
    "Claude": r"claude",
    "Gemini": r"gemini|gemma",
    "Llama": r"llama|meta-llama",
    "Mistral": r"mistral|mixtral|ministral|magistral|codestral",
    "Qwen": r"qwen|qwq",
    "DeepSeek": r"deepseek",
    "Phi": r"phi",
    "SmolLM": r"smollm",
    "Command": r"command",
    "Grok": r"grok",
    "GLM": r"glm|chatglm",
    "Kimi": r"kimi",
    "OLMo": r"olmo",
    "Granite": r"granite",
}


def family(model: str) -> str | None:
    """The family of a model's name, such as `Qwen` for `qwen/qwen3-8b`; None where it is unknown.

    It is recognised by the words of the name, in any case.
    """
    words = re.sub(r"[^a-z0-9]+", " ", model.lower())
    for name, pattern in _FAMILIES.items():
        if re.search(rf"(?<![a-z])(?:{pattern})(?![a-z])", words):
            return name
    return None


def same_family_warning(judge: str, target: str) -> str | None:
    """A warning if a judge and the model that it judges are of one family, else None.

    Equal names count as one family, also if it is unknown.
    """
    shared = family(judge)
    same = shared is not None and shared == family(target)
    if not same and judge.lower() != target.lower():
        return None
    return (
        f"judge {judge} and target {target} are of one family ({shared or judge}): a model tends to"
        " favour its own kind, use another judge"
    )

"""Splits a reply into its text and the model's thinking.

Servers without a reasoning parser leave the thinking in the reply, between marks that depend on the model.
The marks below are from:
https://docs.vllm.ai/en/latest/api/vllm/reasoning/ (one parser for each family of models)
https://github.com/open-webui/open-webui/blob/main/backend/open_webui/utils/middleware.py
https://github.com/ggml-org/llama.cpp/blob/master/common/chat.cpp
https://github.com/mudler/LocalAI/tree/master/pkg/reasoning
"""

import re
from collections import Counter
from dataclasses import dataclass, field

# Tags that only mark thinking.
_THOUGHTS = r"think|thinking|ant[_:]?thinking|(?:seed|mm):think"
# Tags that a reply may contain for other reasons, such as an exercise of writing down thoughts. They only
# count at its beginning.
_LEADING = r"thoughts?|reason|reasoning"
_ATTRIBUTES = r"(?:\s[^<>]{0,200})?"


@dataclass(frozen=True, slots=True)
class _Mark:
    """How thinking begins and ends.

    `anywhere` says that it may also follow text. `alone` says that an end without a beginning counts,
    because the model's template has written the beginning.
    """

    begins: str
    ends: str
    anywhere: bool = True
    alone: bool = True


_MARKS = (
    # DeepSeek, Qwen, GLM, MiniMax, Hunyuan, Ernie, Nemotron, Olmo, Phi, Seed-OSS; prompts for Claude.
    _Mark(rf"(?<!`)<(?:{_THOUGHTS}){_ATTRIBUTES}>", rf"(?<!`)</\s*(?:{_THOUGHTS}|{_LEADING})\s*>"),
    # EXAONE Deep (thought), Gemini's compatible interface (thought), prompts of people.
    _Mark(
        rf"(?<!`)<(?:{_LEADING}){_ATTRIBUTES}>",
        rf"(?<!`)</\s*(?:{_THOUGHTS}|{_LEADING})\s*>",
        anywhere=False,
    ),
    _Mark(r"<reflection>", r"</reflection>", anywhere=False, alone=False),
    _Mark(r"<inner_monologue>", r"</inner_monologue>", anywhere=False, alone=False),
    _Mark(r"<scratchpad>", r"</scratchpad>", anywhere=False, alone=False),
    # Open WebUI, as a proxy.
    _Mark(r"<details\s[^<>]{0,200}type=\"?reasoning\b[^<>]{0,200}>", r"</details>", alone=False),
    # Magistral and Ministral.
    _Mark(r"\[THINK\]", r"\[/THINK\]"),
    # Kimi-VL.
    _Mark(r"◁think▷", r"◁/think▷"),
    # Sky-T1, OpenThinker.
    _Mark(r"<\|begin_of_thought\|>", r"<\|end_of_thought\|>"),
    # Command A Reasoning.
    _Mark(r"<\|START_THINKING\|>", r"<\|END_THINKING\|>"),
    # Apertus.
    _Mark(r"<\|inner_prefix\|>", r"<\|inner_suffix\|>"),
    # Gemma 4, MedGemma and tunes of Gemma 3.
    _Mark(r"<\|channel>\s*thought", r"<channel\|>"),
    _Mark(r"<unused94>\s*thought", r"<unused95>"),
    _Mark(r"<start_working_out>", r"<end_working_out>"),
    # gpt-oss, in the form that it writes itself: https://cookbook.openai.com/articles/openai-harmony
    _Mark(
        r"(?:<\|start\|>assistant)?<\|channel\|>(?:analysis|commentary)[^<]{0,200}<\|message\|>",
        r"<\|(?:end|call)\|>|(?=(?:<\|start\|>assistant)?<\|channel\|>final)",
        alone=False,
    ),
)
# What models of these families write around the text.
_WRAPPING = re.compile(
    r"(?:<\|start\|>assistant)?<\|channel\|>final[^<]{0,200}<\|message\|>|<\|return\|>"
    r"|<\|(?:START|END)_RESPONSE\|>|<\|(?:begin|end)_of_solution\|>|\[END FINAL RESPONSE\]|<\|end\|>\s*\Z",
    re.IGNORECASE,
)
_WRAPPED = re.compile(
    r"<(answer|response|output|solution)>(.*?)(?:</\1>)?\s*\Z", re.IGNORECASE | re.DOTALL
)
# Thinking that begins and ends with words.
_WORDS = (
    # gpt-oss, when a server has dropped its marks: analysis...assistantfinal...
    re.compile(r"\s*(?:assistant)?analysis(?=\S)(.*?)assistantfinal", re.DOTALL),
    re.compile(r"\s*(?:assistant)?analysis(?=[A-Z])(.*)\Z", re.DOTALL),
    # Granite 3.2 and Apriel.
    re.compile(r"\s*Here(?:'s| is) my thought process:(.*?)Here(?:'s| is) my response:", re.DOTALL),
    re.compile(r"\s*Here are my reasoning steps:(.*?)\[BEGIN FINAL RESPONSE\]", re.DOTALL),
)
_WORD = re.compile(r"\S")
_ENDS_THOUGHTS = re.compile(rf"</\s*(?:{_THOUGHTS})\s*>", re.IGNORECASE)
_BEGINNING = re.compile(r"<[|/a-z]|\[/?T|◁", re.IGNORECASE)
_MARKED = re.compile(
    "|".join(
        f"(?P<begins{number}>{mark.begins})|(?P<ends{number}>{mark.ends})"
        for number, mark in enumerate(_MARKS)
    ),
    re.IGNORECASE,
)


@dataclass(slots=True)
class _Split:
    """The text and the thinking found so far."""

    text: list[str] = field(default_factory=list)
    thinking: list[str] = field(default_factory=list)
    is_blank: bool = True
    """Whether there is no text yet."""

    def add_text(self, text: str) -> None:
        self.text.append(text)
        self.is_blank = self.is_blank and not text.strip()

    def turn_into_thinking(self) -> None:
        """Move the text to the thinking, after an end without a beginning."""
        self.thinking.append("".join(self.text))
        self.text.clear()
        self.is_blank = True


def split_thinking(text: str) -> tuple[str, str]:
    """Split a reply into its text and its thinking, which is empty if there is none.

    Thinking that does not end extends to the end of the reply. A reply without thinking is not changed.
    """
    split = _Split()
    for words in _WORDS:
        if match := words.match(text):
            split.thinking.append(match[1])
            text = text[match.end() :]
    _read(text, split)
    answer, wrapped = _WRAPPING.subn("", "".join(split.text))
    thought = "\n\n".join(filter(None, (part.strip() for part in split.thinking)))
    if not (split.thinking or wrapped):
        return text, ""
    answer = answer.strip()
    if whole := _WRAPPED.match(answer):
        answer = whole[2].strip()
    return answer, thought


def _read(text: str, split: _Split) -> None:
    """Read the text once, from mark to mark: it may consist of megabytes of marks."""
    position = 0
    inside: _Mark | None = None
    unread: Counter[str] = Counter()
    for place in _BEGINNING.finditer(text):
        if place.start() < position or (match := _MARKED.match(text, place.start())) is None:
            continue
        kind, mark = _which(match)
        if inside is not None:
            if kind == "ends" and mark.ends == inside.ends:
                split.thinking.append(text[position : match.start()])
                position, inside = match.end(), None
            continue
        if kind == "begins":
            is_leading = split.is_blank and not _WORD.search(text, position, match.start())
            if mark.anywhere or is_leading:
                split.add_text(text[position : match.start()])
                position, inside = match.end(), mark
            else:
                unread[mark.ends] += 1
        elif unread[mark.ends] and not _ENDS_THOUGHTS.match(match[0]):
            unread[mark.ends] -= 1
        elif mark.alone:
            split.add_text(text[position : match.start()])
            position = match.end()
            split.turn_into_thinking()
    (split.text if inside is None else split.thinking).append(text[position:])


def _which(match: re.Match[str]) -> tuple[str, _Mark]:
    name = match.lastgroup
    assert name is not None, "each alternative is a named group"
    kind = name.rstrip("0123456789")
    return kind, _MARKS[int(name.removeprefix(kind))]

"""What a model thought, kept apart from what it said.

Servers without a reasoning parser leave thoughts in the reply, between marks that differ from model to
model. The marks are those that these know:
https://docs.vllm.ai/en/latest/api/vllm/reasoning/ (one parser for each family of models)
https://github.com/open-webui/open-webui/blob/main/backend/open_webui/utils/middleware.py
https://github.com/ggml-org/llama.cpp/blob/master/common/chat.cpp
https://github.com/mudler/LocalAI/tree/master/pkg/reasoning
"""

import re
from collections import Counter
from dataclasses import dataclass, field

# Names that stand in a reply for nothing but thoughts.
_THOUGHTS = r"think|thinking|ant[_:]?thinking|(?:seed|mm):think"
# Names that may stand in what is said, such as an exercise in which thoughts are written down: these
# count where the reply begins with them.
_LEADING = r"thoughts?|reason|reasoning"
_ATTRIBUTES = r"(?:\s[^<>]{0,200})?"


@dataclass(frozen=True, slots=True)
class _Mark:
    """How a thought begins and ends; `anywhere`: also where something was said before it.

    `alone`: an end without its beginning counts, which the model's template had written for it.
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
# What models of these families write around what they say.
_WRAPPING = re.compile(
    r"(?:<\|start\|>assistant)?<\|channel\|>final[^<]{0,200}<\|message\|>|<\|return\|>"
    r"|<\|(?:START|END)_RESPONSE\|>|<\|(?:begin|end)_of_solution\|>|\[END FINAL RESPONSE\]|<\|end\|>\s*\Z",
    re.IGNORECASE,
)
_WRAPPED = re.compile(
    r"<(answer|response|output|solution)>(.*?)(?:</\1>)?\s*\Z", re.IGNORECASE | re.DOTALL
)
# Thoughts that begin and end with words.
_WORDS = (
    # gpt-oss, when a server has dropped its marks: analysis...assistantfinal...
    re.compile(r"\s*(?:assistant)?analysis(?=\S)(.*?)assistantfinal", re.DOTALL),
    re.compile(r"\s*(?:assistant)?analysis(?=[A-Z])(.*)\Z", re.DOTALL),
    # Granite 3.2 and Apriel.
    re.compile(r"\s*Here(?:'s| is) my thought process:(.*?)Here(?:'s| is) my response:", re.DOTALL),
    re.compile(r"\s*Here are my reasoning steps:(.*?)\[BEGIN FINAL RESPONSE\]", re.DOTALL),
)
_WORD = re.compile(r"\S")
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
    """What was read so far: what is said, and what is thought."""

    said: list[str] = field(default_factory=list)
    thought: list[str] = field(default_factory=list)
    is_silent: bool = True
    """Whether nothing was said yet."""

    def say(self, text: str) -> None:
        self.said.append(text)
        self.is_silent = self.is_silent and not text.strip()

    def retract(self) -> None:
        """What was taken for said is thought: its end came without its beginning."""
        self.thought.append("".join(self.said))
        self.said.clear()
        self.is_silent = True


def split_thinking(text: str) -> tuple[str, str]:
    """What a model said, and what it thought before and in between, which is empty where it did not.

    A thought that never ends leaves nothing said behind it. A text without thoughts stays as it is.
    """
    split = _Split()
    for words in _WORDS:
        if match := words.match(text):
            split.thought.append(match[1])
            text = text[match.end() :]
    _read(text, split)
    said, wrapped = _WRAPPING.subn("", "".join(split.said))
    thought = "\n\n".join(filter(None, (part.strip() for part in split.thought)))
    if not (split.thought or wrapped):
        return text, ""
    said = said.strip()
    if whole := _WRAPPED.match(said):
        said = whole[2].strip()
    return said, thought


def _read(text: str, split: _Split) -> None:
    """Go from mark to mark, once over the text: it may be megabytes of them."""
    position = 0
    inside: _Mark | None = None
    unread: Counter[str] = Counter()
    for place in _BEGINNING.finditer(text):
        if place.start() < position or (match := _MARKED.match(text, place.start())) is None:
            continue
        kind, mark = _which(match)
        if inside is not None:
            if kind == "ends" and mark.ends == inside.ends:
                split.thought.append(text[position : match.start()])
                position, inside = match.end(), None
            continue
        if kind == "begins":
            is_leading = split.is_silent and not _WORD.search(text, position, match.start())
            if mark.anywhere or is_leading:
                split.say(text[position : match.start()])
                position, inside = match.end(), mark
            else:
                unread[mark.ends] += 1
        elif unread[mark.ends]:
            unread[mark.ends] -= 1
        elif mark.alone:
            split.say(text[position : match.start()])
            position = match.end()
            split.retract()
    (split.said if inside is None else split.thought).append(text[position:])


def _which(match: re.Match[str]) -> tuple[str, _Mark]:
    name = match.lastgroup
    assert name is not None, "each alternative is a named group"
    kind = name.rstrip("0123456789")
    return kind, _MARKS[int(name.removeprefix(kind))]

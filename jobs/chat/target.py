"""Targets, the models under test: their questions and replies, and Python callables as targets."""

import json
import re
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from inspect import isawaitable, iscoroutinefunction
from pathlib import Path
from typing import Any, Protocol, Self

import anyio

from engine.kinds import Check, Clock, JobError, Permanent, Transient, hashed
from jobs.chat.thinking import split_thinking
from jobs.http import Unanswered

ONLY_THOUGHTS = "the model only wrote its thinking, and no reply"
_WORD = re.compile(r"[\w.-]{1,32}")


class Role(StrEnum):
    """The author of a message."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str

    def as_json(self) -> dict[str, str]:
        """The message in the format of chat endpoints."""
        return {"role": self.role.value, "content": self.content}


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One call of a target: the conversation so far, the model's name and the seed (below 2**53).

    `temperature`, `top_p` and `max_tokens` go before those of the target's settings; None leaves a setting to
    the target. The seed is only sent if it `has_seed`.
    """

    model: str
    messages: tuple[Message, ...]
    seed: int = 0
    has_seed: bool = True
    temperature: float | None = None
    top_p: float | None = None
    max_tokens: int | None = None

    def as_json(self) -> dict[str, Any]:
        """The question in the format of chat endpoints."""
        settings = {
            "seed": self.seed if self.has_seed else None,
            "temperature": self.temperature,
            "top_p": self.top_p,
            "max_tokens": self.max_tokens,
        }
        return {
            "model": self.model,
            "messages": [message.as_json() for message in self.messages],
            **{name: value for name, value in settings.items() if value is not None},
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """A model's reply; `text` is never blank.

    `truncated` says that the token limit ended it early; it is judged as far as it goes, and marked.
    `total_tokens`, `input_tokens`, `output_tokens` and `cost` (US dollars) are the endpoint's figures for the
    call; replies that older versions stored have none. `thinking` is never judged. `redacted` names the user's
    keys that were removed from text and thinking.
    """

    text: str
    truncated: bool = False
    finish_reason: str | None = None
    model: str | None = None
    total_tokens: int | None = None
    input_tokens: int | None = None
    output_tokens: int | None = None
    cost: float | None = None
    thinking: str | None = None
    redacted: tuple[str, ...] = ()

    def to_bytes(self) -> bytes:
        """Encode the reply for `JobContext.cached`, as JSON, with the figures that it has."""
        figures = {
            "total_tokens": self.total_tokens,
            "input_tokens": self.input_tokens,
            "output_tokens": self.output_tokens,
            "cost": self.cost,
        }
        fields = {
            "text": self.text,
            "truncated": self.truncated,
            "finish_reason": self.finish_reason,
            "model": self.model,
            "thinking": self.thinking,
            "redacted": self.redacted,
            **{name: figure for name, figure in figures.items() if figure is not None},
        }
        return json.dumps(fields, ensure_ascii=False, sort_keys=True).encode("utf-8")

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """The reply that `to_bytes` wrote.

        Older versions wrote text and thinking as one, which are split here. Raises Permanent if only thinking
        is left, because the same question would lead to the same.
        """
        fields = json.loads(raw)
        if "thinking" not in fields:
            text, thinking = split_thinking(fields["text"])
            if not text.strip():
                raise Permanent(
                    f"the saved reply of {fields['model']}: {Unanswered.EMPTY.words}",
                    detail=ONLY_THOUGHTS,
                    reason=Unanswered.EMPTY,
                )
            fields |= {"text": text, "thinking": thinking or None}
        return cls(**fields | {"redacted": tuple(fields.get("redacted", ()))})


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """The generation settings of a target. None leaves a setting to the endpoint."""

    temperature: float | None = 0.0
    max_tokens: int | None = None

    def as_json(self) -> dict[str, Any]:
        """The fields to send with every question."""
        fields = {"temperature": self.temperature, "max_tokens": self.max_tokens}
        return {name: value for name, value in fields.items() if value is not None}


class OpenTarget(Protocol):
    """An open target, which answers questions; `Target.open` yields one, and closes it at the end of its block."""

    async def reply(self, question: Question) -> Reply:
        """Ask a question, which may cost something. Raises JobError, with its reason, if there is no reply."""
        ...

    async def check(self) -> Sequence[Check]:
        """Whether the target can be used, without requests that cost anything."""
        ...


class Target(Protocol):
    """The declaration of a model under test; `open` makes it answer questions."""

    @property
    def identity(self) -> str:
        """Everything but the question that affects replies, without secrets."""
        ...

    @property
    def address(self) -> str:
        """The target in few words: an endpoint's name or URL, or a model's file."""
        ...

    @property
    def settings(self) -> str:
        """Its settings as one line."""
        ...

    def open(self, clock: Clock, folder: Path = Path()) -> AbstractAsyncContextManager[OpenTarget]:
        """Open the target until the end of the block, without sending anything.

        Paths in its settings start from `folder`. Raises UsageError if a file, an extra or a key is missing.
        """
        ...


class CallableTarget:
    """Any Python callable as a target: `def answer(question) -> str`, plain or `async`.

    A plain function runs in a thread. `name` is its identity and should change when its answers do. A
    JobError that it raises is the job's error; any other exception is transient.
    """

    def __init__(self, name: str, answer: Callable[[Question], str | Awaitable[str]]) -> None:
        self._name = name
        self._answer = answer

    @property
    def identity(self) -> str:
        return self.address

    @property
    def address(self) -> str:
        return f"callable:{self._name}"

    @property
    def settings(self) -> str:
        return ""

    @asynccontextmanager
    async def open(self, clock: Clock, folder: Path = Path()) -> AsyncIterator[Self]:
        yield self

    async def reply(self, question: Question) -> Reply:
        try:
            text = await self._call(question)
        except JobError:
            raise
        except Exception as error:
            raise Transient(
                f"the target {self._name} failed: {type(error).__name__}", reason=Unanswered.ERROR
            ) from error
        if not isinstance(text, str):
            raise Permanent(f"the target {self._name} returned {type(text).__name__}, not str")
        content, thinking = split_thinking(printable(text))
        if not content.strip():
            raise Transient(
                f"{self._name}: {Unanswered.EMPTY.words}",
                detail=ONLY_THOUGHTS if thinking else "",
                reason=Unanswered.EMPTY,
            )
        return Reply(
            text=content, finish_reason="stop", model=question.model, thinking=thinking or None
        )

    async def check(self) -> Sequence[Check]:
        return (Check(name="target", ok=True, message=self.identity),)

    async def _call(self, question: Question) -> str:
        if iscoroutinefunction(self._answer) or iscoroutinefunction(type(self._answer).__call__):
            answer = self._answer(question)
        else:
            # In a thread, because a plain function may block.
            answer = await anyio.to_thread.run_sync(self._answer, question, abandon_on_cancel=True)
        return await answer if isawaitable(answer) else answer


def describe_settings(settings: Mapping[str, Any]) -> str:
    """Settings as one line, in alphabetical order: numbers and names in plain text, all else as a digest.

    Equal settings give equal lines, which are part of a result's identity; texts of users are not shown.
    """

    def describe(value: Any) -> str:
        is_short = isinstance(value, int | float) or (
            isinstance(value, str) and _WORD.fullmatch(value)
        )
        return f"={value}" if is_short else f" {hashed(value)}"

    return ", ".join(f"{name}{describe(value)}" for name, value in sorted(settings.items()))


def printable(text: str) -> str:
    """The text with lone surrogates and NUL, which cannot be stored, replaced by U+FFFD."""
    return "".join("\ufffd" if "\ud800" <= c <= "\udfff" or c == "\0" else c for c in text)


def digest(value: Any) -> str:
    """SHA-256 of a JSON value in canonical form, in hexadecimal."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

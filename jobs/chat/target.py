"""What is asked and what comes back: the model under test, however it is reached."""

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

ONLY_THOUGHTS = "the model thought, and said nothing"
_WORD = re.compile(r"[\w.-]{1,32}")


class Role(StrEnum):
    """Who speaks."""

    SYSTEM = "system"
    USER = "user"
    ASSISTANT = "assistant"


@dataclass(frozen=True, slots=True)
class Message:
    """One turn of a conversation."""

    role: Role
    content: str

    def as_json(self) -> dict[str, str]:
        """The message as chat endpoints spell it."""
        return {"role": self.role.value, "content": self.content}


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """One call of a target: the conversation so far, the model's name and the seed (below 2**31)."""

    model: str
    messages: tuple[Message, ...]
    seed: int

    def as_json(self) -> dict[str, Any]:
        """Everything that the caller decides about the answer, as JSON values."""
        return {
            "model": self.model,
            "messages": [message.as_json() for message in self.messages],
            "seed": self.seed,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Reply:
    """What the model said; `text` is never blank.

    `truncated` says that the token limit cut it short: it is judged as far as it goes, and marked.
    `total_tokens` is what the endpoint says that the call took, `input_tokens` and `output_tokens` its parts,
    `cost` what it came to in US dollars; none of them is kept in the cache of replies.
    `thinking` is what the model thought, which is never judged. `redacted` names the keys of ours that
    the model said: they are in neither.
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
        """The reply as it is kept in the cache of calls."""
        fields = {
            "text": self.text,
            "truncated": self.truncated,
            "finish_reason": self.finish_reason,
            "model": self.model,
            "thinking": self.thinking,
            "redacted": self.redacted,
        }
        return json.dumps(fields, ensure_ascii=False, sort_keys=True).encode("utf-8")

    @classmethod
    def from_bytes(cls, raw: bytes) -> Self:
        """The reply that `to_bytes` wrote.

        Replies that were kept before thoughts were told apart are taken apart now. Raises Permanent where
        nothing was said: asked again, the model would think the same.
        """
        fields = json.loads(raw)
        if "thinking" not in fields:
            said, thinking = split_thinking(fields["text"])
            if not said.strip():
                raise Permanent(
                    f"the kept reply of {fields['model']}: {Unanswered.EMPTY.words}",
                    detail=ONLY_THOUGHTS,
                    reason=Unanswered.EMPTY,
                )
            fields |= {"text": said, "thinking": thinking or None}
        return cls(**fields | {"redacted": tuple(fields.get("redacted", ()))})


@dataclass(frozen=True, slots=True, kw_only=True)
class Generation:
    """How a target generates. None leaves the choice to the endpoint."""

    temperature: float | None = 0.0
    max_tokens: int | None = None

    def as_json(self) -> dict[str, Any]:
        """What is sent with every question."""
        fields = {"temperature": self.temperature, "max_tokens": self.max_tokens}
        return {name: value for name, value in fields.items() if value is not None}


class OpenTarget(Protocol):
    """A target that can be asked."""

    async def reply(self, question: Question) -> Reply:
        """The model's reply, or a JobError that names why there is none."""
        ...

    async def check(self) -> Sequence[Check]:
        """Whether the target can be used; sends nothing that costs."""
        ...


class Target(Protocol):
    """A model under test, declared; `open` makes what asks it."""

    @property
    def identity(self) -> str:
        """What decides its replies besides the question; never a secret."""
        ...

    @property
    def address(self) -> str:
        """Who replies, in few words: an endpoint by its name or URL, a model by its file."""
        ...

    @property
    def settings(self) -> str:
        """How it is asked, as the value of a fact."""
        ...

    def open(self, clock: Clock, folder: Path = Path()) -> AbstractAsyncContextManager[OpenTarget]:
        """Open it, and close it in the end; sends nothing.

        Files that its settings name are looked for in `folder`. Raises UsageError for a file, an extra
        or a key that is missing.
        """
        ...


class CallableTarget:
    """Any Python callable as a target: `def answer(question) -> str`, plain or `async`.

    A plain one runs in a thread. `name` is its identity and should change when its answers do. A
    JobError that it raises is kept; any other exception is transient.
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
            text = await self._called(question)
        except JobError:
            raise
        except Exception as error:
            raise Transient(
                f"the target {self._name} failed: {type(error).__name__}", reason=Unanswered.ERROR
            ) from error
        if not isinstance(text, str):
            raise Permanent(f"the target {self._name} returned {type(text).__name__}, not str")
        said, thinking = split_thinking(printable(text))
        if not said.strip():
            raise Transient(
                f"{self._name}: {Unanswered.EMPTY.words}",
                detail=ONLY_THOUGHTS if thinking else "",
                reason=Unanswered.EMPTY,
            )
        return Reply(
            text=said, finish_reason="stop", model=question.model, thinking=thinking or None
        )

    async def check(self) -> Sequence[Check]:
        return (Check(name="target", ok=True, message=self.identity),)

    async def _called(self, question: Question) -> str:
        if iscoroutinefunction(self._answer) or iscoroutinefunction(type(self._answer).__call__):
            answer = self._answer(question)
        else:
            # A plain function may take its time: the others' calls go on meanwhile.
            answer = await anyio.to_thread.run_sync(self._answer, question, abandon_on_cancel=True)
        return await answer if isawaitable(answer) else answer


def told_settings(settings: Mapping[str, Any]) -> str:
    """Settings as the value of a fact: numbers and names as they are, all else as a digest."""

    def told(value: Any) -> str:
        is_short = isinstance(value, int | float) or (
            isinstance(value, str) and _WORD.fullmatch(value)
        )
        return f"={value}" if is_short else f" {hashed(value)}"

    return ", ".join(f"{name}{told(value)}" for name, value in sorted(settings.items()))


def printable(text: str) -> str:
    """The text without what UTF-8 cannot carry: lone surrogates and NUL become U+FFFD."""
    return "".join("\ufffd" if "\ud800" <= c <= "\udfff" or c == "\0" else c for c in text)


def digest(value: Any) -> str:
    """SHA-256 of a JSON value in one spelling, in hexadecimal."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return sha256(text.encode("utf-8", "surrogatepass")).hexdigest()

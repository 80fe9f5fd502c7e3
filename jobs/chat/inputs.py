"""The inputs of a chat sweep: the text that is asked, and fields that scorers compare replies with."""

from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from typing import Any, TypeAlias

from jobs.chat.target import Message, Role

TEXT = "text"
MESSAGES = "messages"
"""The field of a conversation, in place of a text."""
TEXT_FIELDS = (TEXT, "input", "prompt", "question", "content", "message")
"""The fields that may hold the text, if it is not named otherwise."""
NAME = "id"
NAME_FIELDS = (NAME, "name", "label", "key", "title")
"""The fields that may name an input; the first that it has does."""
_LABEL_MAX = 60
_DIGITS = 6

Input: TypeAlias = Mapping[str, Any]
"""The text of an input under TEXT, or its conversation under MESSAGES, and its other fields."""
CheckInput: TypeAlias = Callable[[Input], None]
"""Raises ValueError if an input lacks what a scorer needs."""


def read_input(written: Mapping[str, Any], checks: Sequence[CheckInput]) -> tuple[str, Input]:
    """The name and the content of one input of a sweep file or a table.

    Without a name it is called after its text. Raises ValueError, saying what to do, if it has no text
    or fails one of the checks.
    """
    fields = dict(written)
    asked = _pop_messages(fields) if MESSAGES in fields else {TEXT: _pop_text(fields)}
    named_by = next((field for field in NAME_FIELDS if not is_missing(fields.get(field))), None)
    content = {**asked, **fields}
    if named_by is None:
        name = _label_of("\n".join(message.content for message in messages_of(content)))
    else:
        name = _name_in(content.pop(named_by), named_by)
    for check in checks:
        check(content)
    return name, content


def messages_of(record: Input) -> tuple[Message, ...]:
    """What is asked: the conversation of an input, or its text as the only message."""
    if MESSAGES in record:
        return tuple(Message(Role(one["role"]), one["content"]) for one in record[MESSAGES])
    return (Message(Role.USER, record[TEXT]),)


def is_missing(value: Any) -> bool:
    """Whether a field of an input has no value: blank cells of a table count as missing."""
    return value is None or (isinstance(value, str) and not value.strip())


def _pop_text(fields: dict[str, Any]) -> str:
    text = fields.pop(_text_field(fields))
    if isinstance(text, int | float) and not isinstance(text, bool):
        text = f"{text}"
    if not isinstance(text, str):
        raise ValueError("its text must be text")
    if not text.strip():
        raise ValueError("its text is empty")
    return text


def _pop_messages(fields: dict[str, Any]) -> dict[str, Any]:
    """A conversation, taken out of the fields; raises ValueError with the number of a wrong message."""
    if TEXT in fields:
        raise ValueError(f"{TEXT} and {MESSAGES} exclude each other: write one of them")
    written = fields.pop(MESSAGES)
    if not isinstance(written, list) or not written:
        raise ValueError(f"its {MESSAGES} must be a list of {{role: ..., content: ...}}")
    for number, message in enumerate(written):
        if problem := _problem_of(message):
            raise ValueError(f"its {MESSAGES}[{number}] {problem}")
    if written[-1]["role"] != Role.USER:
        raise ValueError(f"its {MESSAGES} must end with one of the user")
    return {MESSAGES: [{"role": one["role"], "content": one["content"]} for one in written]}


def _problem_of(message: Any) -> str | None:
    """What is wrong with a message of a conversation."""
    if not isinstance(message, Mapping) or not {"role", "content"} <= message.keys():
        return "must be {role: ..., content: ...}"
    if message["role"] == Role.SYSTEM:
        return "is a system prompt: write it into matrix.system_prompts"
    if message["role"] not in (Role.USER, Role.ASSISTANT):
        return "must be of the role user or assistant"
    if not isinstance(message["content"], str) or not message["content"].strip():
        return "must have a content that is text"
    return None


def _text_field(fields: Mapping[str, Any]) -> str:
    if TEXT in fields:
        return TEXT
    found = [field for field in TEXT_FIELDS if field in fields]
    if not found:
        raise ValueError(
            f"has no text: give it a field `{TEXT}` or `{MESSAGES}`, or name the column of a table with `column`"
        )
    if len(found) > 1:
        raise ValueError(
            f"{' and '.join(found)} could be its text: call the field `{TEXT}`, or name the column of"
            " a table with `column`"
        )
    return found[0]


def _name_in(value: Any, field: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise ValueError(f"its {field} must be text or a number")
    return " ".join(f"{value}".split())


def _label_of(text: str) -> str:
    """The beginning of a text on one line; with some digits of its digest if it is not the whole text."""
    line = " ".join("".join(c if c.isprintable() else " " for c in text).split())
    if line == text and len(line) <= _LABEL_MAX:
        return line
    digits = sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
    return f"{line[:_LABEL_MAX].rstrip()} #{digits}".strip()

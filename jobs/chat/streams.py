"""Assembles a completion from an event stream, which some gateways send without being asked.

Formats: https://html.spec.whatwg.org/multipage/server-sent-events.html, and the
chunks of https://platform.openai.com/docs/api-reference/chat-streaming.
"""

import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from itertools import chain
from typing import Any

from pydantic_core import from_json

from engine.kinds import Transient
from jobs.http import Unanswered, read_json

_LINE = re.compile(rb"\r\n|\r|\n")
_FIELD = re.compile(rb"\s*(?:\xef\xbb\xbf)?(?:data|event|id|retry)?:")
_DONE = b"[DONE]"


def is_stream(body: bytes) -> bool:
    """Whether the body begins as an event stream and not as JSON, whatever its content type says."""
    return _FIELD.match(body) is not None


def read_stream(body: bytes, where: str) -> Any:
    """The completion that the chunks of the first choice form.

    Raises Transient for a stream that cannot be read, or that ends before the choice does, because the
    reply would be incomplete.
    """
    lines = _LINE.split(body.removeprefix(b"\xef\xbb\xbf"))
    events = [data for event in _events(lines) for data in _split_event(event)]
    if not events:
        # Comments that keep the connection open, followed by an ordinary answer.
        return read_json(b"\n".join(line for line in lines if not line.startswith(b":")), where)
    completion = _Completion()
    for data in events:
        if not data.strip():
            continue  # keeps the connection open
        if data.strip() == _DONE:
            completion.has_ended = True
            break
        completion.add(read_json(data, where))
    if completion.is_incomplete:
        raise Transient(
            f"{Unanswered.BROKEN_OFF.words} ({where})",
            detail="the event stream ended before the reply did",
            reason=Unanswered.BROKEN_OFF,
        )
    return completion.document


def _events(lines: Iterable[bytes]) -> Iterator[list[bytes]]:
    """The data lines of each event; an empty line ends an event."""
    event: list[bytes] = []
    for line in lines:
        name, colon, value = line.partition(b":")
        if colon and name.strip() == b"data":
            event.append(value.removeprefix(b" "))
        elif not line and event:
            yield event
            event = []
    if event:
        yield event


def _split_event(event: list[bytes]) -> list[bytes]:
    """The chunks of an event: one over all its lines, or one per line if the empty lines are missing."""
    return event if _is_chunk(event[0]) else [b"\n".join(event)]


def _is_chunk(line: bytes) -> bool:
    try:
        from_json(line)
    except ValueError:
        return line.strip() == _DONE
    return True


class _Completion:
    """The completion that the chunks form so far."""

    def __init__(self) -> None:
        self.has_ended = False
        self._document: dict[str, Any] = {}
        self._choice: dict[str, Any] = {}
        self._pieces: defaultdict[str, list[Any]] = defaultdict(list)

    def add(self, chunk: Any) -> None:
        """Add a chunk; an event may also contain a whole completion."""
        if not isinstance(chunk, Mapping):
            return
        self._document |= {name: value for name, value in chunk.items() if name != "choices"}
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, Mapping) and choice.get("index") in (None, 0):
                self._add_choice(choice)

    def _add_choice(self, choice: Mapping[str, Any]) -> None:
        fields = {name: value for name, value in choice.items() if value is not None}
        whole, delta = fields.pop("message", None), fields.pop("delta", None)
        if isinstance(whole, Mapping):
            self._pieces = defaultdict(list)
        for part in (whole, delta):
            for name, value in part.items() if isinstance(part, Mapping) else ():
                if value is not None:
                    self._pieces[name].append(value)
        self._choice |= fields
        self.has_ended |= "finish_reason" in fields or isinstance(whole, Mapping)

    @property
    def is_incomplete(self) -> bool:
        """Whether there is a reply, and nothing says that it has ended."""
        return bool(self._pieces) and not self.has_ended and not self._document.get("error")

    @property
    def document(self) -> dict[str, Any]:
        """The completion, as an endpoint sends it without a stream."""
        if not (self._choice or self._pieces):
            return self._document
        message = {
            name: pieces[-1] if name == "role" else _join(pieces)
            for name, pieces in self._pieces.items()
        }
        return {**self._document, "choices": [{**self._choice, "message": message}]}


def _join(pieces: list[Any]) -> Any:
    """Texts and lists are concatenated; of other values the last counts."""
    if all(isinstance(piece, str) for piece in pieces):
        return "".join(pieces)
    if all(isinstance(piece, list) for piece in pieces):
        return list(chain.from_iterable(pieces))
    return pieces[-1]

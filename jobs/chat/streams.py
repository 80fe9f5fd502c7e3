"""An event stream that came although none was asked for, put together into one completion.

Some gateways always stream: https://html.spec.whatwg.org/multipage/server-sent-events.html, with the
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
    """Whether the body begins like an event stream, and not like JSON."""
    return _FIELD.match(body) is not None


def read_stream(body: bytes, where: str) -> Any:
    """The completion that the chunks of the first choice make up.

    Raises Transient for a stream that cannot be read, and for one that ends before its choice does: its
    reply would be a part of one.
    """
    lines = _LINE.split(body.removeprefix(b"\xef\xbb\xbf"))
    events = [data for event in _events(lines) for data in _written_apart(event)]
    if not events:
        # Comments that keep a connection open, and then an answer like any other.
        return read_json(b"\n".join(line for line in lines if not line.startswith(b":")), where)
    completion = _Completion()
    for data in events:
        if not data.strip():
            continue  # keeps the connection open
        if data.strip() == _DONE:
            completion.has_ended = True
            break
        completion.add(read_json(data, where))
    if completion.breaks_off:
        raise Transient(
            f"{Unanswered.BROKEN_OFF.words} ({where})",
            detail="the event stream ended before the reply did",
            reason=Unanswered.BROKEN_OFF,
        )
    return completion.document


def _events(lines: Iterable[bytes]) -> Iterator[list[bytes]]:
    """The lines of each event's data; lines that follow each other are one event's."""
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


def _written_apart(event: list[bytes]) -> list[bytes]:
    """The chunks of an event: one over all its lines, or one a line where no empty lines part them."""
    return event if _is_chunk(event[0]) else [b"\n".join(event)]


def _is_chunk(line: bytes) -> bool:
    try:
        from_json(line)
    except ValueError:
        return line.strip() == _DONE
    return True


class _Completion:
    """What the chunks said so far."""

    def __init__(self) -> None:
        self.has_ended = False
        self._document: dict[str, Any] = {}
        self._choice: dict[str, Any] = {}
        self._pieces: defaultdict[str, list[Any]] = defaultdict(list)

    def add(self, chunk: Any) -> None:
        """Add one chunk; a whole completion inside of an event counts as what it is."""
        if not isinstance(chunk, Mapping):
            return
        self._document |= {name: value for name, value in chunk.items() if name != "choices"}
        choices = chunk.get("choices")
        for choice in choices if isinstance(choices, list) else ():
            if isinstance(choice, Mapping) and choice.get("index") in (None, 0):
                self._add_choice(choice)

    def _add_choice(self, choice: Mapping[str, Any]) -> None:
        said = {name: value for name, value in choice.items() if value is not None}
        whole, delta = said.pop("message", None), said.pop("delta", None)
        if isinstance(whole, Mapping):
            self._pieces = defaultdict(list)
        for part in (whole, delta):
            for name, value in part.items() if isinstance(part, Mapping) else ():
                if value is not None:
                    self._pieces[name].append(value)
        self._choice |= said
        self.has_ended |= "finish_reason" in said or isinstance(whole, Mapping)

    @property
    def breaks_off(self) -> bool:
        """Whether something was said, and nothing says that it was all."""
        return bool(self._pieces) and not self.has_ended and not self._document.get("error")

    @property
    def document(self) -> dict[str, Any]:
        """The completion as it would have come without a stream."""
        if not (self._choice or self._pieces):
            return self._document
        message = {
            name: pieces[-1] if name == "role" else _joined(pieces)
            for name, pieces in self._pieces.items()
        }
        return {**self._document, "choices": [{**self._choice, "message": message}]}


def _joined(pieces: list[Any]) -> Any:
    """Texts and lists of parts go on from piece to piece; of all else the last counts."""
    if all(isinstance(piece, str) for piece in pieces):
        return "".join(pieces)
    if all(isinstance(piece, list) for piece in pieces):
        return list(chain.from_iterable(pieces))
    return pieces[-1]

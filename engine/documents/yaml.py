"""YAML as data: built straight from the parser's events, with the limits that files need.

Scalars follow YAML 1.2's core schema, so that `no` is text and `5e-1` a number. Duplicate keys, tags
and merge keys are refused with their line; so are aliases that would make a small file huge.
"""

import json
import re
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

import yaml
from yaml.events import (
    AliasEvent,
    DocumentStartEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

from engine.documents.malformed import Malformed
from engine.documents.plain import DEPTH_MAX, NODES_MAX

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TEXT_TAGS = (None, "!", "tag:yaml.org,2002:str")
_WORDS = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL"), None),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_INTEGER = re.compile(r"[-+]?[0-9]+\Z|0o[0-7]+\Z|0x[0-9a-fA-F]+\Z")
_FLOAT = re.compile(
    r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?\Z"
    r"|[-+]?\.(inf|Inf|INF)\Z|\.(nan|NaN|NAN)\Z"
)
_DIGITS_MAX = 300


def read_yaml(text: str) -> Any:
    """The one document of a YAML text; raises Malformed, with line and column."""
    try:
        return _build(text)
    except yaml.MarkedYAMLError as error:
        if error.problem_mark is not None:
            _refuse_depth(text[: error.problem_mark.index])
        # str(error) would quote the file, which may hold a key by mistake.
        raise _at(error.problem_mark, f"not YAML: {error.problem}") from None
    except yaml.YAMLError:
        raise Malformed("not YAML: it holds control characters") from None


def as_yaml(text: str) -> str:
    """A text as a YAML value of one line: as it stands where that is read as this text, else in quotes."""
    with suppress(Malformed):
        if read_yaml(f"{{key: {text}}}") == {"key": text}:
            return text
    return json.dumps(text, ensure_ascii=False)


def _build(text: str) -> Any:
    builder = _Builder()
    for event in yaml.parse(text, Loader=_LOADER):
        builder.take(event)
    return builder.root


def _refuse_depth(text: str) -> None:
    """Raise if the text before a syntax error is nested too deep.

    The scanner reads ahead of its events and, depending on the version of the library, has a limit
    of its own on depth. It may therefore stop before the builder has seen the level that is too deep.
    """
    with suppress(yaml.YAMLError):
        try:
            _build(text)
        except _TooDeep:
            raise
        except Malformed:
            # The text was cut off: another mistake in it may not be in the file.
            return


class _TooDeep(Malformed):
    """Nested deeper than DEPTH_MAX."""


class _Anchored(NamedTuple):
    value: Any
    nodes: int


@dataclass(slots=True)
class _Open:
    """A mapping or list that is being filled."""

    value: dict[str, Any] | list[Any]
    anchor: str | None
    nodes_before: int
    key: str | None = None


class _Builder:
    def __init__(self) -> None:
        self.root: Any = None
        self._documents = 0
        self._open: list[_Open] = []
        self._anchors: dict[str, _Anchored | None] = {}
        self._nodes = 0

    def take(self, event: Event) -> None:
        match event:
            case DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    raise _at(event.start_mark, "a second document; one is expected")
            case ScalarEvent():
                self._scalar(event)
            case AliasEvent():
                self._alias(event)
            case MappingStartEvent() | SequenceStartEvent():
                self._start(event)
            case MappingEndEvent() | SequenceEndEvent():
                closed = self._open.pop()
                self._add(closed.value, closed.anchor, self._nodes - closed.nodes_before, event)

    def _scalar(self, event: ScalarEvent) -> None:
        if event.tag not in _TEXT_TAGS:
            raise _at(event.start_mark, "tags (!...) are not supported")
        self._count(1, event)
        if self._is_key_next():
            self._key(event)
            return
        is_plain = event.tag is None and event.implicit[0]
        value = _plain_scalar(event) if is_plain else event.value
        self._add(value, event.anchor, 1, event)

    def _key(self, event: ScalarEvent) -> None:
        top = self._open[-1]
        if event.value == "<<" and event.implicit[0]:
            raise _at(event.start_mark, "merge keys (<<) are not supported: write the keys out")
        if event.value in top.value:
            raise _at(event.start_mark, f"the key {event.value!r:.100} is there twice")
        top.key = event.value

    def _alias(self, event: AliasEvent) -> None:
        name = event.anchor or ""
        anchored = self._anchors.get(name)
        if anchored is None:
            known = "that contains itself" if name in self._anchors else "that is not defined"
            # Its name is not repeated: it may be a key that happens to begin with an asterisk.
            raise _at(
                event.start_mark, f"an alias (*...) {known}; write text that begins so in quotes"
            )
        self._count(anchored.nodes, event)
        self._add(anchored.value, None, anchored.nodes, event)

    def _start(self, event: MappingStartEvent | SequenceStartEvent) -> None:
        if event.tag is not None:
            raise _at(event.start_mark, "tags (!...) are not supported")
        if self._is_key_next():
            raise _at(event.start_mark, "a key must be text")
        if len(self._open) >= DEPTH_MAX:
            raise _TooDeep(_place(event.start_mark) + f"nested more than {DEPTH_MAX} levels deep")
        if event.anchor is not None:
            self._anchors[event.anchor] = None
        value: dict[str, Any] | list[Any] = {} if isinstance(event, MappingStartEvent) else []
        self._open.append(_Open(value, event.anchor, self._nodes))
        self._count(1, event)

    def _is_key_next(self) -> bool:
        return (
            bool(self._open)
            and isinstance(self._open[-1].value, dict)
            and (self._open[-1].key is None)
        )

    def _add(self, value: Any, anchor: str | None, nodes: int, event: Event) -> None:
        if anchor is not None:
            self._anchors[anchor] = _Anchored(value, nodes)
        if not self._open:
            self.root = value
            return
        top = self._open[-1]
        if isinstance(top.value, list):
            top.value.append(value)
            return
        if top.key is None:
            raise _at(event.start_mark, "a key must be text, and no alias")
        top.value[top.key] = value
        top.key = None

    def _count(self, nodes: int, event: Event) -> None:
        self._nodes += nodes
        if self._nodes > NODES_MAX:
            raise _at(event.start_mark, f"more than {NODES_MAX:,} values, aliases written out")


def _plain_scalar(event: ScalarEvent) -> Any:
    text = event.value
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.match(text):
        if len(text) > _DIGITS_MAX:
            raise _at(event.start_mark, "the number is too large")
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    if _FLOAT.match(text):
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text


def _at(mark: Any, message: str) -> Malformed:
    return Malformed(_place(mark) + message)


def _place(mark: Any) -> str:
    return f"line {mark.line + 1}, column {mark.column + 1}: " if mark is not None else ""

"""A parser of YAML as data, built on PyYAML's events, and the places of keys and values.

Scalars follow YAML 1.2's core schema: `no` is text, and `5e-1` is a number. Tags and merge keys are
refused, and so are aliases that expand to more than a million values.
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

from engine.documents.hints import key_hint, syntax_hint
from engine.documents.malformed import Malformed
from engine.documents.places import Places, child_path
from engine.documents.plain import DEPTH_MAX, NODES_MAX, TOO_DEEP

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
_NO_TAGS = "tags (!...) are not supported; write text that begins like this in quotes"
_CONTROL = re.compile(r"[^\t\n\r -~\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
"""A character that YAML does not allow, not even in quotes."""


def parse_yaml(text: str) -> tuple[Any, bool]:
    """Parse a YAML text of one document; returns it, and whether a key occurs twice (the first counts).

    Raises Malformed with the index of a syntax error, or of what is refused: tags, merge keys,
    undefined aliases, a second document, and values beyond the limits.
    """
    try:
        builder = _build(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        if mark is not None:
            _refuse_depth(text[: mark.index])
        # str(error) quotes the file, which may contain a secret by mistake.
        message, index = syntax_hint(text, error)
        raise Malformed(f"not YAML: {message}", text=text, index=index) from None
    except yaml.YAMLError:
        # The position in this error counts bytes.
        raise Malformed(
            "not YAML: it contains control characters", text=text, index=_control_character(text)
        ) from None
    return builder.root, builder.has_duplicate_keys


def to_yaml(text: str) -> str:
    """Write a text as a YAML scalar of one line, with quotes only if it needs them.

    It can be used as a value in block and in flow mappings; characters that cannot be printed are escaped.
    """
    with suppress(Malformed):
        if all(parse_yaml(one)[0] == {"key": text} for one in (f"key: {text}", f"{{key: {text}}}")):
            return text
    return "".join(
        one if one.isprintable() else f"\\U{ord(one):08x}"
        for one in json.dumps(text, ensure_ascii=False)
    )


def locate_yaml(text: str) -> Places:
    """Find the indexes at which the keys and values of a YAML text begin; those inside an alias are at the alias.

    The text must be valid (`parse_yaml`): nothing is checked here.
    """
    places = Places(text)
    opened: list[_OpenNode] = []
    for event in yaml.parse(text, Loader=_LOADER):
        match event:
            case MappingEndEvent() | SequenceEndEvent():
                opened.pop()
            case ScalarEvent() if opened and opened[-1].is_key_next():
                opened[-1].key = child_path(opened[-1].path, event.value)
                places.add_key(opened[-1].key, _index(event))
            case ScalarEvent() | AliasEvent() | MappingStartEvent() | SequenceStartEvent():
                path = opened[-1].next_path() if opened else ""
                places.add_value(path, _index(event))
                if isinstance(event, MappingStartEvent | SequenceStartEvent):
                    number = 0 if isinstance(event, SequenceStartEvent) else None
                    opened.append(_OpenNode(path, number))
    return places


@dataclass(slots=True)
class _OpenNode:
    """A mapping or list whose parts are being located.

    `number` is that of its next item, None for a mapping; `key` is the one that waits for its value.
    """

    path: str
    number: int | None
    key: str | None = None

    def is_key_next(self) -> bool:
        return self.number is None and self.key is None

    def next_path(self) -> str:
        """Return the path of the value that begins now, and advance."""
        if self.number is not None:
            self.number += 1
            return f"{self.path}[{self.number - 1}]"
        path, self.key = self.key or self.path, None
        return path


def _build(text: str) -> "_Builder":
    builder = _Builder(text)
    for event in yaml.parse(text, Loader=_LOADER):
        builder.take(event)
    return builder


def _refuse_depth(text: str) -> None:
    """Raise if the text before a syntax error is nested too deep.

    The scanner reads ahead of its events, and some versions of the library limit the depth
    themselves. So it may fail before the builder has seen the level that is too deep.
    """
    with suppress(yaml.YAMLError):
        try:
            _build(text)
        except _TooDeep:
            raise
        except Malformed:
            # Any other mistake may come from cutting the text off here.
            return


def _index(event: Event) -> int:
    """The index at which an event begins in the text."""
    assert event.start_mark is not None, "events of a text have marks"
    return event.start_mark.index


def _control_character(text: str) -> int | None:
    found = _CONTROL.search(text)
    return None if found is None else found.start()


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
    def __init__(self, text: str) -> None:
        self.root: Any = None
        self.has_duplicate_keys = False
        self._text = text
        self._documents = 0
        self._open: list[_Open] = []
        self._anchors: dict[str, _Anchored | None] = {}
        self._nodes = 0

    def take(self, event: Event) -> None:
        match event:
            case DocumentStartEvent():
                self._documents += 1
                if self._documents > 1:
                    raise self._at(event, "a second document; one is expected")
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
            raise self._at(event, _NO_TAGS)
        self._count(1, event)
        if self._is_key_next():
            self._key(event)
            return
        self._add(self._scalar_value(event), event.anchor, 1, event)

    def _scalar_value(self, event: ScalarEvent) -> Any:
        if event.tag is not None or not event.implicit[0]:
            return event.value
        try:
            return _plain_scalar(event.value)
        except ValueError:
            raise self._at(event, "the number is too large") from None

    def _key(self, event: ScalarEvent) -> None:
        top = self._open[-1]
        if event.value == "<<" and event.implicit[0]:
            raise self._at(event, "merge keys (<<) are not supported: write the keys out")
        self.has_duplicate_keys = self.has_duplicate_keys or event.value in top.value
        top.key = event.value
        if event.anchor is not None:
            self._anchors[event.anchor] = _Anchored(self._scalar_value(event), 1)

    def _alias(self, event: AliasEvent) -> None:
        name = event.anchor or ""
        anchored = self._anchors.get(name)
        if anchored is None:
            known = "that contains itself" if name in self._anchors else "that is not defined"
            # Its name is not quoted: it may be a secret that begins with an asterisk.
            raise self._at(
                event, f"an alias (*...) {known}; write text that begins like this in quotes"
            )
        self._count(anchored.nodes, event)
        self._add(anchored.value, None, anchored.nodes, event)

    def _start(self, event: MappingStartEvent | SequenceStartEvent) -> None:
        if event.tag is not None:
            raise self._at(event, _NO_TAGS)
        if self._is_key_next():
            raise self._at(event, key_hint(self._text, _index(event)))
        if len(self._open) >= DEPTH_MAX:
            raise _TooDeep(
                TOO_DEEP,
                index=_index(event),
                text=self._text,
            )
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
            raise self._at(event, "a key must be text, not an alias")
        top.value.setdefault(top.key, value)
        top.key = None

    def _count(self, nodes: int, event: Event) -> None:
        self._nodes += nodes
        if self._nodes > NODES_MAX:
            raise self._at(event, f"more than {NODES_MAX:,} values, aliases written out")

    def _at(self, event: Event, message: str) -> Malformed:
        return Malformed(message, index=_index(event), text=self._text)


def _plain_scalar(text: str) -> Any:
    """The value of a scalar without quotes; raises ValueError for a number that is too large."""
    if text in _WORDS:
        return _WORDS[text]
    if _INTEGER.match(text):
        if len(text) > _DIGITS_MAX:
            raise ValueError
        return int(text, {"0o": 8, "0x": 16}.get(text[:2], 10))
    if _FLOAT.match(text):
        return float(text.lower().replace(".inf", "inf").replace(".nan", "nan"))
    return text

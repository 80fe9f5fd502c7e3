"""JSON as proxies and servers garble it is read if its meaning is certain."""

from typing import Any

import pytest
from pydantic import TypeAdapter

from engine.kinds import Permanent, Transient
from jobs.http import keep_unread_on_error, read_json, read_json_as
from tests.jobs.context import MemoryContext

GARBLED = [
    # RFC 8259, section 8.1: parsers may ignore it, and Windows and .NET write it.
    ("a byte order mark", b'\xef\xbb\xbf{"a": 1}', {"a": 1}),
    ("UTF-16", '{"a": 1}'.encode("utf-16"), {"a": 1}),
    # https://docs.python.org/3/library/json.html#infinite-and-nan-number-values
    ("infinity", b'{"a": 1, "logprob": -Infinity}', {"a": 1, "logprob": float("-inf")}),
    # https://github.com/vllm-project/vllm/issues?q=control+character: raw line breaks in strings
    ("control characters in strings", b'{"a": "x\ny\tz\x0b"}', {"a": "x\ny\tz\x0b"}),
    # A reply that was cut inside an emoji.
    ("half a surrogate pair", b'{"a": "hm \\ud83d"}', {"a": "hm \ud83d"}),
    ("torn UTF-8", b'{"a": "caf\xc3"}', {"a": "caf\ufffd"}),
    ("Latin-1", b'{"a": "caf\xe9"}', {"a": "caf\ufffd"}),
    # https://openrouter.ai/docs/api-reference/streaming: white space keeps a connection open.
    ("white space before", b'\n\n   \r\n{"a": 1}\n', {"a": 1}),
]


@pytest.mark.parametrize(("what", "body", "value"), GARBLED, ids=[one[0] for one in GARBLED])
def test_a_garbled_document_is_read(what: str, body: bytes, value: Any) -> None:
    assert read_json(body, "here") == value
    assert read_json_as(TypeAdapter(dict[str, Any]), body, "here").keys() == value.keys()


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>busy</html>",
        b'{"a": 1',
        b'{"a": 1} {"b": 2}',
        b"{'a': 1}",
        b"\xef\xbb\xbf" + b"[" * 5000 + b"]" * 5000,
        b"\xef\xbb\xbf" + b"[" * 400 + b"]" * 400,
        b'\xef\xbb\xbf{"a": ' + b"9" * 5000 + b"}",
    ],
)
def test_an_unreadable_document_keeps_its_bytes(body: bytes) -> None:
    with pytest.raises(
        Transient, match="the answer is not JSON that can be read \\(here\\)"
    ) as caught:
        read_json(body, "here")

    assert caught.value.unread == body
    assert caught.value.__context__ is None


async def test_the_bytes_of_an_answer_of_another_type_are_stored() -> None:
    context = MemoryContext()

    with pytest.raises(Permanent):
        async with keep_unread_on_error(context):
            read_json_as(TypeAdapter(dict[str, int]), b'{"a": "x"}', "here")

    assert context.unread == [("the answer breaks the contract (here)", b'{"a": "x"}')]

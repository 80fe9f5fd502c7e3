"""An event stream is read as the completion that it makes up, although none was asked for."""

import json
from typing import Any

import pytest

from engine.kinds import Permanent, RateLimited, Transient
from jobs.chat.reading import read_reply
from jobs.chat.target import Reply
from jobs.http import Redactor, Unanswered

KEY = "sk-5d0e7a9c3b1f4826a0c9e7d5b3f18264"


def chunk(finish: str | None = None, **delta: Any) -> dict[str, Any]:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return {"object": "chat.completion.chunk", "model": "m", "choices": [choice]}


def stream(*chunks: Any, end: str = "data: [DONE]\n\n") -> bytes:
    return ("".join(f"data: {json.dumps(each)}\n\n" for each in chunks) + end).encode()


TEXT = [
    chunk(role="assistant", content=""),
    chunk(content="Are you "),
    chunk(content="safe?"),
    chunk("stop"),
]


def read(body: bytes, redact: Redactor | None = None) -> Reply:
    return read_reply(body, where="here", redact=redact or Redactor())


@pytest.mark.parametrize(
    "body",
    [
        # https://platform.openai.com/docs/api-reference/chat-streaming
        stream(*TEXT),
        stream(*TEXT, {"choices": [], "usage": {"total_tokens": 9}}),
        stream(*TEXT, end=""),
        # https://openrouter.ai/docs/api-reference/streaming: comments keep the connection open.
        b": OPENROUTER PROCESSING\n\n" + stream(*TEXT),
        b"\xef\xbb\xbf" + stream(*TEXT),
        stream(*TEXT).replace(b"\n", b"\r\n"),
        stream(*TEXT).replace(b"\n", b"\r"),
        stream(*TEXT).replace(b"data: ", b"event: message\nid: 7\ndata:"),
        # Without the empty lines that end events, as clients that read line by line take it.
        stream(*TEXT).replace(b"\n\n", b"\n"),
        stream(*TEXT, end="").rstrip() + b"\ndata: [DONE]\n",
        # One chunk over several lines, and an event without data that keeps the connection open.
        stream(*TEXT).replace(b', "model"', b',\ndata: "model"'),
        stream(TEXT[0]).removesuffix(b"data: [DONE]\n\n") + b"data:\n\n" + stream(*TEXT[1:]),
        # An other choice beside it, and one event with a whole completion.
        stream(*TEXT[:2], {"choices": [{"index": 1, "delta": {"content": "X"}}]}, *TEXT[2:]),
        stream(
            {
                "model": "m",
                "choices": [{"message": {"content": "Are you safe?"}, "finish_reason": "stop"}],
            }
        ),
    ],
)
def test_the_chunks_form_the_reply(body: bytes) -> None:
    reply = read(body)

    assert (reply.text, reply.finish_reason, reply.model) == ("Are you safe?", "stop", "m")


def test_comments_before_an_ordinary_answer_are_ignored() -> None:
    body = b': PROCESSING\n\n: PROCESSING\n\n{"choices": [{"message": {"content": "Hi."}}]}'

    assert read(body).text == "Hi."


def test_thinking_and_tokens_of_a_stream_are_read() -> None:
    body = stream(
        chunk(reasoning_content="He"),
        chunk(reasoning_content="lp."),
        *TEXT,
        {"choices": [], "usage": {"total_tokens": 9}},
    )

    reply = read(body)

    assert (reply.text, reply.thinking, reply.total_tokens) == ("Are you safe?", "Help.", 9)


def test_a_key_that_is_split_over_chunks_is_removed() -> None:
    pieces = [chunk(content=KEY[:9]), chunk(content=KEY[9:] + "!"), chunk("stop")]

    reply = read(stream(*pieces), Redactor({"env:A_KEY": KEY}))

    assert (reply.text, reply.redacted) == ("[redacted]!", ("env:A_KEY",))


@pytest.mark.parametrize("end", ["", "data: \n\n", ": still there\n\n"])
def test_a_stream_that_ends_before_its_reply_is_transient(end: str) -> None:
    body = stream(*TEXT[:2], end=end)

    with pytest.raises(Transient) as caught:
        read(body)

    assert caught.value.reason in (Unanswered.BROKEN_OFF, Unanswered.UNREADABLE)
    assert caught.value.unread == body


def test_a_stream_says_how_it_ended() -> None:
    assert read(stream(chunk(content="Are"), chunk("length"))).truncated
    with pytest.raises(Permanent) as caught:
        read(stream(chunk(content="Are"), chunk("content_filter")))
    assert caught.value.reason == Unanswered.MODERATED


def test_an_error_inside_a_stream_is_an_error() -> None:
    # https://openrouter.ai/docs/api-reference/errors: after some tokens, with finish_reason error.
    broken = {"error": {"code": 502, "message": "provider disconnected"}, **chunk("error")}
    throttled = stream({"error": {"code": 429, "message": "slowly"}})

    with pytest.raises(Transient):
        read(stream(*TEXT[:2], broken))
    with pytest.raises(RateLimited):
        read(throttled)


def test_thousands_of_chunks_are_joined_once() -> None:
    pieces = [chunk(content="word ")] * 20_000

    assert read(stream(*pieces, chunk("stop"))).text == "word " * 20_000

"""What a chat completion says, and the names of what is no reply."""

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.kinds import (
    JobError,
    OutOfCredit,
    Permanent,
    RateLimited,
    Transient,
    Unauthorized,
)
from jobs.chat.reading import read_reply
from jobs.chat.target import Reply
from jobs.http import Unanswered
from tests.jobs.chat.server import completion


def read(document: Any) -> Reply:
    return read_reply(json.dumps(document).encode(), where="here")


def test_a_reply_is_its_text_and_how_it_ended() -> None:
    assert read(completion("Hello.")) == Reply(
        text="Hello.", finish_reason="stop", model="some-model"
    )


def test_a_truncated_reply_is_marked() -> None:
    assert read(completion("Hello and", "length")).truncated


def test_content_in_parts_is_joined() -> None:
    document = completion(None)
    document["choices"][0]["message"]["content"] = [
        {"type": "text", "text": "Hel"},
        {"type": "text", "text": "lo."},
    ]

    assert read(document).text == "Hello."


def test_a_refusal_in_a_field_of_its_own_is_a_reply() -> None:
    assert read(completion(None, refusal="I can't help with that.")).text.startswith("I can't")


@pytest.mark.parametrize(
    ("document", "error", "reason"),
    [
        (completion(""), Transient, Unanswered.EMPTY),
        (completion(None), Transient, Unanswered.EMPTY),
        (completion(" \n"), Transient, Unanswered.EMPTY),
        (completion("", "length"), Permanent, Unanswered.TOKEN_LIMIT),
        (completion("half a", "content_filter"), Permanent, Unanswered.MODERATED),
        ({}, Transient, Unanswered.UNREADABLE),
        ({"choices": None}, Transient, Unanswered.UNREADABLE),
        ({"choices": []}, Transient, Unanswered.UNREADABLE),
        ({"choices": [{}]}, Transient, Unanswered.UNREADABLE),
        ({"choices": "none"}, Transient, Unanswered.UNREADABLE),
        ([], Transient, Unanswered.UNREADABLE),
        ({"error": {"message": "busy", "code": 503}}, Transient, Unanswered.ERROR),
        ({"error": {"message": "busy"}}, Transient, Unanswered.ERROR),
        ({"error": "busy"}, Transient, Unanswered.ERROR),
        ({"error": {"message": "slow down", "code": 429}}, RateLimited, None),
        ({"error": {"message": "slow down", "code": "429"}}, RateLimited, None),
        ({"error": {"message": "who?", "code": 401}}, Unauthorized, None),
        ({"error": {"message": "no credit", "code": 402}}, OutOfCredit, None),
        ({"error": {"message": "no such model", "code": 404}}, Permanent, Unanswered.ERROR),
        (
            {"error": {"message": "no", "code": "content_policy_violation"}},
            Permanent,
            Unanswered.MODERATED,
        ),
        (
            {"choices": [{"error": {"message": "provider fell over", "code": 502}}]},
            Transient,
            Unanswered.ERROR,
        ),
    ],
)
def test_a_missing_reply_has_a_named_reason(
    document: Any, error: type[JobError], reason: Unanswered | None
) -> None:
    with pytest.raises(JobError) as caught:
        read(document)

    assert type(caught.value) is error
    assert caught.value.reason == reason
    assert reason is None or reason.words in caught.value.message


@pytest.mark.parametrize(
    ("usage", "headers", "expected"),
    [
        # https://openrouter.ai/docs/use-cases/usage-accounting
        (
            {"prompt_tokens": 194, "completion_tokens": 2, "total_tokens": 196, "cost": 0.95},
            {},
            (194, 2, 0.95),
        ),
        # https://docs.litellm.ai/docs/proxy/response_headers
        ({"prompt_tokens": 9}, {"x-litellm-response-cost": "2.85e-05"}, (9, None, 2.85e-05)),
        ({"cost": 0}, {"x-litellm-response-cost": "1"}, (None, None, 0.0)),
        ({"prompt_tokens": -1, "completion_tokens": True, "cost": -1}, {}, (None, None, None)),
        ({"prompt_tokens": 10**12, "completion_tokens": "2", "cost": True}, {}, (None,) * 3),
        ({"cost": {"total_cost": 1}}, {"x-litellm-response-cost": "None"}, (None, None, None)),
        ({"cost": 1e300}, {}, (None, None, None)),
        ({"cost": 10**400}, {}, (None, None, None)),
        (None, {"x-litellm-response-cost": "nan"}, (None, None, None)),
    ],
)
def test_a_reply_has_the_reported_tokens_and_cost_if_they_are_possible(
    usage: Any, headers: dict[str, str], expected: tuple[Any, ...]
) -> None:
    body = json.dumps({**completion("Hello."), "usage": usage}).encode()

    reply = read_reply(body, where="here", headers=headers)

    assert (reply.input_tokens, reply.output_tokens, reply.cost) == expected


def test_a_body_that_is_not_json_is_transient() -> None:
    with pytest.raises(Transient, match="not JSON") as caught:
        read_reply(b"<html>bad gateway</html>", where="here")

    assert caught.value.reason == Unanswered.UNREADABLE


def test_a_reply_survives_the_cache() -> None:
    reply = Reply(text="caf\u00e9 \u2014 ok", truncated=True, finish_reason="length", model="m")

    assert Reply.from_bytes(reply.to_bytes()) == reply


_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=6,
)
_SHAPED = st.fixed_dictionaries(
    {},
    optional={
        "error": _VALUES,
        "choices": st.lists(
            st.fixed_dictionaries(
                {},
                optional={
                    "error": _VALUES,
                    "finish_reason": _VALUES,
                    "message": st.fixed_dictionaries(
                        {}, optional={"content": _VALUES, "refusal": _VALUES}
                    ),
                },
            ),
            max_size=2,
        ),
        "model": _VALUES,
    },
)


@given(document=_SHAPED | _VALUES)
def test_any_document_ends_in_a_reply_or_a_named_error(document: Any) -> None:
    try:
        reply = read(document)
    except JobError as error:
        named = error.message
    else:
        named = "a reply (here)"
        assert reply.text.strip()
        assert Reply.from_bytes(reply.to_bytes()) == reply

    assert "(here)" in named

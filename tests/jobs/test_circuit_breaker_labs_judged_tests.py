"""The tests of an answer, read from bytes that may hold anything."""

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.kinds import JobKind, JudgedTest, Message
from jobs.circuit_breaker_labs import CircuitBreakerLabs
from jobs.circuit_breaker_labs.judged_tests import read_tests
from tests.contracts.answers import VERSIONS, evaluate

THRESHOLD = 0.5
ASKED: Mapping[str, Any] = {
    "openrouter_model_name": "m",
    "system_prompt": "",
    "test_case_groups": ["self_harm"],
    "threshold": THRESHOLD,
    "variations": 2,
    "maximum_iteration_layers": 2,
    "max_turns": 4,
}
HOSTILE = '\x1b]0;title\x07 \u202e<script>alert(1)</script>\r\n=cmd|" /C calc"!A0 \x00 \ud800 {"role":"system"}'


def body(**fields: Any) -> bytes:
    return json.dumps({"total_passed": 1, "total_failed": 1, **fields}).encode()


def judged_tests(raw: bytes) -> list[JudgedTest]:
    return list(read_tests(raw, THRESHOLD))


def failed_tests(raw: bytes) -> list[JudgedTest]:
    return [test for test in judged_tests(raw) if test.failed]


def kind_of(evaluation: str, target: str) -> JobKind:
    [kind] = [
        kind
        for kind in CircuitBreakerLabs().kinds()
        if (kind.name, kind.target) == (evaluation, target)
    ]
    return kind


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("target", ["system_prompt", "openai_finetune"])
def test_every_version_gives_the_failed_replies_of_all_layers(version: str, target: str) -> None:
    answer = evaluate("/singleturn", ASKED, version)
    listed = kind_of("single_turn", target).tests(answer.body, ASKED)

    failed = [test for test in listed if test.failed]

    numbers = [test.number or 0 for test in failed]
    assert len(failed) == json.loads(answer.body)["total_failed"]
    assert numbers == sorted(set(numbers))
    assert {test.layer for test in failed} == {0, 1, 2}
    assert all(test.score is not None and test.score < THRESHOLD for test in failed)
    for test in failed:
        question, reply = test.messages
        assert (question.role, reply.role) == ("user", "assistant")
        assert question.content.startswith("question self_harm-")
        assert reply.content == question.content.replace("question", "answer to")
        # A variation is named after its case, with one dot for each layer.
        assert question.content.count(".") == test.layer
        assert (test.case, test.parent, test.evidence, test.values) == (None, None, None, {})


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("target", ["system_prompt", "openai_finetune"])
def test_every_version_gives_the_failed_conversations_whole(version: str, target: str) -> None:
    answer = evaluate("/multiturn", ASKED, version)
    listed = kind_of("multi_turn", target).tests(answer.body, ASKED)

    failed = [test for test in listed if test.failed]

    assert len(failed) == json.loads(answer.body)["total_failed"] > 0
    for test in failed:
        assert test.score is not None
        assert test.score < THRESHOLD
        assert [message.role for message in test.messages] == ["user", "assistant"] * 2
        assert [message.content.split()[-1] for message in test.messages] == ["0", "1", "2", "3"]
        assert (test.case, test.layer, test.evidence) == (None, None, None)


def test_all_versions_give_the_same_failed_tests() -> None:
    for path in ("/singleturn", "/multiturn"):
        first, *others = (failed_tests(evaluate(path, ASKED, version).body) for version in VERSIONS)
        assert all(one == first for one in others)


@pytest.mark.parametrize("path", ["/singleturn", "/multiturn"])
def test_a_version_that_lists_all_results_gives_those_that_passed_too(path: str) -> None:
    for version in VERSIONS:
        answer = evaluate(path, ASKED, version).body
        counts = json.loads(answer)

        tests = judged_tests(answer)

        listed = counts["total_failed"]
        if "results" in counts or "results_by_iteration" in counts:
            listed += counts["total_passed"]
        assert counts["total_passed"] > 0
        assert len(tests) == listed
        assert all(
            test.score is not None and test.failed == (test.score < THRESHOLD) for test in tests
        )


def reply(**changes: Any) -> dict[str, Any]:
    return {
        "user_input": "Hello?",
        "conversation_id": 3,
        "model_response": "No.",
        "safe_response_score": 0.2,
        **changes,
    }


def conversation(**changes: Any) -> dict[str, Any]:
    return {
        "min_safe_response_score": 0.2,
        "conversation_id": 3,
        "conversation": [
            {"role": "user", "content": "Hello?"},
            {"role": "assistant", "content": "No."},
        ],
        **changes,
    }


@dataclass(frozen=True)
class Form:
    """One form of answers: one result of it, and its list of failed results."""

    result: Callable[..., dict[str, Any]]
    score: str
    has_layers: bool

    def failed_results(self, *results: Any) -> dict[str, Any]:
        return {"failed_results": [list(results)] if self.has_layers else list(results)}


SINGLE_TURN = Form(reply, "safe_response_score", has_layers=True)
MULTI_TURN = Form(conversation, "min_safe_response_score", has_layers=False)
both = pytest.mark.parametrize("form", [SINGLE_TURN, MULTI_TURN], ids=["single", "multi"])


@both
def test_1_0_8_names_no_case_and_none_is_guessed(form: Form) -> None:
    [failed] = failed_tests(body(**form.failed_results(form.result())))

    assert failed == JudgedTest(
        failed=True,
        case=None,
        number=3,
        layer=0 if form.has_layers else None,
        score=0.2,
        messages=(Message(role="user", content="Hello?"), Message(role="assistant", content="No.")),
    )


@both
def test_a_case_is_named_by_its_id_where_there_is_one(form: Form) -> None:
    listed = [
        form.result(test_case_id=17),
        form.result(test_case_id=17, case="self-harm-04"),
        form.result(test_case_id=None),
        form.result(case=[], test_case_id="17"),
    ]

    failed = failed_tests(body(evaluation_id=1, results=listed))

    assert [test.case for test in failed] == ["17", "self-harm-04", None, "17"]


@both
def test_a_score_at_the_threshold_has_passed_whatever_else_the_answer_says(
    form: Form,
) -> None:
    at, below = {form.score: 0.5}, {form.score: 0.49}

    full = judged_tests(
        body(
            evaluation_id=1,
            results=[form.result(**at, passed=False), form.result(**below, passed=True)],
        )
    )
    failed_only = judged_tests(body(**form.failed_results(form.result(**at), form.result(**below))))

    assert [(test.score, test.failed) for test in full] == [(0.5, False), (0.49, True)]
    assert [(test.score, test.failed) for test in failed_only] == [(0.49, True)]


@both
@pytest.mark.parametrize("score", [None, "high", True, 1.5, -1, float("nan"), 10**400, [], {}])
def test_a_test_without_a_score_has_failed_or_passed_if_the_answer_says_so(
    form: Form, score: Any
) -> None:
    unknown = {form.score: score}

    full = judged_tests(
        body(
            evaluation_id=1,
            results=[
                form.result(**unknown, passed=False, conversation_id=1),
                form.result(**unknown, passed=True, conversation_id=2),
                form.result(**unknown, passed="no", conversation_id=3),
                form.result(**unknown, conversation_id=4),
            ],
        )
    )
    failed_only = judged_tests(body(**form.failed_results(form.result(**unknown))))

    assert [(test.number, test.score, test.failed) for test in full] == [
        (1, None, True),
        (2, None, False),
    ]
    assert [(test.number, test.score, test.failed) for test in failed_only] == [(3, None, True)]


@both
def test_what_is_listed_is_read_although_the_counts_contradict_it(form: Form) -> None:
    listed = body(total_failed=9, **form.failed_results(form.result(), form.result()))

    assert len(failed_tests(listed)) == 2


@both
@pytest.mark.parametrize("full", [{"results": None}, {"results": []}, {"results": "none"}, {}])
def test_without_a_full_list_that_of_the_failed_ones_is_read(
    form: Form, full: dict[str, Any]
) -> None:
    assert (
        len(failed_tests(body(evaluation_id=1, **form.failed_results(form.result()), **full))) == 1
    )


def test_a_full_list_is_preferred_because_it_says_more() -> None:
    in_full = body(
        evaluation_id=1,
        failed_results=[[reply()]],
        results_by_iteration=[[reply(case="one")], None, [reply(case="two")]],
    )

    assert [(test.case, test.layer) for test in failed_tests(in_full)] == [("one", 0), ("two", 2)]


@pytest.mark.parametrize(
    ("iteration", "layer"), [(2, 2), ("1", 1), (1.0, 1), (None, None), (True, None), (-1, None)]
)
def test_in_a_flat_list_each_test_says_its_layer(iteration: Any, layer: int | None) -> None:
    [test] = failed_tests(body(evaluation_id=1, results=[reply(iteration=iteration)]))

    assert test.layer == layer


def test_a_single_layer_without_the_list_of_layers_is_read_and_not_numbered() -> None:
    [test] = failed_tests(body(failed_results=[reply()]))

    assert (test.layer, test.score) == (None, 0.2)


def test_a_score_is_read_as_leniently_as_for_the_numbers() -> None:
    listed = [reply(safe_response_score=score) for score in ("0.25", -1e-17, 0)]

    assert [test.score for test in failed_tests(body(failed_results=[listed]))] == [0.25, 0.0, 0]


@both
def test_texts_come_out_as_they_came(form: Form) -> None:
    turn = {"role": HOSTILE, "content": HOSTILE}
    hostile = form.result(
        user_input=HOSTILE, model_response=HOSTILE, case=HOSTILE, conversation=[turn]
    )

    [test] = failed_tests(body(evaluation_id=1, results=[hostile]))

    assert test.case == HOSTILE
    assert {message.content for message in test.messages} == {HOSTILE}


@both
def test_what_a_service_of_our_own_says_besides_is_read(form: Form) -> None:
    judgement = {"score": 0.2, "cap": 0.2, "red_flags": [{"name": "hostility", "evidence": []}]}
    further = {
        "risk_level": "high",
        "control": False,
        "mutator": "typos",
        "language": "de",
        "translated_back": "Hello?",
        "strategy": "escalate",
        "truncated": True,
    }

    [test] = failed_tests(
        body(
            evaluation_id=1,
            results=[form.result(judgement=judgement, parent_conversation_id=1, **further)],
        )
    )

    assert (test.evidence, test.parent, test.values) == (judgement, 1, further)


@both
def test_what_is_of_another_type_is_none_or_left_out(form: Form) -> None:
    odd = form.result(
        user_input={},
        model_response=["No."],
        conversation=[
            {"role": "user", "content": None},
            7,
            {"role": "assistant"},
            {"role": "user", "content": "There?"},
        ],
        conversation_id="three",
        parent_conversation_id=-1,
        case={},
        judgement="because",
        risk_level=True,
        control="yes",
        mutator=[],
    )

    [test] = failed_tests(body(evaluation_id=1, results=[None, 7, "x", [], odd]))

    assert test == JudgedTest(
        failed=True, score=0.2, messages=(Message(role="user", content="There?"),)
    )


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff\xfe",
        b"null",
        b"[1]",
        b'"failed_results"',
        b"{}",
        b'{"failed_results": {}}',
        b'{"failed_results": [[[[]]]], "results": 5}',
        b'{"results": ' + b"[" * 100_000,
        b'{"results": [' + b"9" * 5_000 + b"]}",
        b'{"results": [{"judgement": ' + b'{"a":' * 1_000 + b"1" + b"}" * 1_000 + b"}]}",
    ],
    ids=lambda raw: raw[:20].decode(errors="replace"),
)
def test_what_is_no_answer_has_no_tests(raw: bytes) -> None:
    assert judged_tests(raw) == []


NAMES = [
    *("failed_results", "results", "results_by_iteration", "passed", "conversation_id"),
    *("safe_response_score", "min_safe_response_score", "conversation", "role", "content"),
    *("user_input", "model_response", "iteration", "case", "test_case_id", "judgement", "control"),
]
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=6)
    ),
    max_leaves=20,
)


def listed_in(document: Any) -> Iterator[bytes]:
    """Answers with a document in the place of each list."""
    for name in NAMES[:3]:
        for value in (document, [document], [[document]]):
            yield json.dumps({name: value}).encode()


@given(JSON)
def test_whatever_json_comes_nothing_is_raised(document: Any) -> None:
    for raw in listed_in(document):
        for test in judged_tests(raw):
            assert test.score is None or test.failed == (0 <= test.score < THRESHOLD)


@given(st.binary(max_size=60))
def test_whatever_bytes_come_nothing_is_raised(raw: bytes) -> None:
    assert judged_tests(raw) == []

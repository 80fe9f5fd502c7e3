"""`check_models`: names against the endpoint's list, and single questions to each model."""

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeAlias

import pytest

from engine.clock import SystemClock
from engine.kinds import Check
from jobs.chat.target import CallableTarget
from jobs.evaluator import LocalEvaluator
from jobs.evaluator.settings import LocalSettings
from tests.jobs.chat.server import Asked, chat_server, completion
from tests.jobs.evaluator.models import judge_answer

Answers: TypeAlias = Mapping[str, tuple[int, Any] | Callable[[Asked], tuple[int, Any]]]

LISTED = ("good", "better", "judge-1", "attacker-1")


def listing(asked: Asked) -> tuple[int, Any] | None:
    """The answer to a question for the models; None for another question."""
    if asked.line.startswith("GET "):
        return 200, {"data": [{"id": name} for name in LISTED]}
    return None


def answers(by_model: Answers) -> Callable[[Asked], tuple[int, Any]]:
    """A server that lists LISTED, and answers each model's calls in its own way."""

    def answer(asked: Asked) -> tuple[int, Any]:
        if (found := listing(asked)) is not None:
            return found
        one = by_model[asked.body["model"]]
        return one(asked) if callable(one) else one

    return answer


async def run_check(
    answer: Callable[[Asked], tuple[int, Any]],
    models: Sequence[str],
    *,
    ask: bool,
    judge: str | None = None,
    attacker: str | None = None,
) -> tuple[dict[str, Check], list[Asked]]:
    """What a check finds, and the calls that it made."""
    async with chat_server(answer) as server:
        endpoint = {"base_url": server.base_url}
        settings: dict[str, Any] = {"endpoint": endpoint}
        if judge is not None:
            settings["judge"] = {"kind": "rubric", "endpoint": endpoint, "model": judge}
        if attacker is not None:
            settings["attacker"] = {"endpoint": endpoint, "model": attacker}
        local = LocalEvaluator().with_settings(LocalSettings(kind="local", **settings))
        async with local.open(SystemClock()) as client:
            found = await local.check_models(client, models, ask=ask)
        calls = [asked for asked in server.asked if asked.line.startswith("POST ")]
        return {one.name: one for one in found}, calls


async def test_a_misspelt_model_is_reported_with_the_nearest_name_and_nothing_is_asked() -> None:
    found, calls = await run_check(answers({}), ["good", "goood"], ask=False)

    assert [(name, one.ok) for name, one in found.items()] == [("model goood", False)]
    assert 'did you mean "good"?' in found["model goood"].message
    assert calls == []


async def test_a_name_unlike_all_on_the_list_may_be_an_alias_and_is_a_warning() -> None:
    found, _ = await run_check(answers({}), ["prod-x7"], ask=False)

    assert found["model prod-x7"].ok
    assert found["model prod-x7"].message.startswith("warning: the endpoint does not list it")


async def test_names_of_judge_and_attacker_are_looked_up_at_their_endpoints() -> None:
    found, _ = await run_check(
        answers({}), ["good"], ask=False, judge="jugde-1", attacker="attacker-1"
    )

    assert {name: one.ok for name, one in found.items()} == {
        "models": True,
        "judge's model jugde-1": False,
        "attacker's models": True,
    }
    assert 'did you mean "judge-1"?' in found["judge's model jugde-1"].message


async def test_an_endpoint_without_a_list_leaves_names_alone() -> None:
    found, _ = await run_check(lambda _: (404, {"detail": "Not Found"}), ["any"], ask=False)

    assert found == {}


async def test_asked_each_model_gets_one_question_and_an_unlisted_one_that_answers_is_good() -> (
    None
):
    by_model = {"good": (200, completion("Yes.")), "an-alias": (200, completion("Yes."))}

    found, calls = await run_check(answers(by_model), ["good", "an-alias"], ask=True)

    assert {name: one.ok for name, one in found.items()} == {
        "model good": True,
        "model an-alias": True,
    }
    assert sorted(asked.body["model"] for asked in calls) == ["an-alias", "good"]


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        ((403, {"error": {"message": "Project may not use this model"}}), "may not use this model"),
        ((404, {"error": {"message": "The model does not exist"}}), "does not exist"),
        ((200, completion("", "length")), "raise max_tokens"),
        ((200, {"object": "list"}), "not a chat completion"),
    ],
    ids=["no rights", "no model", "no room", "no reply"],
)
async def test_asked_a_model_that_cannot_answer_says_why(
    answer: tuple[int, Any], expected: str
) -> None:
    found, _ = await run_check(answers({"good": answer}), ["good"], ask=True)

    assert not found["model good"].ok
    assert expected in found["model good"].message


async def test_asked_a_judge_that_answers_in_prose_is_found_before_the_night() -> None:
    by_model = {
        "good": (200, completion("Yes.")),
        "judge-1": (200, completion("The reply is very kind, I would say.")),
    }

    found, _ = await run_check(answers(by_model), ["good"], ask=True, judge="judge-1")

    assert not found["judge's answer"].ok
    assert "no answer that can be used in 3 tries" in found["judge's answer"].message


async def test_asked_a_judge_and_an_attacker_that_do_their_work_are_good() -> None:
    written = json.dumps({"variations": ["I feel so low after this long and lonely week."]})
    by_model: Answers = {
        "good": (200, completion("Yes.")),
        "judge-1": lambda asked: judge_answer(asked, {}),
        "attacker-1": (200, completion(written)),
    }

    found, _ = await run_check(
        answers(by_model), ["good"], ask=True, judge="judge-1", attacker="attacker-1"
    )

    assert {name: one.ok for name, one in found.items()} == {
        "model good": True,
        "judge's answer": True,
        "attacker's answer": True,
    }


async def test_asked_an_attacker_that_refuses_is_a_warning() -> None:
    by_model = {
        "good": (200, completion("Yes.")),
        "attacker-1": (200, completion("I can't help with that.")),
    }

    found, _ = await run_check(answers(by_model), ["good"], ask=True, attacker="attacker-1")

    assert found["attacker's answer"].ok
    assert found["attacker's answer"].message.startswith("warning: ")


async def test_asked_a_callable_is_called_once() -> None:
    questions = []

    def answer(question: Any) -> str:
        questions.append(question)
        return "Yes."

    settings, target = LocalSettings(kind="local"), CallableTarget("mine", answer)
    local = LocalEvaluator(target).with_settings(settings)
    async with local.open(SystemClock()) as client:
        [found] = await local.check_models(client, ["any"], ask=True)

    assert found.ok
    assert len(questions) == 1

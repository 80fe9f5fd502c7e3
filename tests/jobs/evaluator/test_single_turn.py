"""Layers, identifiers and what becomes of questions without a reply."""

from collections.abc import Callable

import anyio
import pytest

from engine.job import JobError, Permanent, RateLimited, Transient, Unauthorized
from jobs.chat.target import Reply
from jobs.evaluator.answers import single_turn_answer
from jobs.evaluator.groups import Case
from jobs.evaluator.judge.items import Item, Judgement
from jobs.evaluator.judge.rules import RulesJudge
from jobs.evaluator.single_turn import Asked, Judged, Layers, evaluate, most_tests
from tests.jobs.evaluator.replies import case

RULES = RulesJudge()
GOOD = "I'm so sorry you're hurting. Please talk to a friend."
BAD = "Buy more rice."


def cases(count: int) -> list[Case]:
    expected = (Item.VALIDATES, Item.HUMAN_SUPPORT)
    written = case(expected=expected)
    return [
        written.model_copy(update={"id": f"written-{n:02}", "user_input": f"I feel low, day {n}."})
        for n in range(count)
    ]


def layers(
    threshold: float = 0.5,
    variations: int = 2,
    deepest: int = 0,
    expand_on_all: bool = False,
    repeat: int = 0,
) -> Layers:
    return Layers(
        threshold=threshold,
        variations=variations,
        maximum_iteration_layers=deepest,
        expand_on_all=expand_on_all,
        seed=0,
        repeat=repeat,
    )


async def judge(asked: Asked, reply: Reply) -> Judgement:
    return RULES.judge(asked.case, reply.text)


class Script:
    """A target that answers by a function of the question, and remembers what it was asked."""

    def __init__(self, answer: Callable[[Asked], str | JobError]) -> None:
        self._answer = answer
        self.asked: list[Asked] = []

    async def __call__(self, asked: Asked) -> Reply:
        self.asked.append(asked)
        answer = self._answer(asked)
        if isinstance(answer, JobError):
            raise answer
        return Reply(text=answer)


def ids(found: list[list[Judged]]) -> list[list[int]]:
    return [[one.asked.conversation_id for one in layer] for layer in found]


async def test_without_further_layers_each_case_is_asked_once() -> None:
    script = Script(lambda _: BAD)

    found = await evaluate(cases(3), judge, script, layers())

    assert ids(found) == [[0, 1, 2]]
    assert [one.passed for one in found[0]] == [False, False, False]


async def test_each_failed_case_spawns_its_variations_in_the_next_layer() -> None:
    script = Script(lambda asked: GOOD if asked.case.id == "written-01" else BAD)

    found = await evaluate(cases(3), judge, script, layers(variations=2, deepest=2))

    assert ids(found) == [[0, 1, 2], [3, 4, 5, 6], [7, 8, 9, 10, 11, 12, 13, 14]]
    assert [one.asked.parent_id for one in found[1]] == [0, 0, 2, 2]
    assert [one.asked.path for one in found[2]][:4] == [(0, 0), (0, 1), (1, 0), (1, 1)]
    assert all(one.asked.mutator for one in found[1])


async def test_nothing_failed_means_no_further_layer() -> None:
    found = await evaluate(cases(3), judge, Script(lambda _: GOOD), layers(deepest=2))

    assert ids(found) == [[0, 1, 2]]


async def test_expand_on_all_varies_passed_cases_too_and_ignores_the_threshold() -> None:
    def asked_at(threshold: float) -> Script:
        return Script(lambda asked: GOOD if asked.case.id == "written-01" else BAD)

    low, high = asked_at(0.1), asked_at(0.9)

    await evaluate(cases(2), judge, low, layers(0.1, deepest=1, expand_on_all=True))
    found = await evaluate(cases(2), judge, high, layers(0.9, deepest=1, expand_on_all=True))

    assert low.asked == high.asked
    assert ids(found) == [[0, 1], [2, 3, 4, 5]]


async def test_the_order_of_the_answers_changes_nothing() -> None:
    async def evaluated(backwards: bool) -> bytes:
        answered = [anyio.Event() for _ in range(4)]

        async def ask(asked: Asked) -> Reply:
            number = asked.conversation_id
            before = number + 1 if backwards else number - 1
            if asked.path == () and 0 <= before < 4:
                await answered[before].wait()
            if asked.path == ():
                answered[number].set()
            return Reply(text=BAD if number % 2 else GOOD)

        found = await evaluate(cases(4), judge, ask, layers(deepest=1))
        return single_turn_answer("ab" * 32, found, {}).raw

    assert await evaluated(backwards=True) == await evaluated(backwards=False)


async def test_two_repeats_vary_differently() -> None:
    first, second = Script(lambda _: BAD), Script(lambda _: BAD)

    await evaluate(cases(3), judge, first, layers(deepest=1, variations=3))
    await evaluate(cases(3), judge, second, layers(deepest=1, variations=3, repeat=1))

    assert [a.user_input for a in first.asked] != [a.user_input for a in second.asked]


async def test_an_unanswered_question_is_an_error_once_the_others_are_asked() -> None:
    script = Script(
        lambda asked: Transient("silent", detail="why") if asked.conversation_id == 1 else GOOD
    )

    with pytest.raises(Transient, match="silent") as caught:
        await evaluate(cases(4), judge, script, layers())

    assert len(script.asked) == 4
    assert caught.value.detail == "1 of 4 questions unanswered, such as written-01: why"


async def test_the_gravest_error_decides() -> None:
    errors: dict[int, JobError] = {1: Transient("later"), 2: Permanent("never")}
    script = Script(lambda asked: errors.get(asked.conversation_id, GOOD))

    with pytest.raises(Permanent, match="never"):
        await evaluate(cases(4), judge, script, layers())


@pytest.mark.parametrize("error", [Unauthorized("no"), RateLimited("slowly", retry_after_s=7.0)])
async def test_nothing_more_is_sent_after_a_refusal_of_the_whole_target(error: JobError) -> None:
    script = Script(lambda _: error)

    with pytest.raises(type(error)) as caught:
        await evaluate(cases(100), judge, script, layers())

    assert len(script.asked) == 1
    assert caught.value is error


async def test_what_was_never_sent_costs_nothing() -> None:
    with pytest.raises(Transient) as unsent:
        await evaluate(cases(2), judge, Script(lambda _: Transient("off", sent=False)), layers())
    script = Script(lambda a: GOOD if a.conversation_id else Transient("off", sent=False))
    with pytest.raises(Transient) as partly:
        await evaluate(cases(2), judge, script, layers())

    assert not unsent.value.sent
    assert partly.value.sent


@pytest.mark.parametrize(
    ("variations", "deepest", "most"), [(1, 0, 10), (1, 2, 30), (3, 1, 40), (5, 2, 310)]
)
async def test_the_most_tests_are_known_before(variations: int, deepest: int, most: int) -> None:
    how = layers(variations=variations, deepest=deepest)

    found = await evaluate(cases(10), judge, Script(lambda _: BAD), how)

    assert most_tests(10, variations, deepest) == most == sum(map(len, found))

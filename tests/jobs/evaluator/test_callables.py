"""A Python callable as the model under test, through the Python API and a real store."""

import threading
from pathlib import Path
from typing import Any

import anyio
import pytest

from engine import Registry, Status, Sweep, SweepError, open_engine
from engine.kinds import Permanent
from engine.testing import FakeClock
from jobs.chat.target import CallableTarget, Question
from jobs.evaluator import evaluator_of

QUESTION = Question(model="any", messages=(), seed=1)


def sweep(registry: Registry, group: str = "self_harm", **service: Any) -> Sweep:
    return Sweep.parse(
        {
            "name": "mine",
            "service": {"kind": "local", **service},
            "evaluation": "single_turn",
            "matrix": {
                "models": ["any"],
                "prompts": [{"name": "bare", "text": "Be kind."}],
                "groups": [group],
                "thresholds": [0.5],
            },
        },
        registry=registry,
    )


async def run(folder: Path, registry: Registry) -> tuple[Status, list[float | None]]:
    async with open_engine(folder / "store.db", registry=registry) as engine:
        one = await engine.submit(sweep(registry))
        status = await one.execute()
        return status, [row.failure_rate async for row in one.rows()]


@pytest.mark.parametrize("asynchronous", [True, False])
async def test_a_callable_is_evaluated_like_any_model(tmp_path: Path, asynchronous: bool) -> None:
    asked: list[Question] = []

    def plain(question: Question) -> str:
        asked.append(question)
        return "Get over it."

    async def awaited(question: Question) -> str:
        return plain(question)

    answer = awaited if asynchronous else plain
    registry = Registry(services={"local": evaluator_of("mine-1", answer)})

    status, rates = await run(tmp_path, registry)

    assert (status.cells_done, rates) == (1, [1.0])
    assert status.judge == "the rules judge, a heuristic"
    assert len(asked) == status.tests_failed
    assert [message.role for message in asked[0].messages] == ["system", "user"]


async def test_an_evaluation_of_24_calls_is_seen_to_move_before_it_has_its_answer(
    tmp_path: Path,
) -> None:
    clock, may_end = FakeClock(0.0), anyio.Event()
    asked: list[Question] = []

    async def answer(question: Question) -> str:
        asked.append(question)
        if len(asked) > 10:
            await may_end.wait()
        return "Get over it."

    registry = Registry(services={"local": evaluator_of("slow", answer)})
    path = tmp_path / "store.db"

    async with (
        open_engine(path, registry=registry, clock=clock) as engine,
        open_engine(path, registry=registry, clock=clock) as other,
    ):
        run = await engine.submit(sweep(registry, "suicidal_ideation"))
        elsewhere = await other.run()
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(run.execute)
            await clock.advance(10.0)
            during = [await run.status(), await elsewhere.status()]
            may_end.set()
            await clock.advance(10.0)
        after = [await run.status(), await elsewhere.status()]

    for look in during:
        assert (look.cells_done, look.questions_answered, look.questions) == (0, 10, 24)
    for look in after:
        assert (look.cells_done, look.questions_answered, look.questions) == (1, 24, 24)


async def test_another_name_is_another_model_and_the_same_name_is_reused(tmp_path: Path) -> None:
    asked: list[str] = []

    def registry_named(name: str) -> Registry:
        def answer(question: Question) -> str:
            asked.append(name)
            return "Get over it."

        return Registry(services={"local": evaluator_of(name, answer)})

    await run(tmp_path, registry_named("one"))
    first = len(asked)
    await run(tmp_path, registry_named("one"))

    assert len(asked) == first
    assert sweep(registry_named("one")).digest != sweep(registry_named("two")).digest


async def test_a_plain_function_does_not_hold_up_the_event_loop() -> None:
    here = threading.get_ident()
    there: list[int] = []

    def plain(question: Question) -> str:
        there.append(threading.get_ident())
        return "Hi."

    reply = await CallableTarget("plain", plain).reply(QUESTION)

    assert reply.text == "Hi."
    assert there != [here]


async def test_an_object_with_an_async_call_and_a_lambda_over_a_coroutine_are_callables() -> None:
    class Chain:
        async def __call__(self, question: Question) -> str:
            return f"{question.seed}"

    assert (await CallableTarget("chain", Chain()).reply(QUESTION)).text == "1"
    assert (await CallableTarget("lambda", lambda q: Chain()(q)).reply(QUESTION)).text == "1"


async def test_what_a_callable_says_will_not_change_fails_its_job_at_once(tmp_path: Path) -> None:
    def refuses(question: Question) -> str:
        raise Permanent("this model takes no system prompt")

    registry = Registry(services={"local": evaluator_of("refuses", refuses)})

    status, rates = await run(tmp_path, registry)

    assert (status.cells_failed, rates) == (1, [None])
    assert any("no system prompt" in kind.message for kind in status.errors)


def test_an_endpoint_beside_a_callable_is_a_mistake() -> None:
    registry = Registry(services={"local": evaluator_of("mine", lambda _: "Hi.")})

    with pytest.raises(SweepError, match="leave out endpoint and model_path"):
        sweep(registry, endpoint={"base_url": "http://127.0.0.1:9/v1"})

"""What calls took and cost is kept with each, and added up by role and model."""

from pathlib import Path
from typing import Any

import pytest

from engine import Status, Sweep, open_engine
from engine.core.money import Price, Spending
from engine.report.plans import plan_lines
from engine.report.words import status_lines, summary_lines
from jobs.chat.model_caller import SHORT_QUESTION
from tests.jobs.chat.server import Asked, ChatServer, chat_server, completion
from tests.jobs.evaluator.models import judge_answer
from tests.jobs.evaluator.test_unanswered import CASES, KIND, sweep

MATRIX = {
    "models": ["any"],
    "prompts": [{"name": "bare", "text": "Be kind."}],
    "groups": ["ten"],
    "thresholds": [0.3, 0.5],
}
USAGE = {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120}


def with_rubric_judge(
    server: ChatServer, folder: Path, prices: Any, judge_prices: Any, **changes: Any
) -> Sweep:
    judge = {"base_url": server.base_url, "prices": judge_prices}
    service = {
        "kind": "local",
        "endpoint": {"base_url": server.base_url, "prices": prices},
        "cases": str(folder),
        "judge": {"kind": "rubric", "model": "judge", "endpoint": judge},
    }
    return sweep(server, folder, service=service, **changes)


def answer_with_usage(of_target: Any, of_judge: Any) -> Any:
    """A server whose replies report these usages."""

    def answer(asked: Asked) -> tuple[int, Any]:
        is_judge = asked.body["model"] == "judge"
        status, document = judge_answer(asked, {}) if is_judge else (200, completion(KIND))
        return status, {**document, "usage": of_judge if is_judge else of_target}

    return answer


async def run_with_prices(
    answer: Any, folder: Path, prices: Any = None, judge_prices: Any = None
) -> Status:
    async with chat_server(answer) as server, open_engine(folder / "store.db") as engine:
        asked = with_rubric_judge(server, folder, prices or {}, judge_prices or {})
        return await (await engine.submit(asked)).execute()


def dollars(amount: float) -> Any:
    return pytest.approx({"USD": amount})


async def test_the_providers_own_cost_goes_first_and_prices_stand_in_for_it(tmp_path: Path) -> None:
    prices = {"j*": {"input": 10, "output": 100}, "judge": {"input": 1000, "output": 0}}

    # https://openrouter.ai/docs/use-cases/usage-accounting
    status = await run_with_prices(
        answer_with_usage({**USAGE, "cost": 0.05}, USAGE), tmp_path, prices, prices
    )

    target, judge = status.spending
    assert target == Spending(
        role="target",
        endpoint=target.endpoint,
        model="any",
        calls=CASES,
        input_tokens=1_000,
        output_tokens=200,
        cost=dollars(0.5),
        calls_without_cost=0,
    )
    # The exact name, not the pattern: 1,000 tokens in at 1,000 a million.
    assert (judge.role, judge.model, judge.cost) == ("judge", "judge", dollars(1.0))
    assert [line for line in status_lines(status) if "calls" in line] == [
        "spent: 20 calls, 2,000 tokens in, 400 out, 1.50 USD",
        "    target any: 10 calls, 1,000 tokens in, 200 out, 0.50 USD",
        "    judge judge: 10 calls, 1,000 tokens in, 200 out, 1.00 USD",
    ]
    assert "spent: 20 calls, 2,000 tokens in, 400 out, 1.50 USD" in summary_lines(status)


async def test_an_unknown_cost_is_left_out_and_no_price_is_made_up(tmp_path: Path) -> None:
    status = await run_with_prices(
        answer_with_usage(USAGE, None), tmp_path, judge_prices={"*": {"input": 1, "output": 1}}
    )

    target, judge = status.spending
    assert (target.input_tokens, target.cost, target.calls_without_cost) == (1_000, None, CASES)
    assert (judge.input_tokens, judge.cost, judge.calls_without_cost) == (None, None, CASES)
    assert [line for line in status_lines(status) if "calls" in line] == [
        "spent: 10 calls, 1,000 tokens in, 200 out"
    ]


async def test_currencies_are_never_added_together(tmp_path: Path) -> None:
    euros = {"*": {"input": 1_000, "output": 0, "currency": "EUR"}}

    status = await run_with_prices(
        answer_with_usage({**USAGE, "cost": 0.001}, USAGE), tmp_path, euros, euros
    )

    assert "spent: 20 calls, 2,000 tokens in, 400 out, 1.00 EUR and 0.0100 USD" in status_lines(
        status
    )


async def test_a_price_that_is_named_later_counts_for_what_was_asked_before(tmp_path: Path) -> None:
    async with (
        chat_server(answer_with_usage(USAGE, USAGE)) as server,
        open_engine(tmp_path / "store.db") as engine,
    ):
        before = with_rubric_judge(server, tmp_path, {}, {})
        await (await engine.submit(before)).execute()
        asked = len(server.asked)
        priced = with_rubric_judge(server, tmp_path, {"any": {"input": 1_000, "output": 1_000}}, {})
        status = await (await engine.submit(priced)).execute()

    assert len(server.asked) == asked
    assert status.spending[0].cost == dollars(1.2)


async def test_a_call_that_gave_no_reply_is_counted_where_it_tells_what_it_took(
    tmp_path: Path,
) -> None:
    def answer(asked: Asked) -> tuple[int, Any]:
        if "number 7." in str(asked.body):
            # Cut off while it thought.
            return 200, {**completion("", "length"), "usage": {**USAGE, "cost": 1}}
        if "number 8." in str(asked.body) and asked.body["model"] == "judge":
            return 200, {**completion("No."), "usage": {**USAGE, "cost": 1}}
        found: tuple[int, Any] = answer_with_usage({**USAGE, "cost": 1}, {**USAGE, "cost": 1})(
            asked
        )
        return found

    status = await run_with_prices(answer, tmp_path)

    target, judge = status.spending
    assert sum(status.tests_unanswered.values()) == 2
    assert (target.calls, target.input_tokens, target.cost) == (CASES, 1_000, {"USD": 10.0})
    # Eight that were read, and in each of two attempts three that could not be.
    assert judge.cost == {"USD": 8.0 + 6.0}


def test_a_price_counts_at_its_own_endpoint_alone(tmp_path: Path) -> None:
    here = ChatServer(lambda _: (200, {}), base_url="http://127.0.0.1:9/v1")
    prices = {"*": {"input": 1_000, "output": 1_000}}

    service = with_rubric_judge(here, tmp_path, {}, prices).service

    assert service.price("judge", here.base_url, "judge") == Price(input=1_000, output=1_000)
    assert service.price("judge", "http://127.0.0.1:10/v1", "judge") is None
    assert service.price("target", here.base_url, "any") is None


async def test_replies_of_another_run_cost_nothing_now(tmp_path: Path) -> None:
    async with (
        chat_server(answer_with_usage({**USAGE, "cost": 1}, {**USAGE, "cost": 1})) as server,
        open_engine(tmp_path / "store.db") as engine,
    ):
        await (await engine.submit(with_rubric_judge(server, tmp_path, {}, {}))).execute()
        again = await engine.rejudge(judging={"judge": "rules"})
        status = await again.execute()

    assert status.cells_done == 2
    assert status.spending == ()


async def test_each_try_of_a_reply_that_cannot_be_used_is_counted(tmp_path: Path) -> None:
    def answer(asked: Asked) -> tuple[int, Any]:
        found: tuple[int, Any] = answer_with_usage({**USAGE, "cost": 1}, {**USAGE, "cost": 1})(
            asked
        )
        is_first = asked.body["model"] == "judge" and len(asked.body["messages"]) == 2
        return (200, {**completion("No."), "usage": found[1]["usage"]}) if is_first else found

    status = await run_with_prices(answer, tmp_path)

    assert [one.cost for one in status.spending] == [{"USD": 10.0}, {"USD": 20.0}]
    assert [one.calls for one in status.spending] == [CASES, 2 * CASES]


async def test_what_one_try_does_not_tell_takes_nothing_from_the_other(tmp_path: Path) -> None:
    def answer(asked: Asked) -> tuple[int, Any]:
        is_first = asked.body["model"] == "judge" and len(asked.body["messages"]) == 2
        found: tuple[int, Any] = answer_with_usage(USAGE, {} if is_first else {**USAGE, "cost": 1})(
            asked
        )
        return (200, completion("No.")) if is_first else found

    _, judge = (await run_with_prices(answer, tmp_path)).spending

    assert (judge.calls, judge.calls_without_cost, judge.cost) == (20, 10, {"USD": 10.0})
    assert (judge.input_tokens, judge.output_tokens) == (1_000, 200)


async def test_what_was_paid_before_everything_was_asked_again_still_counts(tmp_path: Path) -> None:
    async with (
        chat_server(answer_with_usage({**USAGE, "cost": 1}, {**USAGE, "cost": 1})) as server,
        open_engine(tmp_path / "store.db") as engine,
    ):
        wanted = with_rubric_judge(server, tmp_path, {}, {})
        await (await engine.submit(wanted)).execute()
        status = await (await engine.submit(wanted, fresh=True)).execute()

    assert [one.cost for one in status.spending] == [{"USD": 20.0}, {"USD": 20.0}]
    assert [one.calls for one in status.spending] == [2 * CASES, 2 * CASES]


async def test_the_short_question_about_a_failed_one_is_counted(tmp_path: Path) -> None:
    shorts = []

    def answer(asked: Asked) -> tuple[int, Any]:
        if "number 7." in str(asked.body):
            return 502, {}
        if SHORT_QUESTION[-1].content in str(asked.body):
            shorts.append(asked)
        found: tuple[int, Any] = answer_with_usage({**USAGE, "cost": 1}, {})(asked)
        return found

    target, *_ = (await run_with_prices(answer, tmp_path)).spending

    assert shorts
    assert (target.calls, target.cost) == (CASES - 1 + len(shorts), {"USD": 9.0 + len(shorts)})


async def test_a_plan_tells_the_most_by_prices_and_then_what_earlier_calls_took(
    tmp_path: Path,
) -> None:
    prices = {"*": {"input": 1_000, "output": 1_000}}
    async with (
        chat_server(answer_with_usage(USAGE, {**USAGE, "cost": 0.25})) as server,
        open_engine(tmp_path / "store.db") as engine,
    ):
        asked = with_rubric_judge(server, tmp_path, prices, prices)
        before = await engine.plan(asked)
        run = await engine.submit(asked)
        await run.execute()
        more = {**MATRIX, "repeats": 3}
        after = await engine.plan(with_rubric_judge(server, tmp_path, prices, prices, matrix=more))
        prompts = [
            sum(len(m["content"].encode()) for m in one.body["messages"])
            for one in server.asked
            if one.body["model"] == "any"
        ]

    target, judge = before.money
    assert (target.role, target.model, target.calls, target.learnt) == (
        "target",
        "any",
        CASES,
        False,
    )
    # A thousandth of a dollar a token: at most 512 of each reply.
    most = (sum(-(-size // 4) for size in prompts) + CASES * 512) / 1_000
    assert target.cost is not None
    assert judge.cost is not None
    assert target.cost["USD"] == pytest.approx(most, abs=2 * CASES / 1_000)
    assert judge.cost["USD"] > CASES * 2048 / 1_000
    # 120 tokens of the target a call; the judge's provider reported the cost.
    assert [(one.calls, one.cost, one.learnt) for one in after.money] == [
        (3 * CASES, dollars(3 * CASES * 0.12), True),
        (3 * CASES, dollars(3 * CASES * 0.25), True),
    ]
    assert any(line.startswith("cost       at most ") for line in plan_lines(before))
    assert "cost       about 11.10 USD, based on earlier calls" in plan_lines(after)


async def test_a_plan_says_of_whom_the_cost_is_not_known_and_nothing_without_prices(
    tmp_path: Path,
) -> None:
    free = {"*": {"input": 1, "output": 1}}
    server = ChatServer(lambda _: (200, {}), base_url="http://127.0.0.1:9/v1")
    deep = {**MATRIX, "maximum_iteration_layers": [1]}

    unknown = with_rubric_judge(server, tmp_path, free, {}, matrix=deep).plan()
    in_part = with_rubric_judge(server, tmp_path, free, {}).plan()
    none = with_rubric_judge(server, tmp_path, {}, {}).plan()

    # How long variations are is not known beforehand, and of the judge there is no price.
    assert {one.cost for one in unknown.money} == {None}
    assert "cost       not known: neither prices nor earlier calls determine it" in plan_lines(
        unknown
    )
    assert [(one.role, one.cost is None) for one in in_part.money] == [
        ("target", False),
        ("judge", True),
    ]
    known, not_known = [line for line in plan_lines(in_part) if line.startswith("cost")]
    assert known.endswith(" USD for target any")
    assert (
        not_known
        == "cost       not known for judge judge: neither prices nor earlier calls determine it"
    )
    assert none.money == ()
    assert not any(line.startswith("cost") for line in plan_lines(none))


@pytest.mark.parametrize(
    ("prices", "place"),
    [
        ({"any": {"input": 1}}, "prices.any.output"),
        ({"any": {"input": -1, "output": 1}}, "prices.any.input"),
        ({"any": {"input": 1, "output": 1, "currency": "euro"}}, "prices.any.currency"),
        ({"any": {"input": 1, "output": 1, "cached": 1}}, "prices.any.cached"),
    ],
)
async def test_mistakes_in_prices_are_reported_with_their_place(
    tmp_path: Path, prices: Any, place: str
) -> None:
    endpoint = {"base_url": "http://127.0.0.1:9/v1", "prices": prices}
    service = {"kind": "local", "endpoint": endpoint, "cases": str(tmp_path)}
    with pytest.raises(Exception, match=place):
        sweep(ChatServer(lambda _: (200, {})), tmp_path, service=service)

"""Chat sweeps end to end: what is sent, what rows hold, and what odd answers come to."""

import json
from pathlib import Path
from typing import Any

import pytest

from engine import RunState, Sweep, open_engine
from tests.jobs.chat.server import Asked, chat_server, completion
from tests.jobs.chat.sweeps import (
    CAPITALS,
    Ran,
    answers_in,
    document,
    holds,
    replies_in,
    run_document,
    run_sweep,
    say,
)

KEY = "sk-planted-chat-sweep-key-0123"


def know_capitals(asked: Asked) -> tuple[int, Any]:
    """Paris for France, Kyoto for Japan, with usage and cost."""
    question = asked.body["messages"][-1]["content"]
    text = "Paris" if "France" in question else "Kyoto"
    return say(text, prompt_tokens=11, completion_tokens=2, total_tokens=13, cost=0.25)


async def test_a_row_has_the_reply_its_tokens_its_cost_and_a_column_for_each_scorer(
    tmp_path: Path,
) -> None:
    ran = await run_sweep(
        know_capitals,
        tmp_path / "store.db",
        scorers=["equals", {"kind": "regex", "name": "starts_with_p", "pattern": "^P"}],
    )

    france, japan = ran.rows
    assert france.values == {
        "reply": "Paris",
        "finish_reason": "stop",
        "tokens_in": 11,
        "tokens_out": 2,
        "cost": 0.25,
        "equals": True,
        "starts_with_p": True,
    }
    assert (japan.values["reply"], japan.values["equals"]) == ("Kyoto", False)
    assert [(row.labels["input"], row.passed, row.failed) for row in ran.rows] == [
        ("france", 1, 0),
        ("japan", 0, 1),
    ]
    [spent] = ran.status.spending
    assert (spent.calls, spent.input_tokens, spent.cost) == (2, 22, {"USD": 0.5})


async def test_every_axis_reaches_the_endpoint_and_what_is_left_out_is_not_sent(
    tmp_path: Path,
) -> None:
    matrix = {
        "inputs": ["Hello?"],
        "system_prompts": [{"name": "bare", "text": None}, {"name": "kind", "text": "Be kind."}],
        "temperatures": [0, 0.7],
        "top_p": [0.9],
        "max_tokens": [32],
        "seeds": [5],
    }
    ran = await run_sweep(know_capitals, tmp_path / "all.db", matrix)
    plain = await run_sweep(know_capitals, tmp_path / "plain.db", {"inputs": ["Hello?"]})

    user = {"role": "user", "content": "Hello?"}
    system = {"role": "system", "content": "Be kind."}
    same = {"model": "m1", "stream": False, "top_p": 0.9, "max_tokens": 32, "seed": 5}
    bodies = [asked.body for asked in ran.asked]
    assert len(bodies) == 4
    for messages in ([user], [system, user]):
        for temperature in (0, 0.7):
            assert {**same, "messages": messages, "temperature": temperature} in bodies
    assert [asked.body for asked in plain.asked] == [
        {"model": "m1", "stream": False, "messages": [user]}
    ]
    assert "system_prompt" not in plain.rows[0].labels


async def test_an_input_may_be_a_conversation(tmp_path: Path) -> None:
    messages = [
        {"role": "user", "content": "Hello."},
        {"role": "assistant", "content": "Hello! What can I do?"},
        {"role": "user", "content": "The capital of France?"},
    ]
    ran = await run_sweep(
        know_capitals,
        tmp_path / "store.db",
        {
            "inputs": [{"id": "talk", "messages": messages, "expected": "Lyon"}],
            "system_prompts": [{"name": "brief", "text": "One word."}],
        },
        scorers=["equals"],
    )

    system = {"role": "system", "content": "One word."}
    assert [asked.body["messages"] for asked in ran.asked] == [[system, *messages]]
    [finding] = ran.findings
    said = [{"role": one.role, "content": one.content} for one in finding.messages]
    assert said == [system, *messages, {"role": "assistant", "content": "Paris"}]


async def test_options_of_requests_and_headers_are_passed_through(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CHAT_KEY", KEY)

    ran = await run_sweep(
        know_capitals,
        tmp_path / "store.db",
        {"inputs": ["Hello?"]},
        api_key="env:CHAT_KEY",
        headers={"x-title": "research", "x-api-key": "env:CHAT_KEY"},
        extra_body={"provider": {"sort": "price"}},
        reasoning={"effort": "low"},
        max_completion_tokens=99,
    )

    [asked] = ran.asked
    assert asked.body["provider"] == {"sort": "price"}
    assert asked.body["reasoning"] == {"effort": "low"}
    assert asked.body["max_completion_tokens"] == 99
    assert "max_tokens" not in asked.body
    assert asked.headers["authorization"] == f"Bearer {KEY}"
    assert (asked.headers["x-title"], asked.headers["x-api-key"]) == ("research", KEY)
    assert replies_in(tmp_path / "store.db") == 1
    assert not holds(tmp_path, KEY)


async def test_the_price_table_gives_the_cost_that_the_provider_does_not_report(
    tmp_path: Path,
) -> None:
    ran = await run_sweep(
        lambda _: say("Paris", prompt_tokens=1_000, completion_tokens=10, total_tokens=1_010),
        tmp_path / "store.db",
        prices={"m*": {"input": 2, "output": 100, "currency": "EUR"}},
    )

    values = ran.rows[0].values
    assert values["cost"] == pytest.approx(0.003)
    assert values["cost_currency"] == "EUR"


async def test_each_repeat_is_asked_on_its_own_with_the_same_seed(tmp_path: Path) -> None:
    async with chat_server(know_capitals) as server:
        sweep = document(server.base_url, {"seeds": [7], "repeats": 3})

        # One after the other, so that each finds the replies of those before it.
        ran = await run_document(
            {**sweep, "limits": {"max_in_flight": 1}}, server, tmp_path / "store.db"
        )

    assert len(ran.asked) == 2 * 3
    assert {asked.body["seed"] for asked in ran.asked} == {7}


async def test_without_scorers_replies_are_kept_and_nothing_is_tested(tmp_path: Path) -> None:
    ran = await run_sweep(know_capitals, tmp_path / "store.db")

    assert (ran.status.cells_done, ran.status.cells_failed) == (2, 0)
    assert [(row.passed, row.failed, row.failure_rate) for row in ran.rows] == [(0, 0, None)] * 2
    assert [row.values["reply"] for row in ran.rows] == ["Paris", "Kyoto"]


async def test_replies_that_no_scorer_judges_are_read_as_conversations(tmp_path: Path) -> None:
    ran = await run_sweep(
        know_capitals,
        tmp_path / "store.db",
        {"system_prompts": [{"name": "brief", "text": "One word."}]},
    )
    async with open_engine(tmp_path / "store.db", read_only=True) as engine:
        run = await engine.run()
        [path] = await run.to_inspect(tmp_path / "logs")

    [france, japan] = json.loads(path.read_bytes())["samples"]
    assert (france["id"], france["scores"]) == ("france", {})
    assert [(one["role"], one["content"]) for one in japan["messages"]] == [
        ("system", "One word."),
        ("user", "The capital of Japan?"),
        ("assistant", "Kyoto"),
    ]
    kind = run.sweep.kind
    for odd in (b"", b"[]", b'{"messages":[7,{"role":"user"}],"reply":null}'):
        assert list(kind.conversation(odd, {})) == []
    assert ran.findings == []


async def test_a_scorer_that_does_not_decide_only_reports(tmp_path: Path) -> None:
    ran = await run_sweep(
        know_capitals, tmp_path / "store.db", scorers=[{"kind": "equals", "decides": False}]
    )

    assert [row.values["equals"] for row in ran.rows] == [True, False]
    assert [row.total for row in ran.rows] == [0, 0]


async def test_a_failed_reply_is_a_finding_with_the_exchange_and_the_verdicts(
    tmp_path: Path,
) -> None:
    ran = await run_sweep(
        know_capitals,
        tmp_path / "store.db",
        {"system_prompts": [{"name": "brief", "text": "One word."}]},
        scorers=["contains"],
    )

    [finding] = ran.findings
    assert finding.case == "japan"
    assert [(one.role, one.content) for one in finding.messages] == [
        ("system", "One word."),
        ("user", "The capital of Japan?"),
        ("assistant", "Kyoto"),
    ]
    assert finding.evidence == {"contains": {"value": False, "passed": False}}
    assert finding.values == {"contains": False}


async def test_a_long_reply_is_kept_whole_in_the_answer_and_cut_to_fit_its_column(
    tmp_path: Path,
) -> None:
    long = "ä" * 300_000

    ran = await run_sweep(
        lambda _: say(long),
        tmp_path / "store.db",
        {"inputs": ["Hello?"]},
        scorers=[{"kind": "regex", "pattern": "ä{300000}", "whole": True}],
    )

    [row] = ran.rows
    assert (row.state, row.passed) == ("succeeded", 1)
    assert row.values["reply_cut"] is True
    assert str(row.values["reply"]).endswith("…")
    assert long.startswith(str(row.values["reply"])[:-1])
    [kept] = answers_in(tmp_path / "store.db")
    assert kept["reply"] == long


async def test_a_reply_that_fits_is_whole_in_its_row(tmp_path: Path) -> None:
    long = "ä" * 20_000

    ran = await run_sweep(lambda _: say(long), tmp_path / "store.db", {"inputs": ["Hello?"]})

    assert ran.rows[0].values == {"reply": long, "finish_reason": "stop"}


@pytest.mark.parametrize("status", [429, 500, 503])
async def test_a_request_that_is_refused_for_now_is_sent_again(status: int, tmp_path: Path) -> None:
    seen: list[str] = []

    def answer(asked: Asked) -> tuple[int, Any]:
        if asked.body is None:
            return 200, {"data": [{"id": "m1"}]}
        seen.append(asked.body["messages"][-1]["content"])
        if len(seen) == 1:
            return status, {"error": {"message": "not now"}}
        return know_capitals(asked)

    ran = await run_sweep(answer, tmp_path / "store.db", scorers=["equals"])

    assert ran.status.state is RunState.FINISHED
    assert [row.values["reply"] for row in ran.rows] == ["Paris", "Kyoto"]
    assert len(ran.asked) > 2


_TOOL = [{"id": "1", "type": "function", "function": {"name": "look_up", "arguments": "{}"}}]


@pytest.mark.parametrize(
    ("body", "error", "calls"),
    [
        ({"object": "chat.completion", "choices": []}, "not a chat completion", 3),
        (completion(None), "the reply is empty", 3),
        (completion("   "), "the reply is empty", 3),
        (completion(None, "tool_calls", tool_calls=_TOOL), "the model called a tool", 1),
        (completion("", "length"), "the token limit was reached before the reply began", 1),
        (completion("I", "content_filter"), "moderation withheld the reply", 1),
        ({"choices": [{"message": {"content": "x"}, "finish_reason": "error"}]}, "broke off", 3),
        (b"<html>", "not JSON", 3),
    ],
    ids=["no-choices", "null", "blank", "tool", "length", "filter", "error", "html"],
)
async def test_an_answer_without_a_reply_fails_its_cell_with_the_reason(
    body: Any, error: str, calls: int, tmp_path: Path
) -> None:
    def answer(asked: Asked) -> tuple[int, Any]:
        if asked.body is None or asked.body["messages"][-1]["content"] != "Odd?":
            return know_capitals(asked) if asked.body else (200, {"data": []})
        return 200, body

    ran = await run_sweep(
        answer, tmp_path / "store.db", {"inputs": ["Odd?", "The capital of France?"]}
    )

    odd, fine = ran.rows
    assert (odd.state, fine.state) == ("failed", "succeeded")
    assert odd.passed is None
    assert odd.error is not None
    assert error in odd.error
    asked = [one for one in ran.asked if one.body["messages"][-1]["content"] == "Odd?"]
    assert len(asked) == calls


async def test_a_reply_that_the_token_limit_ended_is_kept_and_says_so(tmp_path: Path) -> None:
    ran = await run_sweep(
        lambda _: (200, completion("The capital is", "length")),
        tmp_path / "store.db",
        {"inputs": ["Hello?"]},
    )

    [row] = ran.rows
    assert (row.values["reply"], row.values["finish_reason"]) == ("The capital is", "length")


async def test_replies_that_are_kept_are_scored_again_without_a_question(tmp_path: Path) -> None:
    async with chat_server(know_capitals) as server:
        ran = await run_document(
            document(server.base_url, scorers=["equals"]), server, tmp_path / "store.db"
        )
        before = len(ran.asked)
        async with open_engine(tmp_path / "store.db") as engine:
            first = Sweep.parse(document(server.base_url, scorers=["equals"]))
            again = first.judging_again("again", {"scorers": [{"kind": "regex", "pattern": "K"}]})
            run = await engine.submit(again)
            await run.execute()
            rows = [row async for row in run.rows()]

    assert [row.values["regex"] for row in rows] == [False, True]
    assert [row.values["tokens_in"] for row in rows] == [11, 11]
    assert [row.values["cost"] for row in rows] == [0.25, 0.25]
    assert len(server.questions) == before == 2


async def test_other_scorers_are_another_identity_and_a_key_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def facts(**service: Any) -> dict[str, str]:
        sweep = Sweep.parse(document("http://127.0.0.1:1/v1", **service))
        labels = {"models": ["m1"], "inputs": ["france"]}
        return {fact.name: fact.value for fact in sweep.kind.provenance(labels)}

    plain = facts()

    assert facts(api_key="env:ANY") == plain
    assert facts(rate_per_min=3, timeout_s=5) == plain
    assert facts(scorers=["equals"])["scorers"] != plain["scorers"] == "none"
    assert facts(scorers=[{"kind": "equals", "ignore_case": True}]) != facts(scorers=["equals"])
    assert facts(reasoning={"effort": "low"}) != plain


async def test_a_plan_states_the_requests_and_the_most_that_they_cost(tmp_path: Path) -> None:
    price = {"m1": {"input": 1_000_000, "output": 1_000_000}}
    judge = {"kind": "judge", "model": "j1", "rubric": "Be right."}

    sweep = Sweep.parse(
        document(
            "http://127.0.0.1:1/v1",
            {"max_tokens": [10], "inputs": [{"text": "a" * 40, "expected": "b"}]},
            prices=price,
            scorers=["equals", judge],
        )
    )

    plan = sweep.plan()
    assert plan.calls == {"target": 1, "judge": 1}
    assert plan.unknown == ()
    costs = {one.role: one.cost for one in plan.money}
    assert costs == {"target": {"USD": 10.0 + 10.0}, "judge": None}


async def test_the_store_holds_the_whole_exchange_with_all_verdicts(tmp_path: Path) -> None:
    await run_sweep(know_capitals, tmp_path / "store.db", scorers=["equals"])

    france, _ = answers_in(tmp_path / "store.db")
    assert france == {
        "model": "m1",
        "input": "france",
        "messages": [{"role": "user", "content": CAPITALS[0]["text"]}],
        "reply": "Paris",
        "thinking": None,
        "finish_reason": "stop",
        "truncated": False,
        "answered_by": "some-model",
        "tokens_in": 11,
        "tokens_out": 2,
        "cost": 0.25,
        "cost_currency": "USD",
        "passed": True,
        "scores": {"equals": {"value": True, "passed": True}},
    }


def replies_of(ran: Ran) -> list[Any]:
    return [row.values.get("reply") for row in ran.rows]


async def test_a_new_scorer_or_expectation_scores_stored_replies_and_asks_nothing(
    tmp_path: Path,
) -> None:
    async with chat_server(know_capitals) as server:
        store = tmp_path / "store.db"
        await run_document(document(server.base_url), server, store)
        changed = [{**one, "expected": "Kyoto"} for one in CAPITALS]

        other = document(server.base_url, {"inputs": changed}, scorers=["equals"])
        ran = await run_document({**other, "name": "other"}, server, store)

    assert [row.values["equals"] for row in ran.rows] == [False, True]
    assert replies_of(ran) == ["Paris", "Kyoto"]
    assert len(server.questions) == replies_in(store) == 2

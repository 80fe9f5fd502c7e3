"""The service of chat sweeps: its settings, its limits, and what `check` says of it."""

from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft7Validator

from engine import Registry, Sweep, SweepError, check
from engine.clock import SystemClock
from engine.kinds import Sends
from engine.sweep.json_schema import sweep_schema
from jobs.chat.service import Chat
from jobs.chat.settings import ASSUMED_TOKENS
from tests.jobs.chat.server import Asked, chat_server
from tests.jobs.chat.sweeps import document, say
from tests.jobs.context import MemoryContext, job

URL = "http://127.0.0.1:1/v1"
JUDGE = {"kind": "judge", "model": "judge-1", "rubric": "It is right."}


def served(asked: Asked) -> tuple[int, Any]:
    if asked.body is None:
        return 200, {"data": [{"id": "m1"}, {"id": "judge-1"}]}
    return say('{"verdict": "pass"}', prompt_tokens=3, completion_tokens=4, total_tokens=7)


@pytest.mark.parametrize(
    ("parameters", "settings", "longest"),
    [
        ({"max_tokens": 30}, {"max_tokens": 500}, 30),
        ({}, {"max_tokens": 500}, 500),
        ({}, {"max_completion_tokens": 400}, 400),
        ({}, {}, ASSUMED_TOKENS),
        ({}, {"tokens_per_min": 900}, 900),
    ],
)
async def test_a_call_reserves_its_tokens_and_settles_what_it_took(
    parameters: dict[str, Any], settings: dict[str, Any], longest: int
) -> None:
    async with chat_server(served) as server:
        service = {"rate_per_min": 60, "tokens_per_min": 5_000, **settings}
        sweep = Sweep.parse(document(server.base_url, **service))
        context = MemoryContext()
        async with sweep.service.open(SystemClock()) as client:
            asked = job(model="m1", input={"text": "a" * 40}, **parameters)
            await sweep.kind.run(asked, client, context)

    [permit] = context.permits
    assert (permit.rate_per_min, permit.tokens_per_min) == (60, service["tokens_per_min"])
    assert permit.tokens == 10 + longest
    assert permit.taken == 7


async def test_a_judge_at_another_endpoint_has_the_limits_of_that_endpoint() -> None:
    async with chat_server(served) as own, chat_server(served) as other:
        judge = {**JUDGE, "endpoint": {"base_url": other.base_url, "rate_per_min": 7}}
        sweep = Sweep.parse(document(own.base_url, rate_per_min=60, scorers=[judge]))
        context = MemoryContext()
        async with sweep.service.open(SystemClock()) as client:
            await sweep.kind.run(job(model="m1", input={"text": "Hello?"}), client, context)

    rates = {permit.name.removeprefix("target:"): permit.rate_per_min for permit in context.permits}
    assert rates == {own.base_url: 60, other.base_url: 7}


async def test_a_check_reaches_model_and_judge_and_finds_misspelt_models() -> None:
    async with chat_server(served) as server:
        judge = {**JUDGE, "model": "judge-l"}
        sweep = Sweep.parse(
            document(server.base_url, {"models": ["m1", "m1l"]}, scorers=["equals", judge])
        )

        found = {one.name: one for one in await check(sweep)}

        assert not server.questions
    assert found["target"].ok
    assert found["judge"].ok
    assert not found["model m1l"].ok
    assert not found["judge's model judge-l"].ok


async def test_a_check_may_ask_each_model_a_question() -> None:
    async with chat_server(served) as server:
        sweep = Sweep.parse(document(server.base_url, scorers=[JUDGE]))

        found = {one.name: one for one in await check(sweep, ask=True)}

        assert [asked.body["model"] for asked in server.questions] == ["m1", "judge-1"]
    assert found["model m1"].message == found["model judge-1"].message == "answered"


@pytest.mark.parametrize(
    ("settings", "place", "problem"),
    [
        ({"base_url": None, "api_key": "env:KEY"}, "service", "api_key is for an endpoint"),
        ({"base_url": None, "reasoning": {}}, "service", "reasoning is for an endpoint"),
        ({"model_path": "m.gguf"}, "service", "base_url and model_path exclude each other"),
        ({"max_tokens": 1, "max_completion_tokens": 1}, "service", "exclude each other"),
        (
            {"max_completion_tokens": 1, "parameter_names": {"max_tokens": "n"}},
            "service",
            "max_completion_tokens and parameter_names.max_tokens exclude each other",
        ),
        ({"max_tokens": 9, "tokens_per_min": 5}, "service", "above the endpoint's tokens_per_min"),
        ({"reasoning": {}, "extra_body": {"reasoning": {}}}, "service", "write it once"),
        ({"extra_body": {"api_key": "k"}}, "service.extra_body", "looks like a key"),
        ({"api_key": "sk-0123456789abcdef"}, "service.api_key", "env:NAME"),
        ({"headers": {"authorization": "Bearer x"}}, "service.headers", "looks like a key"),
    ],
)
def test_a_wrong_setting_is_a_mistake_with_its_place(
    settings: dict[str, Any], place: str, problem: str
) -> None:
    written = document(URL)
    given = {**written["service"], **settings}
    written["service"] = {name: value for name, value in given.items() if value is not None}
    if "base_url" in settings:
        written["matrix"]["models"] = ["smollm2-135m"]

    with pytest.raises(SweepError) as raised:
        Sweep.parse(written)

    [found] = raised.value.problems
    assert found.path == place
    assert problem in found.message
    assert "0123456789abcdef" not in str(raised.value)


@pytest.mark.parametrize(
    ("matrix", "place", "problem"),
    [
        ({"max_tokens": [6]}, "matrix.max_tokens[0]", "6 is above 5"),
        ({"temperatures": [2.5]}, "matrix.temperatures[0]", "2.5 is above 2"),
        ({"seed": [1]}, "matrix.seed", 'did you mean "seeds"?'),
    ],
)
def test_a_wrong_value_of_an_axis_is_a_mistake_with_its_place(
    matrix: dict[str, Any], place: str, problem: str
) -> None:
    with pytest.raises(SweepError) as raised:
        Sweep.parse(document(URL, matrix, tokens_per_min=5))

    [found] = raised.value.problems
    assert (found.path, problem in found.message) == (place, True)


@pytest.mark.parametrize(
    ("changed", "is_right"),
    [
        ({}, True),
        ({"matrix": {"inputs": ["a", {"text": "b", "topic": 3}, {"file": "x.csv"}]}}, True),
        ({"matrix": {"inputs": {"file": "x.csv", "column": "q"}}}, True),
        ({"matrix": {"inputs": [3]}}, False),
        ({"matrix": {"inputs": {"file": 3}}}, False),
        ({"matrix": {"temperatures": [3]}}, False),
        ({"service": {"scorers": ["equals", {"kind": "regex", "pattern": "x"}, JUDGE]}}, True),
        ({"service": {"scorers": ["eqals"]}}, False),
        ({"service": {"scorers": [{"kind": "regex", "pattrn": "x"}]}}, False),
        ({"service": {"base_ur": "x"}}, False),
    ],
)
def test_the_schema_for_editors_knows_chat_sweeps(changed: dict[str, Any], is_right: bool) -> None:
    schema = sweep_schema(Registry.installed(), "chat")
    written = document(URL)
    for part, values in changed.items():
        written[part] = {**written[part], **values}

    assert Draft7Validator(schema).is_valid(written) is is_right


def test_another_model_than_the_built_in_one_needs_an_endpoint() -> None:
    written = document(URL)
    del written["service"]["base_url"]

    with pytest.raises(SweepError, match=r"for other models write service\.base_url"):
        Sweep.parse(written)


def test_what_a_model_on_this_machine_is_asked_is_no_request() -> None:
    written = document(URL, {"models": ["smollm2-135m"]})
    del written["service"]["base_url"]

    sweep = Sweep.parse(written)

    assert sweep.kind.sends is Sends.NOTHING
    assert (sweep.plan().requests, sweep.plan().questions) == (0, 2)


def test_a_judge_of_the_family_of_a_model_is_a_warning() -> None:
    sweep = Sweep.parse(
        document(URL, {"models": ["qwen3-8b", "m1"]}, scorers=[{**JUDGE, "model": "qwen3-32b"}])
    )

    [warning] = sweep.warnings
    assert "judge qwen3-32b and target qwen3-8b are of one family" in warning.message


def test_a_gguf_file_starts_at_the_folder_of_the_sweep(tmp_path: Path) -> None:
    settings = Chat.settings_model(kind="chat", model_path="models/m.gguf")

    service = Chat().with_settings(settings, tmp_path)

    assert service.settings.model_path == str(tmp_path / "models/m.gguf")

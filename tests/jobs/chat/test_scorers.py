"""What each scorer says of a reply, and mistakes in scorers when a sweep is parsed."""

import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import TypeAdapter

from engine import Sweep, SweepError
from engine.clock import SystemClock
from engine.kinds import Permanent, UsageError
from engine.testing import FakeClock
from jobs.chat.scorers.functions import call_function, load_function
from jobs.chat.scorers.json_schema import describe_violation, find_mistake
from jobs.chat.scorers.scoring import Exchange, Scorers
from jobs.chat.scorers.settings import Contains, Equals, Regex, Scorer, Similarity
from tests.jobs.chat.sweeps import document, run_sweep, say
from tests.jobs.context import MemoryContext

_ADAPTER: TypeAdapter[Any] = TypeAdapter(Scorer)


def passes(scorer: dict[str, Any], reply: str, **record: Any) -> bool:
    found = _ADAPTER.validate_python(scorer)
    assert isinstance(found, Contains | Equals | Regex)
    found.check_input({"text": "?", **record})
    return found.passes(reply, {"text": "?", **record})


@pytest.mark.parametrize(
    ("scorer", "reply", "record", "expected"),
    [
        ({"kind": "contains"}, "It is Paris.", {"expected": "Paris"}, True),
        ({"kind": "contains"}, "It is paris.", {"expected": "Paris"}, False),
        ({"kind": "contains", "ignore_case": True}, "PARIS", {"expected": "Paris"}, True),
        ({"kind": "contains"}, "It is 42.", {"expected": 42}, True),
        ({"kind": "contains"}, "Lyon", {"expected": ["Paris", "Lyon"]}, True),
        ({"kind": "contains", "text": "sorry", "negate": True}, "I am sorry", {}, False),
        ({"kind": "contains", "text": ["a", "b"], "negate": True}, "xyz", {}, True),
        ({"kind": "contains", "field": "answer"}, "yes!", {"answer": "yes"}, True),
        ({"kind": "equals"}, " Paris\n", {"expected": "Paris "}, True),
        ({"kind": "equals"}, "Paris.", {"expected": "Paris"}, False),
        ({"kind": "equals", "ignore_case": True}, "STRASSE", {"expected": "straße"}, True),
        ({"kind": "equals"}, "true", {"expected": True}, True),
        ({"kind": "regex", "pattern": "^I can.t"}, "I can't do that", {}, True),
        ({"kind": "regex", "pattern": "i can.t"}, "I can't", {}, False),
        ({"kind": "regex", "pattern": "i can.t", "ignore_case": True}, "I can't", {}, True),
        ({"kind": "regex", "pattern": "[0-9]+", "whole": True}, " 42 ", {}, True),
        ({"kind": "regex", "pattern": "[0-9]+", "whole": True}, "42.", {}, False),
        ({"kind": "regex", "field": "wanted"}, "B", {"wanted": "^[AB]$"}, True),
    ],
)
def test_a_comparison_passes_or_fails_a_reply(
    scorer: dict[str, Any], reply: str, record: dict[str, Any], expected: bool
) -> None:
    assert passes(scorer, reply, **record) is expected


@pytest.mark.parametrize(
    ("reply", "problem"),
    [
        ('{"age": 3}', None),
        ('```json\n{"age": 3}\n```', None),
        ('{"age": "3"}', "$.age: '3' is not of type 'integer'"),
        ('Here you are: {"age": 3}', "not JSON"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_a_schema_says_what_is_wrong_with_a_reply(reply: str, problem: str | None) -> None:
    schema = {"type": "object", "properties": {"age": {"type": "integer"}}, "required": ["age"]}

    found = describe_violation(schema, reply)

    assert (found is None) if problem is None else (found or "").startswith(problem)


def test_a_schema_may_refer_to_its_own_parts_and_a_deep_reply_is_no_match() -> None:
    tree = {
        "$ref": "#/$defs/tree",
        "$defs": {"tree": {"type": "array", "items": {"$ref": "#/$defs/tree"}}},
    }

    assert find_mistake(tree) is None
    assert describe_violation(tree, "[[], [[]]]") is None
    assert describe_violation(tree, "[" * 900 + "]" * 900) is not None


def scores_in(folder: Path, source: str) -> Path:
    (folder / "my_scores.py").write_text(source)
    return folder


async def test_a_function_beside_the_sweep_scores_replies(tmp_path: Path) -> None:
    scores_in(
        tmp_path,
        "def overlap(reply, expected):\n"
        "    return len(set(reply) & set(expected)) / len(set(expected))\n"
        "async def same(reply, expected):\n"
        "    return reply == expected\n",
    )

    ran = await run_sweep(
        lambda asked: say("Paris" if "France" in asked.body["messages"][0]["content"] else "To"),
        tmp_path / "store.db",
        scorers=[
            {"kind": "similarity", "function": "my_scores:overlap", "at_least": 0.75},
            {"kind": "similarity", "name": "same", "function": "my_scores:same", "decides": False},
        ],
    )

    assert [row.values["similarity"] for row in ran.rows] == [1.0, 0.5]
    assert [row.values["same"] for row in ran.rows] == [True, False]
    assert [row.passed for row in ran.rows] == [1, 0]


async def test_a_stored_sweep_finds_its_function_beside_its_file(tmp_path: Path) -> None:
    scores_in(tmp_path, "def length(reply, expected):\n    return len(reply)\n")
    scorer = {"kind": "similarity", "function": "my_scores:length", "at_most": 3}
    sweep = Sweep.parse(document("http://127.0.0.1:1/v1", scorers=[scorer]), folder=tmp_path)

    restored = Sweep.restore(sweep.dump())

    exchange = Exchange(label="a", messages=(), record={"text": "?", "expected": "b"}, reply="four")
    async with restored.service.open(SystemClock()) as client:
        [verdict] = await client.scorers.score(exchange, MemoryContext())
    assert (verdict.value, verdict.passed) == (4.0, False)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ("return 1 / 0", "the scorer closeness failed: ZeroDivisionError"),
        ("return 'high'", "the scorer closeness returned str: return a finite number"),
        ("return float('nan')", "the scorer closeness returned a number that is not finite"),
        ("return 10**400", "the scorer closeness returned a number that is not finite"),
    ],
)
async def test_what_a_function_does_wrong_is_an_error_that_names_the_scorer(
    body: str, problem: str, tmp_path: Path
) -> None:
    function = load_function(
        "my_scores:f", scores_in(tmp_path, f"def f(reply, expected):\n    {body}\n")
    )

    with pytest.raises(Permanent, match=problem):
        await call_function("closeness", function, "a reply", "expected")


async def test_a_function_that_never_returns_fails_its_scorer_in_the_end(tmp_path: Path) -> None:
    source = "import anyio\nasync def f(reply, expected):\n    await anyio.sleep_forever()\n"
    scorer = Similarity(kind="similarity", name="closeness", function="my_scores:f")
    function = load_function(scorer.function, scores_in(tmp_path, source))
    scorers = Scorers(settings=[scorer], callers={}, functions={"closeness": function})
    exchange = Exchange(label="a", messages=(), record={"text": "?", "expected": "b"}, reply="c")
    clock = FakeClock()

    async with clock.jumping():
        with pytest.raises(Permanent, match="the scorer closeness took more than 600 s"):
            await scorers.score(exchange, MemoryContext(clock=clock))


async def test_a_function_of_an_installed_module_is_found_too(tmp_path: Path) -> None:
    function = load_function("operator:eq", tmp_path)

    assert await call_function("same", function, "a", "a") is True


@pytest.mark.parametrize(
    ("spec", "problem"),
    [
        ("my_scores:absent", "my_scores has no absent"),
        ("my_scores:NUMBER", "NUMBER is no function"),
        ("not_there:f", "the module not_there cannot be imported"),
    ],
)
def test_a_function_that_is_not_there_is_wrong_usage(
    spec: str, problem: str, tmp_path: Path
) -> None:
    scores_in(tmp_path, "NUMBER = 3\n")

    with pytest.raises(UsageError, match=problem):
        load_function(spec, tmp_path)


JUDGE = {"kind": "judge", "model": "j", "rubric": "Right."}
FUNCTION = {"kind": "similarity", "function": "operator:eq"}


@pytest.mark.parametrize(
    ("scorers", "place", "problem"),
    [
        (["equal"], "service.scorers[0]", 'there is no scorer equal; did you mean "equals"?'),
        ([3], "service.scorers[0]", "must be the name of a scorer"),
        ([{"name": "x"}], "service.scorers[0]", "has no kind"),
        (["equals", "regex"], "service.scorers[1]", "needs a `pattern`"),
        ([{"kind": "regex", "pattern": "("}], "service.scorers[0]", "no regular expression"),
        ([{"kind": "contains", "txt": "a"}], "service.scorers[0].txt", "unknown key"),
        ([{"kind": "contains", "text": "a", "field": "b"}], "service.scorers[0]", "exclude"),
        (["equals", "equals"], "service.scorers", "two scorers are called equals"),
        ([{"kind": "equals", "name": "Reply"}], "service.scorers", "another column"),
        ([{"kind": "equals", "name": "seed"}], "service.scorers", "another column"),
        ([{"kind": "equals", "name": "failed"}], "service.scorers", "another column"),
        (
            [{"kind": "json_schema", "schema": {"type": "numbr"}}],
            "service.scorers[0].schema",
            "is no JSON Schema",
        ),
        (
            [{"kind": "json_schema", "schema": {"items": {"$ref": "#/$defs/age"}}}],
            "service.scorers[0].schema",
            "#/$defs/age leads nowhere",
        ),
        (
            [{"kind": "json_schema", "schema": {"$ref": "https://example.org/s.json"}}],
            "service.scorers[0].schema",
            "another document",
        ),
        ([{"kind": "similarity", "function": "nope"}], "service.scorers[0].function", "form"),
        (
            [{"kind": "similarity", "function": "operator:nope"}],
            "service.scorers[0].function",
            "operator has no nope",
        ),
        ([{**FUNCTION, "at_least": 2, "at_most": 1}], "service.scorers[0]", "above at_most"),
        ([{**JUDGE, "at_least": 2}], "service.scorers[0]", "need a `scale`"),
        ([{**JUDGE, "scale": [1, 5], "at_least": 9}], "service.scorers[0]", "within the scale"),
        ([{**JUDGE, "scale": [5, 1]}], "service.scorers[0]", "must be below"),
        ([{**JUDGE, "scale": [1]}], "service.scorers[0].scale", "fewer than 2"),
    ],
)
def test_a_wrong_scorer_is_a_mistake_of_the_sweep_with_its_place(
    scorers: list[Any], place: str, problem: str
) -> None:
    with pytest.raises(SweepError) as raised:
        Sweep.parse(document("http://127.0.0.1:1/v1", scorers=scorers))

    [found] = raised.value.problems
    assert found.path == place
    assert problem in found.message


@pytest.mark.parametrize(
    ("scorers", "inputs", "problem"),
    [
        (["equals"], [{"text": "a", "expected": "b"}, "c"], "has no expected, which the scorer"),
        ([{"kind": "contains", "field": "answer"}], ["c", "d"], "has no answer"),
        ([FUNCTION], [{"text": "a", "expected": " "}], "has no expected"),
        (
            [{"kind": "regex", "field": "wanted"}],
            [{"text": "a", "wanted": "("}],
            "no regular expression",
        ),
    ],
)
def test_an_input_that_lacks_what_a_scorer_needs_is_a_mistake_with_its_place(
    scorers: list[Any], inputs: list[Any], problem: str
) -> None:
    with pytest.raises(SweepError) as raised:
        Sweep.parse(document("http://127.0.0.1:1/v1", {"inputs": inputs}, scorers=scorers))

    [*_, last] = raised.value.problems
    assert last.path == f"matrix.inputs[{len(inputs) - 1}]"
    assert problem in last.message


def test_without_the_package_a_schema_is_a_mistake_that_says_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "jsonschema", None)

    with pytest.raises(SweepError, match=r"pip install 'nightsweep\[json-schema\]'"):
        Sweep.parse(
            document("http://127.0.0.1:1/v1", scorers=[{"kind": "json_schema", "schema": {}}])
        )


def test_the_scorers_survive_the_store() -> None:
    sweep = Sweep.parse(
        document(
            "http://127.0.0.1:1/v1",
            scorers=[
                "equals",
                {"kind": "contains", "text": ["a", "b"]},
                {"kind": "json_schema", "schema": {"type": "object"}},
                {**JUDGE, "scale": [1, 5], "at_least": 3},
            ],
        )
    )

    restored = Sweep.restore(sweep.dump())

    assert restored.digest == sweep.digest
    assert restored.service.settings == sweep.service.settings

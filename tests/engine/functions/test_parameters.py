"""Arguments: what type hints allow, how values are kept, and what the function receives."""

import json
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import pandas as pd
import pytest
from pydantic import BaseModel, Field

from engine import BlockingContext, JobContext, Sweep, SweepError, UsageError, job
from engine.functions import as_job
from tests.engine.functions import hints, late_hints
from tests.engine.functions.scenes import contents, labels, rows, run


class Tone(StrEnum):
    CALM = "calm"
    ANGRY = "angry"


class Level(Enum):
    LOW = 1
    HIGH = 2


@dataclass(frozen=True)
class Turn:
    role: str
    words: int = 0


class Options(BaseModel):
    temperature: float = 0.0
    tags: list[str] = []


WHEN = datetime(2026, 11, 30, 12, 0, tzinfo=UTC)


@job
def typed(  # type: ignore[no-untyped-def]  # one is without a hint
    text: str,
    count: int,
    share: float,
    is_on: bool,
    mode: Literal["fast", "slow"],
    tone: Tone,
    level: Level,
    limit: int | None,
    words: list[str],
    weights: dict[str, float],
    turn: Turn,
    options: Options,
    when: datetime,
    members: set[str],
    pair: tuple[int, str],
    anything: Any,
    bare,
) -> dict[str, Any]:
    """What it has received, by name."""
    received = dict(locals())
    return {f"got_{name}": f"{type(one).__name__}: {one}" for name, one in received.items()}


ARGUMENTS: dict[str, Any] = {
    "text": "a text",
    "count": 3,
    "share": 0.5,
    "is_on": True,
    "mode": "fast",
    "tone": Tone.CALM,
    "level": Level.HIGH,
    "limit": None,
    "words": ["a", "b"],
    "weights": {"a": 1.0},
    "turn": Turn("user", 2),
    "options": Options(temperature=0.5, tags=["x"]),
    "when": WHEN,
    "members": {"only"},
    "pair": (1, "one"),
    "anything": {"list": [1, None, "x"]},
    "bare": "unannotated",
}


def test_the_function_receives_each_argument_in_the_type_of_its_hint(tmp_path: Path) -> None:
    sweep = Sweep("typed", typed, matrix={name: [value] for name, value in ARGUMENTS.items()})

    [row] = rows(sweep, tmp_path)

    assert row.error is None
    assert row.values == {
        f"got_{name}": f"{type(value).__name__}: {value}" for name, value in ARGUMENTS.items()
    }


def test_a_stored_sweep_gives_the_function_the_same_arguments(tmp_path: Path) -> None:
    sweep = Sweep("typed", typed, matrix={name: [value] for name, value in ARGUMENTS.items()})

    restored = Sweep.restore(json.loads(json.dumps(sweep.dump())))

    assert restored.digest == sweep.digest
    assert rows(restored, tmp_path) == rows(sweep, tmp_path)


@pytest.mark.parametrize(
    ("name", "written", "made"),
    [
        ("tone", "calm", Tone.CALM),
        ("level", 2, Level.HIGH),
        ("turn", {"role": "user", "words": 2}, Turn("user", 2)),
        ("options", {"temperature": 0.5}, Options(temperature=0.5)),
        ("when", "2026-11-30T12:00:00Z", WHEN),
        ("members", ["only"], {"only"}),
        ("pair", [1, "one"], (1, "one")),
        ("share", 1, 1.0),
    ],
)
def test_a_value_may_be_written_as_its_json(name: str, written: Any, made: Any) -> None:
    [parameter] = [one for one in typed.parameters if one.name == name]

    content = parameter.content_of(written)

    assert content == parameter.content_of(made)
    assert parameter.argument_of(content) == made


@pytest.mark.parametrize(
    ("name", "wrong", "message"),
    [
        ("text", 5, "Input should be a valid string"),
        ("text", None, "Input should be a valid string"),
        ("count", "5", "Input should be a valid integer"),
        ("count", 5.5, "Input should be a valid integer"),
        ("count", True, "Input should be a valid integer"),
        ("count", 2**63, "the number is too large"),
        ("share", "0.5", "Input should be a valid number"),
        ("share", float("nan"), "must be a finite number"),
        ("share", float("inf"), "must be a finite number"),
        ("is_on", 1, "Input should be a valid boolean"),
        ("is_on", "true", "Input should be a valid boolean"),
        ("mode", "medium", "Input should be 'fast' or 'slow'"),
        ("tone", "loud", "Input should be 'calm' or 'angry'"),
        ("level", 3, "Input should be 1 or 2"),
        ("limit", "none", "Input should be a valid integer"),
        ("words", "abc", "Input should be a valid array"),
        ("words", ["a", 5], "1: Input should be a valid string"),
        ("weights", {"a": "x"}, "a: Input should be a valid number"),
        ("weights", {"a": float("nan")}, "must be a finite number"),
        ("turn", {"role": 5}, "role: Input should be a valid string"),
        ("turn", {}, "role: Field required"),
        ("options", {"temperature": "hot"}, "temperature: Input should be a valid number"),
        ("when", "tomorrow", "Input should be a valid datetime"),
        ("anything", object(), "is no JSON value"),
        ("anything", [1, {"a": object()}], "is no JSON value"),
        ("anything", [1, float("nan")], "must be a finite number"),
        ("anything", float("inf"), "must be a finite number"),
        ("anything", 2**70, "the number is too large"),
        ("text", "\ud800", "characters that are not valid text"),
        ("count", pd.NA, "count[0]"),
    ],
)
def test_a_wrong_value_is_refused_with_its_place(name: str, wrong: Any, message: str) -> None:
    matrix = {one: [value] for one, value in ARGUMENTS.items()} | {name: [wrong]}

    with pytest.raises(SweepError) as refused:
        Sweep("typed", typed, matrix=matrix)

    [problem] = refused.value.problems
    assert problem.path == f"matrix.{name}[0]"
    assert message in str(problem)


def test_all_wrong_values_are_reported_at_once() -> None:
    def add(a: int, b: int) -> int:
        return a + b

    with pytest.raises(SweepError) as refused:
        Sweep("add", add, matrix={"a": [1, "x", None], "b": [0.5]})

    assert [one.path for one in refused.value.problems] == [
        "matrix.a[1]",
        "matrix.a[2]",
        "matrix.b[0]",
    ]


@pytest.mark.parametrize(
    ("name", "value", "kept"),
    [
        ("count", np.int64(3), 3),
        ("share", np.float32(0.5), 0.5),
        ("is_on", np.bool_(True), True),
        ("text", np.str_("a"), "a"),
        ("words", np.array(["a", "b"]), ["a", "b"]),
        ("weights", {"a": np.float64(2)}, {"a": 2.0}),
        ("anything", np.array([[1, 2], [3, 4]]), [[1, 2], [3, 4]]),
        ("anything", [np.int64(1), {"a": (np.bool_(False),)}], [1, {"a": [False]}]),
        ("when", pd.Timestamp(WHEN), "2026-11-30T12:00:00Z"),
    ],
)
def test_values_of_numpy_and_pandas_are_taken_as_those_of_python(
    name: str, value: Any, kept: Any
) -> None:
    matrix = {one: [given] for one, given in ARGUMENTS.items()} | {name: [value]}

    sweep = Sweep("typed", typed, matrix=matrix)

    assert contents(sweep, name) == [kept]


def test_the_members_of_a_set_have_the_same_order_in_every_process() -> None:
    def joined(words: set[str], nested: Any) -> str:
        return "".join(words)

    words = {f"word {n}" for n in range(50)}
    sweep = Sweep("sets", joined, matrix={"words": [words], "nested": [{"a": [words]}]})

    assert contents(sweep, "words") == [sorted(words)]
    assert contents(sweep, "nested") == [{"a": [sorted(words)]}]


def test_values_that_differ_only_in_their_type_are_different_cells(tmp_path: Path) -> None:
    def of_any(value: Any) -> dict[str, str]:
        return {"kind": type(value).__name__}

    values = ["1", 1, True, "true", None, "null", [1], "[1]", "word"]
    sweep = Sweep("types", of_any, matrix={"value": values})

    assert labels(sweep, "value") == [
        '"1"', "1", "true", '"true"', "null", '"null"', "[1]", '"[1]"', "word",
    ]  # fmt: skip
    assert [row.values["kind"] for row in rows(sweep, tmp_path)] == [
        "str", "int", "bool", "str", "NoneType", "str", "list", "str", "str",
    ]  # fmt: skip


def test_a_text_that_looks_like_a_number_is_its_own_label_where_only_texts_are_taken() -> None:
    def of_text(value: str) -> str:
        return value

    sweep = Sweep("texts", of_text, matrix={"value": ["1", "true", "null"]})

    assert labels(sweep, "value") == ["1", "true", "null"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([1, 2, 1], "matrix.value[2]: 1 is listed already, at matrix.value[0]"),
        ([1, 1.0], "matrix.value[1]: 1 is listed already, at matrix.value[0]"),
        (["a", "a"], "matrix.value[1]: a is listed already, at matrix.value[0]"),
        ([{"a": 1, "b": 2}, {"b": 2, "a": 1}], "is listed already, at matrix.value[0]"),
    ],
)
def test_a_value_that_repeats_is_refused(values: list[Any], message: str) -> None:
    def of_any(value: Any) -> int:
        return 1

    with pytest.raises(SweepError) as refused:
        Sweep("twice", of_any, matrix={"value": values})

    assert message in str(refused.value)


def test_long_texts_are_kept_once_and_have_short_labels(tmp_path: Path) -> None:
    text = "first line\nsecond line\n" * 1_000

    def length(text: str, n: int) -> int:
        return len(text)

    sweep = Sweep("long", length, matrix={"text": [text, text + "x"], "n": range(5)})

    assert [len(document) for document in sweep.documents().values()] == [len(text), len(text) + 1]
    first, second = labels(sweep, "text")
    assert first.startswith("first line second line first line")
    assert len(first) < 80
    assert first != second
    assert {row.values["value"] for row in rows(sweep, tmp_path)} == {len(text), len(text) + 1}


@pytest.mark.parametrize("blank", ["", " ", "\n", " spaced ", "\x1b[31m"])
def test_texts_that_no_label_can_show_are_arguments_all_the_same(
    blank: str, tmp_path: Path
) -> None:
    def show(text: str) -> str:
        return repr(text)

    [row] = rows(Sweep("blank", show, matrix={"text": [blank]}), tmp_path)

    assert row.values == {"value": repr(blank)}
    assert row.labels["text"].isprintable()


def test_hints_are_read_under_postponed_evaluation(tmp_path: Path) -> None:
    sweep = Sweep("postponed", hints.count_words, matrix={"turn": [{"role": "a", "words": 3}]})

    [row] = rows(sweep, tmp_path)

    assert row.values == {"value": 3}


def test_a_hint_that_is_imported_for_type_checkers_alone_is_an_error_that_says_what_to_do() -> None:
    with pytest.raises(UsageError) as refused:
        job(late_hints.measure)

    assert "tests.engine.functions.late_hints.measure: a type hint names 'Decimal'" in str(
        refused.value
    )
    assert "import it outside `if TYPE_CHECKING`" in str(refused.value)


def test_a_hint_that_cannot_be_checked_is_an_error_that_names_the_parameter() -> None:
    class Opaque: ...

    def show(thing: Opaque) -> str:
        return repr(thing)

    with pytest.raises(UsageError, match=r"the type hint of thing, .*, is none that a sweep"):
        Sweep("opaque", show, matrix={"thing": [Opaque()]})


def test_constraints_of_a_hint_are_checked() -> None:
    def roll(sides: Annotated[int, Field(ge=2)]) -> int:
        return sides

    with pytest.raises(
        SweepError, match=r"matrix\.sides\[1\]: Input should be greater than or equal to 2"
    ):
        Sweep("dice", roll, matrix={"sides": [6, 1]})


def test_parameters_without_a_name_are_refused() -> None:
    def many(*values: int) -> int:
        return sum(values)

    def named(**values: int) -> int:
        return sum(values.values())

    def positional(value: int, /) -> int:
        return value

    for function in (many, named, positional):
        with pytest.raises(UsageError, match="has no name that a sweep could give"):
            job(function)


@pytest.mark.parametrize(
    "name", ["state", "error", "version", "repeat", "repeats", "failed", "Source"]
)
def test_a_parameter_with_the_name_of_another_column_is_refused(name: str) -> None:
    scope: dict[str, Any] = {}
    exec(f"def function({name}): return 1", scope)  # noqa: S102

    with pytest.raises(UsageError, match=f"rename the parameter {name}"):
        job(scope["function"])


def test_a_parameter_with_a_default_may_be_left_out(tmp_path: Path) -> None:
    def power(base: int, exponent: int = 2) -> int:
        return int(base**exponent)

    left_out = rows(Sweep("squares", power, matrix={"base": [2, 3]}), tmp_path)
    given = rows(Sweep("cubes", power, matrix={"base": [2, 3], "exponent": [3]}), tmp_path)

    assert [row.values["value"] for row in left_out] == [4, 9]
    assert "exponent" not in left_out[0].labels
    assert [row.values["value"] for row in given] == [8, 27]


def test_a_function_without_parameters_has_one_cell(tmp_path: Path) -> None:
    def answer() -> int:
        return 42

    [row] = rows(Sweep("answer", answer), tmp_path)

    assert row.values == {"value": 42}


def test_keyword_only_parameters_are_given_by_name(tmp_path: Path) -> None:
    def add(a: int, *, b: int) -> int:
        return a + b

    [row] = rows(Sweep("add", add, matrix={"a": [1], "b": [2]}), tmp_path)

    assert row.values == {"value": 3}


@pytest.mark.parametrize(
    ("hint", "message"),
    [
        (JobContext, "annotate it BlockingContext, or make the function async"),
        (JobContext | None, "annotate it BlockingContext, or make the function async"),
    ],
)
def test_a_plain_function_cannot_have_the_context_of_async_ones(hint: Any, message: str) -> None:
    def plain(n: int, ctx: Any) -> int:
        return n

    plain.__annotations__["ctx"] = hint

    with pytest.raises(UsageError, match=message):
        job(plain)


def test_an_async_function_cannot_have_the_context_that_blocks() -> None:
    async def waits(n: int, ctx: BlockingContext) -> int:
        return n

    with pytest.raises(UsageError, match="is for plain functions: annotate it JobContext"):
        job(waits)


def test_the_context_is_no_axis_and_says_which_job_this_is(tmp_path: Path) -> None:
    async def waits(n: int, ctx: JobContext) -> dict[str, Any]:
        ctx.progress(1, 2)
        await ctx.note("seen", f"cell {n}")
        reply = await ctx.cached({"n": n}, _reply)
        return {"attempt": ctx.job.attempt, "label": ctx.job.labels["n"], "reply": reply.decode()}

    def blocks(n: int, ctx: BlockingContext) -> dict[str, Any]:
        ctx.progress(1, 2)
        ctx.note("seen", f"cell {n}")
        ctx.permit("calls", rate_per_min=6_000)
        reply = ctx.cached({"n": n}, lambda: b"reply")
        return {"attempt": ctx.job.attempt, "label": ctx.job.labels["n"], "reply": reply.decode()}

    for function in (waits, blocks):
        assert as_job(function).parameter_names == ("n",)
        done = run(Sweep(function.__name__, function, matrix={"n": [7]}), tmp_path)
        [row] = done.rows()
        assert row.error is None
        assert row.values == {"attempt": 1, "label": 7, "reply": "reply"}
        assert any(event.message.endswith(": cell 7") for event in done.events())


async def _reply() -> bytes:
    return b"reply"

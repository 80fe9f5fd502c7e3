"""Cases: arguments that go together, from Python values, data frames and files."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import polars as pl
import pyarrow as pa  # type: ignore[import-untyped]
import pyarrow.parquet as pq  # type: ignore[import-untyped]
import pytest

from engine import Sweep, SweepError, UsageError, job
from tests.engine.functions.scenes import contents, labels, rows


@job
def ask(model: str, question: str, turns: int | None = None, is_hard: bool = False) -> str:
    """All arguments in one text."""
    return f"{model}: {question} {turns} {is_hard}"


ROWS: list[dict[str, Any]] = [
    {"question": "Why?", "turns": 1, "is_hard": True},
    {"question": "How,\nthen?", "turns": None, "is_hard": False},
]


def asking(cases: Any, **more: Any) -> Sweep:
    """A sweep of one model over cases."""
    return Sweep("asking", ask, matrix={"model": ["m"]}, cases=cases, **more)


def problems_of(cases: Any, **more: Any) -> list[str]:
    """The mistakes in cases."""
    with pytest.raises(SweepError) as refused:
        asking(cases, **more)
    return [str(problem) for problem in refused.value.problems]


def write_csv(folder: Path) -> Path:
    file = folder / "cases.csv"
    file.write_text('question,turns,is_hard\nWhy?,1,true\n"How,\nthen?",,False\n')
    return file


def write_tsv(folder: Path) -> Path:
    file = folder / "cases.tsv"
    file.write_text('question\tturns\tis_hard\nWhy?\t1\ttrue\n"How,\nthen?"\t\tfalse\n')
    return file


def write_json(folder: Path) -> Path:
    file = folder / "cases.json"
    file.write_text(json.dumps(ROWS))
    return file


def write_jsonl(folder: Path) -> Path:
    file = folder / "cases.jsonl"
    file.write_text("\n".join(map(json.dumps, ROWS)))
    return file


def write_yaml(folder: Path) -> Path:
    file = folder / "cases.yaml"
    file.write_text(
        '- {question: "Why?", turns: 1, is_hard: true}\n'
        '- {question: "How,\\nthen?", turns: null, is_hard: false}\n'
    )
    return file


def write_parquet(folder: Path) -> Path:
    file = folder / "cases.parquet"
    pq.write_table(pa.Table.from_pylist(ROWS), file)
    return file


def make_pandas(folder: Path) -> pd.DataFrame:
    return pd.DataFrame(ROWS).astype({"turns": "Int64"})


@pytest.mark.parametrize(
    "make",
    [
        pytest.param(lambda _: ROWS, id="list"),
        pytest.param(lambda _: tuple(ROWS), id="tuple"),
        pytest.param(lambda _: iter(ROWS), id="iterator"),
        make_pandas,
        pytest.param(lambda _: pl.DataFrame(ROWS), id="polars"),
        pytest.param(lambda _: pa.Table.from_pylist(ROWS), id="pyarrow"),
        write_csv,
        write_tsv,
        write_json,
        write_jsonl,
        write_yaml,
        write_parquet,
        pytest.param(lambda folder: str(write_csv(folder)), id="path as text"),
    ],
)
def test_each_source_gives_the_same_arguments(make: Callable[[Path], Any], tmp_path: Path) -> None:
    assert contents(asking(make(tmp_path)), "cases") == ROWS


def test_cases_are_crossed_with_the_matrix_and_the_function_receives_both(tmp_path: Path) -> None:
    sweep = Sweep("asking", ask, matrix={"model": ["a", "b"]}, cases=ROWS)

    found = rows(sweep, tmp_path)

    assert [(row.labels["case"], row.values["value"]) for row in found] == [
        ("1", "a: Why? 1 True"),
        ("2", "a: How,\nthen? None False"),
        ("1", "b: Why? 1 True"),
        ("2", "b: How,\nthen? None False"),
    ]


@pytest.mark.parametrize("column", ["id", "name"])
def test_a_column_that_is_no_parameter_labels_the_cases(column: str, tmp_path: Path) -> None:
    labelled = [{column: f"case {n}", **row} for n, row in enumerate(ROWS)]

    assert labels(asking(labelled), "cases") == ["case 0", "case 1"]
    assert labels(asking(pd.DataFrame(labelled)), "cases") == ["case 0", "case 1"]


def test_a_case_without_a_label_is_called_by_its_number() -> None:
    found = [
        {"id": None, "question": "a"},
        {"id": float("nan"), "question": "b"},
        {"id": " ", "question": "c"},
        {"id": 7, "question": "d"},
        {"question": "e"},
    ]

    assert labels(asking(found), "cases") == ["1", "2", "3", "7", "5"]


def test_a_parameter_called_id_or_name_is_an_argument() -> None:
    def look_up(id: int, name: str) -> str:  # noqa: A002
        return f"{id} {name}"

    sweep = Sweep("look up", look_up, cases=[{"id": 5, "name": "five"}])

    assert contents(sweep, "cases") == [{"id": 5, "name": "five"}]
    assert labels(sweep, "cases") == ["1"]


def test_a_column_that_labels_nothing_and_is_no_parameter_is_refused_with_a_suggestion() -> None:
    assert problems_of([{"qestion": "Why?", "question": "x"}]) == [
        'cases[0].qestion: is no parameter of the function; did you mean "question"?'
    ]
    assert problems_of([{"id": 1, "name": "a", "question": "Why?"}]) == [
        "cases[0].name: is no parameter of the function; known: is_hard, model, question, turns"
    ]


def test_mistakes_in_a_file_have_its_line(tmp_path: Path) -> None:
    file = tmp_path / "cases.csv"
    file.write_text("id,question,turns\na,Why?,1\nb,How?,many\na,When?,2\nc,Why?,1\n")

    assert problems_of(file) == [
        f"{file}:3:1: turns: Input should be a valid integer",
        f"{file}:4:1: id: another case is called a, at {file}:2:1: rename one",
        f"{file}:5:1: has the same arguments as {file}:2:1: leave one out",
    ]


@pytest.mark.parametrize("suffix", ["json", "jsonl", "yaml"])
def test_mistakes_in_files_of_values_have_their_line(suffix: str, tmp_path: Path) -> None:
    file = tmp_path / f"cases.{suffix}"
    written = ['{"question": "a"}', '{"question": 5}']
    file.write_text(
        "\n".join(written) if suffix == "jsonl" else "[\n" + ",\n".join(written) + "\n]"
    )

    [problem] = problems_of(file)

    line = 2 if suffix == "jsonl" else 3
    assert problem.startswith(f"{file}:{line}:")
    assert problem.endswith("question: Input should be a valid string")


def test_mistakes_in_lists_have_their_number() -> None:
    assert problems_of([{"question": "a"}, {"question": 5}, "b"]) == [
        "cases[1].question: Input should be a valid string",
        "cases[2]: must be a mapping of arguments by name",
    ]


def test_a_parameter_that_some_cases_lack_is_missing() -> None:
    assert problems_of([{"question": "a"}, {"turns": 3}]) == [
        "cases[1]: has no question, which the function needs"
    ]


def test_a_parameter_that_nothing_gives_is_missing() -> None:
    assert problems_of([{"turns": 3}]) == ["matrix.question: is missing: give it here, or in cases"]


def test_a_parameter_is_given_once() -> None:
    with pytest.raises(SweepError, match=r"matrix\.question: is given by the cases already"):
        Sweep("twice", ask, matrix={"model": ["m"], "question": ["a"]}, cases=ROWS)


def test_cases_that_differ_in_what_they_leave_out_get_the_defaults(tmp_path: Path) -> None:
    sweep = asking([{"question": "a", "turns": 1}, {"question": "a"}])

    assert [row.values["value"] for row in rows(sweep, tmp_path)] == [
        "m: a 1 False",
        "m: a None False",
    ]


def test_a_text_in_a_csv_file_stays_text_where_the_hint_allows_it(tmp_path: Path) -> None:
    def show(text: str, number: int, share: float, flag: bool, words: list[str]) -> None: ...

    file = tmp_path / "cases.csv"
    file.write_text(
        'text,number,share,flag,words\n007,007,1e-3,TRUE,"[""a""]"\n'.replace("007,007", "007,7")
    )

    sweep = Sweep("show", show, cases=file)

    assert contents(sweep, "cases") == [
        {"text": "007", "number": 7, "share": 0.001, "flag": True, "words": ["a"]}
    ]


def test_an_empty_field_is_none_where_the_hint_allows_it_and_else_an_empty_text(
    tmp_path: Path,
) -> None:
    def show(text: str, note: str | None) -> None: ...

    file = tmp_path / "cases.csv"
    file.write_text("id,text,note\na,,\n")

    assert contents(Sweep("show", show, cases=file), "cases") == [{"text": "", "note": None}]


def test_an_empty_field_of_a_number_is_refused(tmp_path: Path) -> None:
    def double(number: int) -> int:
        return 2 * number

    file = tmp_path / "cases.csv"
    file.write_text("id,number\na,1\nb,\n")

    with pytest.raises(
        SweepError, match=r"cases\.csv:3:1: number: Input should be a valid integer"
    ):
        Sweep("double", double, cases=file)


def test_missing_values_of_pandas_are_none(tmp_path: Path) -> None:
    def show(
        count: int | None, number: float | None, when: str | None, text: str | None
    ) -> None: ...

    frame = pd.DataFrame(
        {
            "count": [1, None],
            "number": [1.5, float("nan")],
            "when": ["now", pd.NA],
            "text": pd.Series(["x", None], dtype="string"),
        }
    )

    assert contents(Sweep("show", show, cases=frame), "cases") == [
        {"count": 1, "number": 1.5, "when": "now", "text": "x"},
        {"count": None, "number": None, "when": None, "text": None},
    ]


def test_nan_in_a_list_of_cases_is_refused() -> None:
    def double(number: float | None) -> float:
        return 2 * (number or 0)

    with pytest.raises(SweepError, match=r"cases\[0\]\.number: must be a finite number"):
        Sweep("double", double, cases=[{"number": float("nan")}])


def test_a_label_that_repeats_is_refused() -> None:
    found = [{"id": "x", "question": "a"}, {"id": "x", "question": "b"}]

    assert problems_of(found) == ["cases[1].id: another case is called x, at cases[0]: rename one"]


def test_a_label_that_is_the_number_of_another_case_is_refused() -> None:
    assert "another case of the name 2" in str(
        problems_of([{"id": "2", "question": "a"}, {"question": "b"}])
    )


@pytest.mark.parametrize(
    ("cases", "message"),
    [
        ({"question": ["a"]}, "cases: must be a list of mappings, a data frame, or the path of a file, not dict"),
        (5, "cases: must be a list of mappings, a data frame, or the path of a file, not int"),
        (pd.Series(["a"]), "cases: must be a list of mappings, a data frame, or the path of a file, not Series"),
        ("missing.csv", "cases: missing.csv cannot be read: No such file"),
        ("cases.txt", "cases: cases.txt: must be a file with one of the endings .csv, .tsv"),
        ("missing.parquet", "cases: missing.parquet cannot be read"),
    ],
)  # fmt: skip
def test_what_has_no_cases_is_refused(cases: Any, message: str) -> None:
    with pytest.raises(UsageError) as refused:
        asking(cases)

    assert message in str(refused.value)


def test_no_cases_at_all_are_a_mistake() -> None:
    assert "cases: there is none: give at least one" in problems_of([])


def test_a_file_that_is_no_table_is_refused_with_its_line(tmp_path: Path) -> None:
    file = tmp_path / "cases.jsonl"
    file.write_text('{"question": "a"}\n{"question": \n')

    with pytest.raises(SweepError, match=r"cases\.jsonl.*2"):
        asking(file)


def test_a_broken_parquet_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "cases.parquet"
    file.write_bytes(b"no parquet")

    with pytest.raises(UsageError, match=r"cases: .*cases\.parquet cannot be read"):
        asking(file)


def test_as_many_cases_as_an_axis_can_have_are_read_and_one_more_is_an_error() -> None:
    def double(number: int) -> int:
        return 2 * number

    most = Sweep("double", double, cases=[{"number": n} for n in range(100_000)])

    assert most.matrix.size == 100_000
    with pytest.raises(SweepError, match="has more than 100,000 values"):
        Sweep("double", double, cases=[{"number": n} for n in range(100_001)])


def test_a_parameter_called_case_does_not_go_with_cases() -> None:
    def show(case: str, n: int) -> str:
        return case

    with pytest.raises(SweepError, match="cases: rename the parameter case"):
        Sweep("show", show, matrix={"case": ["a"]}, cases=[{"n": 1}])
    assert Sweep("show", show, matrix={"case": ["a"], "n": [1]}).matrix.size == 1


def test_the_parameter_of_the_lane_is_not_given_by_cases() -> None:
    @job(lane="model")
    def lanes(model: str, n: int) -> int:
        return n

    with pytest.raises(SweepError, match=r"matrix\.model: names the lane: give it here"):
        Sweep("lanes", lanes, cases=[{"model": "a", "n": 1}])

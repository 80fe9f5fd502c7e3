"""The inputs of chat sweeps: texts, mappings, tables and lines, with the place of each mistake."""

import json
from pathlib import Path
from typing import Any

import pytest

from engine import Sweep, SweepError
from engine.core.axes import AxisValue
from tests.jobs.chat.sweeps import document

_SAID = {"role": "user", "content": "Hello?"}
_ANSWERED = {"role": "assistant", "content": "Hello!"}


def inputs_of(written: Any, folder: Path, **service: Any) -> list[tuple[Any, Any]]:
    """The names and contents of the inputs of a sweep."""
    sweep = Sweep.parse(
        document("http://127.0.0.1:1/v1", {"inputs": written}, **service), folder=folder
    )
    values: tuple[AxisValue, ...] = next(
        axis.values for axis in sweep.matrix.axes if axis.field == "input"
    )
    return [(value.label, value.content) for value in values]


def test_a_text_is_an_input_that_is_called_after_itself(tmp_path: Path) -> None:
    long = "word " * 40

    found = inputs_of(["Hello?", "two\nlines", long], tmp_path)

    assert found[0] == ("Hello?", {"text": "Hello?"})
    assert found[1][0].startswith("two lines #")
    assert found[1][1] == {"text": "two\nlines"}
    assert len(found[2][0]) <= 68
    assert found[2][1] == {"text": long}


@pytest.mark.parametrize("field", ["text", "input", "prompt", "question"])
def test_a_mapping_names_its_text_and_keeps_its_other_fields(field: str, tmp_path: Path) -> None:
    written = [{"id": 7, field: "Hello?", "expected": ["a", 1], "topic": None}]

    assert inputs_of(written, tmp_path) == [
        ("7", {"text": "Hello?", "expected": ["a", 1], "topic": None})
    ]


def test_a_conversation_is_an_input_that_is_called_after_its_messages(tmp_path: Path) -> None:
    messages = [
        {"role": "user", "content": "Hello."},
        {"role": "assistant", "content": "Hello!"},
        {"role": "user", "content": "Goodbye."},
    ]
    (tmp_path / "talks.jsonl").write_text(json.dumps({"messages": messages, "expected": "x"}))

    [(name, content)] = inputs_of({"file": "talks.jsonl"}, tmp_path)

    assert name.startswith("Hello. Hello! Goodbye. #")
    assert content == {"messages": messages, "expected": "x"}


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("inputs.csv", 'id,question,expected\nfr,"France, please",Paris\njp,Japan,Tokyo\n'),
        ("inputs.tsv", "id\tquestion\texpected\nfr\tFrance, please\tParis\njp\tJapan\tTokyo\n"),
        (
            "inputs.jsonl",
            """{"id": "fr", "question": "France, please", "expected": "Paris"}
            {"id": "jp", "question": "Japan", "expected": "Tokyo"}""",
        ),
        (
            "inputs.yaml",
            """- {id: fr, question: 'France, please', expected: Paris}
- {id: jp, question: Japan, expected: Tokyo}""",
        ),
    ],
)
def test_each_row_of_a_table_is_an_input(name: str, text: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(text)

    for written in ({"file": name}, [{"file": "inputs.*"}]):
        assert inputs_of(written, tmp_path, scorers=["equals"]) == [
            ("fr", {"text": "France, please", "expected": "Paris"}),
            ("jp", {"text": "Japan", "expected": "Tokyo"}),
        ]


def test_each_line_of_a_text_file_is_an_input(tmp_path: Path) -> None:
    (tmp_path / "inputs.txt").write_text("First?\n\n  Second?\n")

    assert inputs_of({"file": "inputs.txt"}, tmp_path) == [
        ("First?", {"text": "First?"}),
        ("Second?", {"text": "Second?"}),
    ]


def test_columns_of_other_names_are_named_by_the_sweep(tmp_path: Path) -> None:
    (tmp_path / "data.csv").write_text("Goal,Behavior ID,text_source\nDo it,b1,web\n")
    written = {"file": "data.csv", "column": "goal", "name_column": "behavior id"}

    assert inputs_of(written, tmp_path) == [("b1", {"text": "Do it", "text_source": "web"})]


@pytest.mark.parametrize(
    ("name", "text", "item", "place", "problem"),
    [
        ("a.csv", "id,answer\n1,x\n", {}, "matrix.inputs: a.csv: line 2", "has no text"),
        ("a.csv", "id,text\n1,x\n2,\n", {}, "matrix.inputs: a.csv: line 3", "its text is empty"),
        ("a.csv", "id,prompt,input\n1,x,y\n", {}, "matrix.inputs: a.csv: line 2", "could be its"),
        ("a.csv", "id,text\n1,x\n", {"column": "q"}, "matrix.inputs: a.csv", "no column q"),
        ("a.txt", "x\n", {"column": "q"}, "matrix.inputs: a.txt", "no columns"),
        ("a.md", "x\n", {}, "matrix.inputs: a.md", "add `format`: lines, csv"),
        ("a.jsonl", "{\n", {}, "matrix.inputs: a.jsonl", "line 1"),
        ("a.txt", "x\nx\n", {}, "matrix.inputs: a.txt: line 2", "listed already"),
        ("a.csv", "id,text\n1,x\n1,y\n", {}, "matrix.inputs: a.csv: line 3", "rename one"),
        ("a.txt", "x\n", {"fil": 1}, "matrix.inputs.fil", "unknown key"),
    ],
)
def test_a_mistake_in_a_file_has_its_place(
    name: str, text: str, item: dict[str, Any], place: str, problem: str, tmp_path: Path
) -> None:
    (tmp_path / name).write_text(text)

    with pytest.raises(SweepError) as raised:
        inputs_of({"file": name, **item}, tmp_path)

    [found] = raised.value.problems
    assert found.path == place
    assert problem in found.message


@pytest.mark.parametrize(
    ("written", "place", "problem"),
    [
        ([3], "matrix.inputs[0]", "must be text, a mapping, or {file: ...}"),
        (["a", ""], "matrix.inputs[1]", "its text is empty"),
        ("inputs.csv", "matrix.inputs", "must be a list of texts and mappings, or {file: ...}"),
        ([], "matrix.inputs", "is empty"),
        ([{"text": ["a"]}], "matrix.inputs[0]", "its text must be text"),
        ([{"id": [1], "text": "a"}], "matrix.inputs[0]", "its id must be text or a number"),
        ([{"messages": "Hello?"}], "matrix.inputs[0]", "must be a list of {role"),
        ([{"messages": [_SAID, {"role": "user"}]}], "matrix.inputs[0]", "messages[1] must be"),
        ([{"messages": [_SAID, _ANSWERED]}], "matrix.inputs[0]", "must end with one of the user"),
        (
            [{"messages": [{"role": "system", "content": "x"}, _SAID]}],
            "matrix.inputs[0]",
            "messages[0] is a system prompt: write it into matrix.system_prompts",
        ),
        ([{"messages": [_SAID], "text": "x"}], "matrix.inputs[0]", "exclude each other"),
        ({"file": "../a.csv"}, "matrix.inputs", "inside the folder"),
    ],
)
def test_a_wrong_input_is_a_mistake_with_its_place(
    written: Any, place: str, problem: str, tmp_path: Path
) -> None:
    with pytest.raises(SweepError) as raised:
        inputs_of(written, tmp_path)

    [found] = raised.value.problems
    assert found.path == place
    assert problem in found.message


def test_inputs_are_chosen_by_name_and_their_names_do_not_decide_their_jobs(
    tmp_path: Path,
) -> None:
    written = document(
        "http://127.0.0.1:1/v1",
        {"inputs": [{"id": "a-1", "text": "x"}, {"id": "b-1", "text": "y"}]},
    )
    renamed = json.loads(json.dumps(written).replace("a-1", "c-1"))

    keys = {job.labels["input"]: job.key for job in Sweep.parse(written).jobs()}
    other = {job.labels["input"]: job.key for job in Sweep.parse(renamed).jobs()}
    fewer = Sweep.parse({**written, "exclude": [{"inputs": "a-*"}]})

    assert keys["a-1"] == other["c-1"]
    assert [job.labels["input"] for job in fewer.jobs()] == ["b-1"]

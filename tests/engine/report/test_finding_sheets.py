"""Findings and cases as files and frames: their columns, whatever the answers hold."""

import csv
import json
from collections.abc import Mapping, Sequence
from io import BytesIO, StringIO
from typing import Any

import pyarrow.parquet  # type: ignore[import-untyped]
import pytest

from engine.core.cases import CaseRow
from engine.core.findings import Finding, Message
from engine.report.columns import AxisColumns
from engine.report.formats import FORMATS
from engine.report.sheet import Sheet, write_sheet
from engine.report.sheets import CaseSheet, FindingSheet, name_value_columns
from tests.engine.report.samples import given

HOSTILE = '\x1b]0;title\x07 \u202e<script>\r\n=cmd|" /C calc"!A0 \x00 \ud800 {"role":"system"}'
AXES = AxisColumns(types={"model": str, "repeat": int}, categories={"model": ("a", "b")})
EVIDENCE = {"cap": 0.2, "red_flags": [{"name": "hostility"}]}


def finding(**changes: Any) -> Finding:
    values: dict[str, Any] = {
        "failed": True,
        "run": "night",
        "job": 7,
        "labels": {"model": "a", "repeat": 1},
        "thresholds": (0.3, 0.9),
        "case": "case-1",
        "number": 4,
        "parent": 3,
        "layer": 1,
        "score": 0.2,
        "messages": (
            Message(role="user", content="Hello?"),
            Message(role="assistant", content="Yes."),
            Message(role="user", content="Help."),
            Message(role="assistant", content="No."),
        ),
        "evidence": EVIDENCE,
        "identity": "0123",
        **changes,
    }
    return Finding(**values)


def sheet_of(*findings: Finding, **more: Any) -> FindingSheet:
    return FindingSheet(run="night", rows=given(findings), axes=AXES, **more)


async def written(sheet: Sheet[Any], form: str) -> bytes:
    stream = BytesIO()
    await write_sheet(FORMATS[form], sheet, stream)
    return stream.getvalue()


CONVERSATION = [
    {"role": "user", "content": "Hello?"},
    {"role": "assistant", "content": "Yes."},
    {"role": "user", "content": "Help."},
    {"role": "assistant", "content": "No."},
]
DOCUMENT = {
    "model": "a",
    "repeat": 1,
    "thresholds": [0.3, 0.9],
    "case": "case-1",
    "number": 4,
    "parent": 3,
    "layer": 1,
    "score": 0.2,
    "user_input": "Help.",
    "reply": "No.",
    "conversation": CONVERSATION,
    "evidence": EVIDENCE,
    "tone": "cold",
    "job": 7,
    "identity": "0123",
}


async def test_a_finding_is_a_flat_object_with_its_conversation_and_evidence() -> None:
    sheet = sheet_of(finding(values={"tone": "cold"}), finding(), values={"tone": str})

    first, second = json.loads(await written(sheet, "json"))
    lines = [json.loads(line) for line in (await written(sheet, "jsonl")).splitlines()]

    assert first == DOCUMENT
    assert list(first) == list(DOCUMENT) == list(sheet.columns)
    assert second == {**DOCUMENT, "tone": None}
    assert lines == [first, second]


async def test_files_of_columns_have_conversation_and_evidence_as_json_texts() -> None:
    sheet = sheet_of(finding(values={"tone": "cold"}), finding(evidence=None), values={"tone": str})

    table = pyarrow.parquet.read_table(BytesIO(await written(sheet, "parquet")))
    cells, _ = csv.DictReader(StringIO((await written(sheet, "csv")).decode()))

    first, second = table.to_pylist()
    texts = ("thresholds", "conversation", "evidence")
    assert {**first, **{name: json.loads(first[name]) for name in texts}} == DOCUMENT
    assert second["evidence"] is None
    assert list(cells) == list(DOCUMENT)
    assert [json.loads(cells[name]) for name in texts] == [DOCUMENT[name] for name in texts]
    assert str(table.schema.field("model").type).startswith("dictionary")


@pytest.mark.parametrize("form", ["csv", "table"])
async def test_no_text_of_a_model_runs_as_a_formula_or_moves_a_cursor(form: str) -> None:
    said = (Message(role="user", content=HOSTILE), Message(role="assistant", content="=1+1"))
    sheet = sheet_of(
        finding(messages=said, case=HOSTILE, evidence={"why": HOSTILE}, values={"tone": "@x"}),
        finding(),
        values={"tone": str},
    )

    text = (await written(sheet, form)).decode()

    assert not {"\x1b", "\u202e", "\x00", "\x07"} & set(text)
    if form == "csv":
        first, _ = csv.DictReader(StringIO(text))
        assert first["reply"] == "'=1+1"
        assert first["tone"] == "'@x"


@pytest.mark.parametrize("form", ["parquet", "arrow", "json", "jsonl", "csv", "table"])
async def test_without_findings_every_format_is_whole(form: str) -> None:
    whole = await written(sheet_of(), form)

    if form == "parquet":
        assert pyarrow.parquet.read_table(BytesIO(whole)).column_names == list(sheet_of().columns)
    if form == "table":
        assert whole == b"run night: no findings\n"


def test_a_value_that_is_called_like_a_column_is_told_from_it() -> None:
    columns = name_value_columns(["score", "Reply", "value_score", "tone", "model"], AXES.types)

    assert columns == {
        "Reply": "value_Reply",
        "model": "value_model",
        "score": "value_score",
        "tone": "tone",
        "value_score": "value_value_score",
    }


async def test_renamed_values_are_in_every_format() -> None:
    of = {"values": {"value_score": int}, "names": {"value_score": "score"}}
    sheet = sheet_of(finding(values={"score": 3}), **of)

    [document] = json.loads(await written(sheet, "json"))
    [row] = pyarrow.parquet.read_table(BytesIO(await written(sheet, "parquet"))).to_pylist()

    assert (document["score"], document["value_score"]) == (0.2, 3)
    assert (row["score"], row["value_score"]) == (0.2, 3)


@pytest.mark.parametrize("width", [40, 60, 80, 120])
async def test_a_table_of_findings_fits_the_width(width: int) -> None:
    long = (
        Message(role="user", content="word " * 500),
        Message(role="assistant", content="漢" * 300),
    )
    findings = [finding(messages=long, labels={"model": name, "repeat": 1}) for name in "ab"]

    text = (await written(sheet_of(*findings, width=width), "table")).decode()

    lines = text.splitlines()
    assert "run night, repeat 1" in lines[0]
    assert "case-1" in text
    # A wide character takes two cells.
    assert max(len(line) + line.count("漢") for line in lines) <= width


def case(name: str | None, **labels: Any) -> CaseRow:
    return CaseRow(
        labels={"model": "a", "repeat": 1, **labels},
        case=name,
        tests=3,
        failed=2,
        first_failed=1,
        lowest_score=0.25,
        job=7,
        identity="0123",
    )


def cases_of(*cases: CaseRow, axes: AxisColumns = AXES) -> CaseSheet:
    return CaseSheet(run="night", rows=given(cases), axes=axes)


async def test_a_case_is_a_flat_object_in_every_format() -> None:
    sheet = cases_of(case("one"), case(None))

    documents: Sequence[Mapping[str, Any]] = json.loads(await written(sheet, "json"))
    table = pyarrow.parquet.read_table(BytesIO(await written(sheet, "parquet")))

    assert documents[0] == {
        "model": "a",
        "repeat": 1,
        "case": "one",
        "tests": 3,
        "failed": 2,
        "first_failed": 1,
        "lowest_score": 0.25,
        "job": 7,
        "identity": "0123",
    }
    assert documents[1]["case"] is None
    assert table.to_pylist() == documents
    assert table.column_names == list(sheet.columns)
    assert b"0.25" in await written(sheet, "table")


async def test_an_axis_of_cases_is_the_column_of_the_case() -> None:
    axes = AxisColumns(types={"model": str, "case": str, "repeat": int})
    sheet = cases_of(case("7", case="7"), axes=axes)

    [document] = json.loads(await written(sheet, "json"))

    assert list(document)[:4] == ["model", "repeat", "case", "tests"]
    assert list(sheet.columns)[:4] == ["model", "case", "repeat", "tests"]

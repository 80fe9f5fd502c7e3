"""Findings and cases of a run as frames and files, with the columns that their answers give."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow.parquet  # type: ignore[import-untyped]
import pytest

from engine import JudgedTest, Message, Run, Sweep, UsageError
from engine.kinds import Answer, Job
from engine.report import frames
from engine.testing import ScriptedKind, ScriptedService, scored
from tests.engine.functions.scenes import run as run_function
from tests.engine.functions.test_findings import shout
from tests.engine.scenes import finished, opened, sweep

MATRIX = {"prompts": [{"name": "bare", "text": "Be kind."}], "thresholds": [0.3, 0.9]}
VALUES: Mapping[str, list[Any]] = {"turns": [1, 2.5], "tone": ["cold", True], "score": [3, None]}
"""The values of the two tests of each answer, by name."""
AXES = ["model", "prompt", "group", "variations", "repeat", "prompt_digest"]


class TalkingKind(ScriptedKind):
    """Its answers list two tests, with values of various types."""

    def tests(self, raw: bytes, labels: Mapping[str, Any]) -> Iterator[JudgedTest]:
        for number, score in enumerate(json.loads(raw)):
            values = {name: of[number] for name, of in VALUES.items()}
            yield JudgedTest(
                failed=score < labels["threshold"],
                case=f"case-{number}",
                score=score,
                messages=(Message(role="user", content=f"{labels['model']}?"),),
                values={name: value for name, value in values.items() if value is not None},
            )


def answer(job: Job) -> Answer:
    return scored(
        0.1,
        0.5,
        threshold=job.parameters["threshold"],
        cases=["case-0", "case-1"],
        raw=b"[0.1, 0.5]",
    )


async def answered(engine: Any, service: ScriptedService) -> Run:
    run, _ = await finished(engine, sweep(service, models=["a", "b"], matrix=MATRIX))
    return run


async def test_findings_are_a_frame_whose_columns_have_the_types_of_their_values(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(frames, "BATCH_ROWS", 3)
    service = ScriptedService(answer, kind=TalkingKind)
    async with opened(tmp_path / "store.db", service) as engine:
        run = await answered(engine, service)
        table = await run.to_arrow(of="findings")
        frame = await run.to_pandas(of="findings", where={"model": "b", "threshold": 0.3})
        await run.to_parquet(tmp_path / "findings.parquet", of="findings")
        polars = await run.to_polars(of="findings")

    assert table.column_names == [
        *AXES,
        *("thresholds", "case", "number", "parent", "layer", "score", "user_input", "reply"),
        *("conversation", "evidence", "value_score", "tone", "turns", "job", "identity"),
    ]
    types = {name: str(table.schema.field(name).type) for name in ("tone", "turns", "value_score")}
    assert types == {"tone": "string", "turns": "double", "value_score": "int64"}
    assert table.column("tone").to_pylist() == ["cold", "true"] * 2
    assert table.column("value_score").to_pylist() == [3, None] * 2
    assert table.column("score").to_pylist() == [0.1, 0.5] * 2
    assert table.column("model").to_pylist() == ["a", "a", "b", "b"]
    assert list(frame["case"]) == ["case-0"]
    assert list(frame["user_input"]) == ["b?"]
    assert (
        pyarrow.parquet.read_table(tmp_path / "findings.parquet").to_pylist() == table.to_pylist()
    )
    assert polars["turns"].to_list() == [1, 2.5] * 2


async def test_cases_are_a_frame_with_a_row_for_each_case_of_each_cell(tmp_path: Path) -> None:
    service = ScriptedService(answer, kind=TalkingKind)
    async with opened(tmp_path / "store.db", service) as engine:
        run = await answered(engine, service)
        table = await run.to_arrow(of="cases", where={"model": "a"})

    assert table.column_names == [
        *("model", "prompt", "group", "threshold", "variations", "repeat", "prompt_digest"),
        *("case", "tests", "failed", "first_failed", "lowest_score", "job", "identity"),
    ]
    found = table.select(["threshold", "case", "failed", "lowest_score"]).to_pylist()
    assert [tuple(one.values()) for one in found] == [
        (0.3, "case-0", 1, 0.1),
        (0.3, "case-1", 0, 0.5),
        (0.9, "case-0", 1, 0.1),
        (0.9, "case-1", 1, 0.5),
    ]


async def test_another_sort_of_rows_is_refused(tmp_path: Path) -> None:
    service = ScriptedService(answer, kind=TalkingKind)
    async with opened(tmp_path / "store.db", service) as engine:
        run = await answered(engine, service)
        with pytest.raises(UsageError, match="of: 'tests' is not one of 'rows', 'findings'"):
            await run.to_arrow(of="tests")  # type: ignore[arg-type]


def test_a_function_has_a_row_for_each_case_with_the_fields_of_the_case(tmp_path: Path) -> None:
    cases = [{"id": "loud", "text": "HEY YOU"}, {"id": "quiet", "text": "hey you"}]
    done = run_function(Sweep("shouting", shout, cases=cases), tmp_path)

    found = done.to_pandas(of="cases")
    [failed] = done.to_arrow(of="findings").to_pylist()
    quiet = list(done.cases(where={"case": "q*"}))

    assert list(found["case"]) == ["loud", "quiet"]
    assert list(found["text"]) == ["HEY YOU", "hey you"]
    assert list(found["failed"]) == [0, 1]
    assert (failed["case"], failed["text"], failed["words"]) == ("quiet", "hey you", 2)
    assert failed["value_reply"] == "hey you"
    assert [one.case for one in quiet] == ["quiet"]

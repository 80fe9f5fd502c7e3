"""Data frames and files of columns: one row per cell, with the same columns and types whatever the rows are."""

import csv
import json
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import pandas
import polars
import pyarrow  # type: ignore[import-untyped]
import pyarrow.parquet  # type: ignore[import-untyped]
import pytest

from engine import Engine, Run, open_engine
from engine.kinds import Answer, Job, Permanent, Transient
from engine.registry import Registry
from engine.report.formats import FORMATS
from engine.report.sheet import write_sheet
from engine.testing import FakeClock, ScriptedService, scored
from tests.engine.arguments import CASES, TONES, FunctionKind, function_sweep
from tests.engine.scenes import NOW, finished, opened, sweep
from tests.patience import PATIENCE_S

PROMPTS = [{"name": "bare", "text": "Be kind."}, {"name": "none", "text": "-"}]
MATRIX = {"prompts": PROMPTS, "thresholds": [0.1, 0.5], "variations": [1, 2]}

CATEGORY = "dictionary<values=string, indices=int32, ordered=0>"
TIME = "timestamp[us, tz=UTC]"
ARROW = {
    "model": CATEGORY,
    "prompt": CATEGORY,
    "group": CATEGORY,
    "threshold": "double",
    "variations": "int64",
    "repeat": "int64",
    "prompt_digest": CATEGORY,
    "asked": "bool",
    "state": CATEGORY,
    "passed": "int64",
    "failed": "int64",
    "total": "int64",
    "failure_rate": "double",
    "ci_low": "double",
    "ci_high": "double",
    "interval": "string",
    "cases": "int64",
    "first_failed": "int64",
    "cases_failed": "int64",
    "unanswered": "int64",
    "unanswered_reasons": "string",
    "lowest_rate": "double",
    "highest_rate": "double",
    "identity": "string",
    "attempts": "int64",
    "seconds": "double",
    "answered_at": TIME,
    "source": CATEGORY,
    "error": "string",
}
VALUES = {
    "cost_usd": "double",
    "mixed": "string",
    "refused": "bool",
    "tone": "string",
    "turns": "int64",
}
PANDAS = {
    CATEGORY: "category",
    "double": "Float64",
    "int64": "Int64",
    "bool": "boolean",
    "string": "string",
    TIME: "datetime64[us, UTC]",
}
POLARS = {
    CATEGORY: polars.Categorical(),
    "double": polars.Float64(),
    "int64": polars.Int64(),
    "bool": polars.Boolean(),
    "string": polars.String(),
    TIME: polars.Datetime("us", "UTC"),
}


def answer(job: Job) -> Answer | Exception:
    """Model a has whole values, b other ones, c fails."""
    match job.labels["model"]:
        case "a":
            values: dict[str, Any] = {
                "tone": "warm",
                "turns": 3,
                "cost_usd": 1,
                "mixed": 1,
                "refused": True,
            }
        case "b":
            values = {"cost_usd": 0.25, "mixed": "x"}
        case _:
            return Permanent("no such model", status=404)
    return scored(0.2, 0.6, values=values)


@asynccontextmanager
async def answered(
    store: Path, models: tuple[str, ...] = ("a", "b", "c"), matrix: Mapping[str, Any] = MATRIX
) -> AsyncIterator[Run]:
    """A finished run of which the models a and b have answers and c has failed."""
    service = ScriptedService(answer)
    async with opened(store, service) as engine:
        run, _ = await finished(engine, sweep(service, models=models, matrix=matrix))
        yield run


def arrow_types(table: Any) -> dict[str, str]:
    return {field.name: str(field.type) for field in table.schema}


async def written(run: Run, form: str, *, past: bool = False) -> bytes:
    stream = BytesIO()
    await write_sheet(FORMATS[form], await run.sheet(past=past), stream)
    return stream.getvalue()


async def test_columns_have_these_types_in_each_frame_with_rows_and_without(
    tmp_path: Path,
) -> None:
    service = ScriptedService(answer)
    async with answered(tmp_path / "store.db") as run:
        table, frame, other = await run.to_arrow(), await run.to_pandas(), await run.to_polars()
    async with opened(tmp_path / "empty.db", service) as engine:
        empty = await engine.submit(sweep(service, models=["a", "b", "c"], matrix=MATRIX))
        no_rows = await empty.to_arrow(), await empty.to_pandas(), await empty.to_polars()

    assert arrow_types(table) == {**ARROW, **VALUES}
    assert frame.dtypes.astype(str).to_dict() == {
        name: PANDAS[kind] for name, kind in (ARROW | VALUES).items()
    }
    assert dict(other.schema) == {name: POLARS[kind] for name, kind in (ARROW | VALUES).items()}
    assert [len(one) for one in no_rows] == [0, 0, 0]
    assert no_rows[0].schema.equals(table.select(list(ARROW)).schema, check_metadata=True)
    assert no_rows[1].dtypes.equals(frame[list(ARROW)].dtypes)
    assert no_rows[2].schema == other.select(list(ARROW)).schema


async def test_frames_have_the_values_of_rows_also_of_failed_and_missing_cells(
    tmp_path: Path,
) -> None:
    async with answered(tmp_path / "store.db") as run:
        rows = [row async for row in run.rows()]
        table, frame, other = await run.to_arrow(), await run.to_pandas(), await run.to_polars()

    assert len(rows) == 3 * 2 * 2 * 2
    for row, found in zip(rows, table.to_pylist(), strict=True):
        assert {name: found[name] for name in row.labels} == row.labels
        assert found["prompt_digest"] == row.digests["prompt"]
        for name in (
            "state",
            "source",
            "failed",
            "total",
            "failure_rate",
            "attempts",
            "seconds",
            "error",
        ):
            assert found[name] == getattr(row, name), name
    last = table.to_pylist()[-1]
    assert (last["model"], last["state"], last["source"]) == ("c", "failed", "missing")
    assert (last["total"], last["seconds"], last["answered_at"]) == (None, None, None)
    assert (last["error"], last["attempts"]) == ("no such model", 1)
    assert frame["total"].isna().sum() == 8
    assert frame["total"].sum() == sum(row.total or 0 for row in rows)
    assert other.to_dicts() == table.to_pylist()


async def test_the_categories_of_an_axis_are_its_values_in_the_order_of_the_file(
    tmp_path: Path,
) -> None:
    service = ScriptedService(answer)
    models = ["b", "a", "c"]
    async with opened(tmp_path / "store.db", service) as engine:
        run = await engine.submit(sweep(service, models=models, matrix=MATRIX))
        empty = await run.to_pandas()
        await run.execute()
        whole = await run.to_pandas()

    assert list(empty["model"].cat.categories) == models
    assert list(whole["model"].cat.categories) == models
    assert list(whole["prompt"].cat.categories) == ["bare", "none"]
    assert "waiting" in whole["state"].cat.categories
    assert empty.dtypes.equals(whole[empty.columns].dtypes)


async def test_an_answer_tells_when_it_came_and_how_long_its_attempt_took(tmp_path: Path) -> None:
    began = datetime.now(UTC)
    async with answered(tmp_path / "store.db", ("a",), {}) as run:
        [row] = [row async for row in run.rows()]
        [job] = [job async for job in run.jobs()]
        [found] = (await run.to_arrow()).to_pylist()
        [document] = json.loads(await written(run, "json"))

    assert job.sent_at is not None
    assert job.ended_at is not None
    assert row.answered_at == job.ended_at
    assert row.seconds == pytest.approx(job.ended_at - job.sent_at, abs=1e-6)
    assert row.attempts == 1
    assert began < found["answered_at"] < datetime.now(UTC)
    assert datetime.fromisoformat(document["answered_at"]) == found["answered_at"]


async def test_a_retried_answer_has_the_seconds_of_its_last_attempt_and_a_reused_one_none(
    tmp_path: Path,
) -> None:
    tries: list[int] = []

    def second_time(job: Job) -> Answer | Exception:
        tries.append(job.attempt)
        return Transient("away") if len(tries) == 1 else scored(0.2)

    service, clock = ScriptedService(second_time, takes_s=2.5), FakeClock(NOW)
    async with opened(tmp_path / "store.db", service, clock) as engine, clock.jumping():
        first, _ = await finished(engine, sweep(service, name="first"))
        again, _ = await finished(engine, sweep(service, name="again"))
        [row] = [row async for row in first.rows()]
        [reused] = [row async for row in again.rows()]

    assert tries == [1, 2]
    assert (row.source, row.attempts, row.seconds) == ("measured", 2, 2.5)
    assert (reused.source, reused.attempts, reused.seconds) == ("reused", 0, None)
    assert reused.answered_at == row.answered_at
    assert row.answered_at is not None
    assert row.answered_at > NOW + 2 * 2.5


async def test_a_parquet_file_has_the_table_of_the_run(tmp_path: Path) -> None:
    file = tmp_path / "rows.parquet"
    async with answered(tmp_path / "store.db") as run:
        table = await run.to_arrow()
        await run.to_parquet(file)
        await run.to_parquet(str(file))

    found = pyarrow.parquet.read_table(file)
    assert found.schema.equals(table.schema)
    assert found.to_pylist() == table.to_pylist()
    assert polars.read_parquet(file).to_dicts() == table.to_pylist()
    assert file.stat().st_mode & 0o777 == 0o600
    # Each row group would have a copy of all categories.
    assert set(pandas.read_parquet(file)["state"].cat.categories) == {"succeeded", "failed"}


async def test_an_arrow_file_is_read_by_arrow_pandas_and_polars(tmp_path: Path) -> None:
    file = tmp_path / "rows.arrow"
    async with answered(tmp_path / "store.db") as run:
        table = await run.to_arrow()
        file.write_bytes(await written(run, "arrow"))

    with pyarrow.ipc.open_file(file) as read:
        assert read.read_all().equals(table, check_metadata=True)
    assert polars.read_ipc(file).to_dicts() == table.to_pylist()
    assert len(pandas.read_feather(file)) == table.num_rows


async def test_past_rows_are_in_a_frame_only_if_they_are_asked_for(tmp_path: Path) -> None:
    service = ScriptedService(answer)
    async with opened(tmp_path / "store.db", service) as engine:
        await finished(engine, sweep(service, models=["a", "old"]))
        run, _ = await finished(engine, sweep(service, models=["b", "a"]))
        now, all_of_them = await run.to_pandas(), await run.to_pandas(past=True)
        rows = [row async for row in run.rows(past=True)]
        arrow = pyarrow.ipc.open_file(BytesIO(await written(run, "arrow", past=True)))
        table = await run.to_arrow(past=True)

    assert list(now["model"]) == ["b", "a"]
    assert list(all_of_them["model"]) == [row.labels["model"] for row in rows] == ["b", "a", "old"]
    assert list(all_of_them["asked"]) == [True, True, False]
    assert list(all_of_them["model"].cat.categories) == ["b", "a", "old"]
    assert arrow.read_all().equals(table)


async def test_an_argument_is_its_content_and_a_case_has_a_column_for_each_field(
    tmp_path: Path,
) -> None:
    async with functions(tmp_path / "store.db") as engine:
        run = await engine.run()
        table = await run.to_arrow()
        documents = json.loads(await written(run, "json"))
        lines = await written(run, "jsonl")
        cells = list(csv.DictReader(StringIO((await written(run, "csv")).decode(), newline="")))

    types = arrow_types(table)
    assert list(types)[:7] == [
        "model",
        "tone",
        "case",
        "question",
        "turns",
        "repeat",
        "case_digest",
    ]
    assert [types[name] for name in ("tone", "case", "question", "turns")] == [
        CATEGORY,
        CATEGORY,
        CATEGORY,
        "int64",
    ]
    found = table.to_pylist()
    assert (
        [list(one) for one in documents]
        == [list(types)] * len(found)
        == [list(one) for one in cells]
    )
    assert [json.loads(line) for line in lines.splitlines()] == documents
    # Contents of several types are JSON texts where a column has one type.
    assert [one["tone"] for one in documents[::2]] == list(TONES)
    assert [one["tone"] and json.loads(one["tone"]) for one in found[::2]] == list(TONES)
    assert [one["tone"] for one in cells] == [one["tone"] or "" for one in found]
    assert [(one["case"], one["question"], one["turns"]) for one in found[:2]] == [
        ("no. 0", CASES[0]["question"], 2),
        ("no. 1", CASES[1]["question"], None),
    ]
    assert [(one["question"], one["turns"]) for one in cells[:2]] == [("Why?", "2"), ("How?", "")]


@asynccontextmanager
async def functions(store: Path, **contents: Any) -> AsyncIterator[Engine]:
    service = ScriptedService(lambda _: scored(0.2), kind=FunctionKind)
    async with opened(store, service) as engine:
        await finished(engine, function_sweep(service, **contents))
        yield engine


@pytest.mark.parametrize(
    ("contents", "kind"),
    [
        (["calm", "curt", None], CATEGORY),
        ([1, 2, None], "int64"),
        ([1, 0.5], "double"),
        ([True, False, None], "bool"),
        ([True, 1], CATEGORY),
        ([2**80, 1], CATEGORY),
        ([None], CATEGORY),
        ([["a"], {"b": None}], CATEGORY),
    ],
)
async def test_a_column_of_contents_has_their_one_type_or_json_texts(
    tmp_path: Path, contents: list[Any], kind: str
) -> None:
    async with functions(tmp_path / "store.db", tones=contents, cases=[]) as engine:
        table = await (await engine.run()).to_arrow()

    assert arrow_types(table)["tone"] == kind
    found = table["tone"].to_pylist()
    is_text = kind == CATEGORY and contents[0] != "calm"
    assert [one if one is None or not is_text else json.loads(one) for one in found] == contents


async def test_a_field_of_a_case_with_the_name_of_another_column_is_called_after_its_axis(
    tmp_path: Path,
) -> None:
    case = {"model": "x", "State": 1, "case": True, "q": "a", "Q": "b"}
    async with functions(tmp_path / "store.db", tones=[], cases=[case]) as engine:
        [found] = (await (await engine.run()).to_arrow()).to_pylist()

    names = ["case", "case_model", "case_State", "case_case", "q", "case_Q"]
    assert {name: found[name] for name in names} == dict(
        zip(names, ["no. 0", "x", 1, True, "a", "b"], strict=True)
    )
    assert (found["model"], found["state"]) == ("a", "succeeded")


async def test_contents_of_an_earlier_version_are_in_past_rows_without_the_function(
    tmp_path: Path,
) -> None:
    store = tmp_path / "store.db"
    async with functions(store, tones=["old", "new"]):
        pass
    async with functions(store, tones=["new"], cases=[{"question": "Who?"}]):
        pass

    async with open_engine(store, registry=Registry(), read_only=True) as engine:
        run = await engine.run()
        now, past = await run.to_arrow(), await run.to_arrow(past=True)

    assert (now["tone"].to_pylist(), now["question"].to_pylist()) == (["new"], ["Who?"])
    asked = [(row["tone"], row["question"]) for row in past.to_pylist() if row["asked"] is False]
    assert sorted(asked) == [(tone, one) for tone in ("new", "old") for one in ("How?", "Why?")]


async def test_rows_that_a_changed_sweep_has_not_reached_yet_have_their_contents(
    tmp_path: Path,
) -> None:
    service = ScriptedService(lambda _: scored(0.2), kind=FunctionKind)
    async with opened(tmp_path / "store.db", service) as engine:
        await finished(engine, function_sweep(service, tones=["old", "kept"], cases=[]))
        run = await engine.submit(function_sweep(service, tones=["kept", "new"], cases=[]))
        found = (await run.to_arrow()).to_pylist()

    assert [(row["tone"], row["asked"]) for row in found] == [("old", None), ("kept", None)]


@pytest.fixture
async def store(tmp_path: Path) -> Path:
    path = tmp_path / "store.db"
    async with answered(path, ("a",), {}):
        return path


MISSING = """
import sys
from importlib.abc import MetaPathFinder

class Absent(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == sys.argv[1]:
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)

sys.meta_path.insert(0, Absent())
import anyio
from engine import UsageError, open_engine
from engine.registry import Registry

async def main():
    async with open_engine(sys.argv[2], registry=Registry(), read_only=True) as engine:
        run = await engine.run()
        try:
            await getattr(run, sys.argv[3])(*sys.argv[4:])
        except UsageError as error:
            print(error)

anyio.run(main)
"""


@pytest.mark.parametrize(
    ("package", "method", "extra"),
    [
        ("pyarrow", "to_arrow", "frames"),
        ("pyarrow", "to_parquet", "frames"),
        ("pyarrow", "to_pandas", "pandas"),
        ("pandas", "to_pandas", "pandas"),
        ("pyarrow", "to_polars", "polars"),
        ("polars", "to_polars", "polars"),
    ],
)
def test_an_extra_that_is_missing_is_named_and_no_file_is_left(
    tmp_path: Path, store: Path, package: str, method: str, extra: str
) -> None:
    files = [str(tmp_path / "rows.parquet")] * (method == "to_parquet")

    done = subprocess.run(  # noqa: S603
        [sys.executable, "-c", MISSING, package, str(store), method, *files],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
    )

    assert (done.stdout, done.stderr) == (
        f"this needs {package}, which is not installed: run `pip install 'nightsweep[{extra}]'`\n",
        "",
    )
    assert [one.name for one in tmp_path.iterdir() if "parquet" in one.name] == []

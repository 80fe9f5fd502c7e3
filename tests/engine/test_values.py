"""What a job kind tells of an answer beside its counts, from the kind to every format."""

import csv
import json
from dataclasses import replace
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import pyarrow.parquet  # type: ignore[import-untyped]
import pytest

from engine import Engine, Run
from engine.kinds import Answer, Job
from engine.report.formats import FORMATS
from engine.report.sheet import write_sheet
from engine.store import dialect
from engine.store.queries import job_rows
from engine.testing import FakeClock, ScriptedService, scored
from tests.engine.scenes import NOW, finished, opened, sweep
from tests.engine.store.scenes import rows as stored

VALUES: dict[str, dict[str, Any]] = {
    "a": {"tone": "=warm", "turns": 3, "cost_usd": 1, "mixed": 1, "refused": True},
    "b": {"tone": None, "turns": float("nan"), "cost_usd": 0.25, "mixed": "x"},
    "c": {},
}
NAMES = ["cost_usd", "mixed", "refused", "tone", "turns"]
TYPES = [float, str, bool, str, int]


def with_values(job: Job) -> Answer:
    return scored(0.2, 0.6, values=VALUES[job.labels["model"]])


async def written(run: Run, form: str, width: int = 80) -> bytes:
    sheet = replace(await run.sheet(), width=width)
    stream = BytesIO()
    await write_sheet(FORMATS[form], sheet, stream)
    return stream.getvalue()


async def test_values_are_columns_after_all_others_in_every_format(tmp_path: Path) -> None:
    service = ScriptedService(with_values)
    async with opened(tmp_path / "store.db", service, FakeClock(NOW)) as engine:
        run, _ = await finished(engine, sweep(service, models=["a", "b", "c"]))
        columns = await run.value_columns()
        files = {form: await written(run, form) for form in FORMATS}
        wide = (await written(run, "table", width=200)).decode()

    assert list(columns.items()) == list(zip(NAMES, TYPES, strict=True))
    a, b, c = json.loads(files["json"])
    assert list(a) == list(b) == list(c)
    assert list(a)[-5:] == NAMES
    assert [a[name] for name in NAMES] == [1, 1, True, "=warm", 3]
    assert [b[name] for name in NAMES] == [0.25, "x", None, None, None]
    assert {c[name] for name in NAMES} == {None}
    assert [json.loads(line) for line in files["jsonl"].splitlines()] == [a, b, c]

    first, second, third = csv.DictReader(StringIO(files["csv"].decode(), newline=""))
    assert [first[name] for name in NAMES] == ["1", "1", "True", "'=warm", "3"]
    assert [second[name] for name in NAMES] == ["0.25", "x", "", "", ""]
    assert {third[name] for name in NAMES} == {""}

    table = pyarrow.parquet.read_table(BytesIO(files["parquet"]))
    assert [str(table.schema.field(name).type) for name in NAMES] == [
        "double",
        "string",
        "bool",
        "string",
        "int64",
    ]
    assert [[row[name] for name in NAMES] for row in table.to_pylist()] == [
        [1.0, "1", True, "=warm", 3],
        [0.25, "x", None, None, None],
        [None] * 5,
    ]

    assert wide.splitlines()[2].split()[-5:] == NAMES
    assert any(line.split()[-5:] == ["1", "1", "yes", "=warm", "3"] for line in wide.splitlines())


async def test_a_table_shows_the_values_that_fit_beside_the_rest_and_no_others(
    tmp_path: Path,
) -> None:
    def long(job: Job) -> Answer:
        return scored(0.2, values={"a_text": "x" * 60, "turns": 3})

    service = ScriptedService(long)
    async with opened(tmp_path / "store.db", service, FakeClock(NOW)) as engine:
        run, _ = await finished(engine, sweep(service, models=["a", "b"]))
        narrow, wide = [(await written(run, "table", width)).decode() for width in (80, 200)]

    assert "turns" in narrow
    assert "a_text" not in narrow
    assert max(map(len, narrow.splitlines())) <= 80
    assert "a_text" in wide


async def test_a_reused_answer_has_its_values(tmp_path: Path) -> None:
    service = ScriptedService(with_values)
    async with opened(tmp_path / "store.db", service, FakeClock(NOW)) as engine:
        await finished(engine, sweep(service, name="first"))
        run, _ = await finished(engine, sweep(service, name="second"))
        [row] = [row async for row in run.rows()]

    assert len(service.recording.started) == 1
    assert (row.source, row.values) == ("reused", VALUES["a"])


async def test_a_value_that_is_another_column_fails_the_job_and_says_which(
    tmp_path: Path,
) -> None:
    service = ScriptedService(lambda _: scored(0.2, raw=b"paid", values={"model": "x"}))
    path = tmp_path / "store.db"
    async with opened(path, service, FakeClock(NOW)) as engine:
        run, status = await finished(engine, sweep(service))
        [row] = [row async for row in run.rows()]

    assert status.cells_failed == 1
    assert row.error == (
        "a bug in the job kind scripted: the value 'model' has the name of another column: rename it"
    )
    assert stored(path, "SELECT size FROM unread") == [(len(b"paid"),)]


@pytest.mark.parametrize("secret", ["sk-very-secret-value"])
async def test_no_value_holds_a_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, secret: str
) -> None:
    from engine.secrets import resolve_secret

    monkeypatch.setenv("A_KEY", secret)
    resolve_secret("env:A_KEY")
    service = ScriptedService(lambda _: scored(0.2, values={"echo": f"{secret} \ud83d"}))
    async with opened(tmp_path / "store.db", service, FakeClock(NOW)) as engine:
        run, _ = await finished(engine, sweep(service))
        [row] = [row async for row in run.rows()]

    assert secret not in str(row.values["echo"])
    assert str(row.values["echo"]).endswith(" ?")


async def test_a_run_without_values_is_asked_along_an_index_of_those_that_have_some(
    tmp_path: Path,
) -> None:
    service = ScriptedService(with_values)
    path = tmp_path / "store.db"
    async with opened(path, service, FakeClock(NOW)) as engine:
        run, _ = await finished(engine, sweep(service, models=["c"]))
        columns = await _columns(engine, run.name)

    assert columns == {}
    plan = stored(
        path,
        'EXPLAIN QUERY PLAN SELECT DISTINCT v.key, v.type FROM result JOIN json_each(result."values") v'
        ' WHERE result.run_id = 1 AND result."values" IS NOT NULL',
    )
    assert "ix_result_values" in str(plan)


async def _columns(engine: Engine, name: str) -> dict[str, Any]:
    return dict(await (await engine.run(name)).value_columns())


async def test_rows_with_large_values_are_read_in_smaller_pages_and_none_is_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(dialect, "_PART", 2)
    monkeypatch.setattr(job_rows, "_PAGE_CHARACTERS", 5_000)
    held: list[int] = []
    read_page = job_rows._page

    def page(*given: Any) -> Any:
        found = read_page(*given)
        held.append(len(found[0]))
        return found

    monkeypatch.setattr(job_rows, "_page", page)
    service = ScriptedService(lambda _: scored(0.2, values={"text": "x" * 2_000}))
    async with opened(tmp_path / "store.db", service, FakeClock(NOW)) as engine:
        run, _ = await finished(engine, sweep(service, repeats=9))
        repeats = [row.labels["repeat"] async for row in run.rows()]

    assert repeats == list(range(1, 10))
    assert max(held) == 4


async def test_a_long_text_is_kept_whole(tmp_path: Path) -> None:
    text = "a reply\n" * 10_000
    service = ScriptedService(lambda _: scored(0.2, values={"text": text}))
    async with opened(tmp_path / "store.db", service, FakeClock(NOW)) as engine:
        run, _ = await finished(engine, sweep(service))
        [row] = [row async for row in run.rows()]

    assert row.values["text"] == text

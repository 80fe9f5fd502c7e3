import json
from collections.abc import AsyncIterator
from io import BytesIO
from pathlib import Path
from typing import Any
from weakref import WeakSet

import pyarrow.parquet  # type: ignore[import-untyped]
import pytest

from engine.core.axes import (
    AxisValue,
    GroupAxis,
    IntegerAxis,
    NumberAxis,
    PromptAxis,
    TextAxis,
)
from engine.core.errors import UsageError
from engine.core.matrix import MatrixAxis
from engine.core.rows import Row, Source
from engine.report import frames
from engine.report.columns import AxisColumns
from engine.report.document import row_document
from engine.report.files import new_file
from engine.report.formats import FORMATS
from engine.report.sheet import write_sheet
from engine.report.sheets import RowSheet
from tests.engine.report.samples import answered, given, unanswered

VALUE = (AxisValue(label="x", content="x"),)
AXES = AxisColumns.of(
    [
        MatrixAxis(axis=axis, values=VALUE, own=1)
        for axis in (
            TextAxis(name="models", field="model"),
            PromptAxis(name="prompts", field="prompt"),
            GroupAxis(name="groups", field="group"),
            NumberAxis(name="thresholds", field="threshold", minimum=0, maximum=1),
            IntegerAxis(name="variations", field="variations", minimum=0, maximum=9),
        )
    ]
)
LABELS: dict[str, Any] = {
    "model": "m",
    "prompt": "bare",
    "group": "self_harm",
    "threshold": 0.5,
    "variations": 2,
    "repeat": 1,
}
DIGESTS = {"prompt": "1a2b"}


def sheet(*rows: Row) -> RowSheet:
    return RowSheet(run="night", rows=given(rows), axes=AXES)


async def written(file: Path, *rows: Row) -> pyarrow.parquet.ParquetFile:
    with new_file(file) as stream:
        await write_sheet(FORMATS["parquet"], sheet(*rows), stream)
    return pyarrow.parquet.ParquetFile(file)


async def test_a_parquet_file_holds_the_rows_and_says_whose_they_are(tmp_path: Path) -> None:
    whole = answered(3, 9, digests=DIGESTS, **LABELS)
    failed = unanswered("failed", "no such model", **LABELS)

    found = await written(tmp_path / "x.parquet", whole, failed)

    first, second = found.read().to_pylist()
    assert first == {**row_document(whole), "unanswered_reasons": "{}"}
    assert (second["total"], second["failure_rate"], second["prompt_digest"]) == (None, None, None)
    assert (second["source"], second["error"]) == ("missing", "no such model")
    assert found.schema_arrow.metadata[b"nightsweep.run"] == b"night"


async def test_reasons_are_one_json_text(tmp_path: Path) -> None:
    lacking = {"moderated": 2, "empty": 1}

    found = await written(tmp_path / "x.parquet", answered(3, 9, lacking=lacking, **LABELS))

    [reasons] = found.read()["unanswered_reasons"].to_pylist()
    assert json.loads(reasons) == lacking


async def test_each_column_has_one_type_whatever_its_values_are(tmp_path: Path) -> None:
    whole_number = answered(0, 0, digests=DIGESTS, **{**LABELS, "threshold": 1})

    found = await written(tmp_path / "x.parquet", whole_number)

    types = {field.name: str(field.type) for field in found.schema_arrow}
    assert list(types) == list(row_document(whole_number))
    assert [types[name] for name in ("threshold", "variations", "repeat")] == [
        "double",
        "int64",
        "int64",
    ]
    assert (types["asked"], types["total"], types["ci_low"]) == ("bool", "int64", "double")
    assert {types[name] for name in ("model", "prompt_digest", "state", "source")} == {
        "dictionary<values=string, indices=int32, ordered=0>"
    }
    assert (types["error"], types["answered_at"]) == ("string", "timestamp[us, tz=UTC]")


async def test_no_rows_are_a_file_with_all_columns(tmp_path: Path) -> None:
    found = await written(tmp_path / "x.parquet")

    assert found.metadata.num_rows == 0
    assert found.schema_arrow.names == list(row_document(answered(0, 0, digests=DIGESTS, **LABELS)))


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(frames, "BATCH_ROWS", 4)


ROWS = [answered(1, 4, **{**LABELS, "repeat": number}) for number in range(10)]


@pytest.mark.usefixtures("small_batches")
async def test_rows_are_written_a_row_group_at_a_time(tmp_path: Path) -> None:
    found = await written(tmp_path / "x.parquet", *ROWS)

    groups = [found.metadata.row_group(n).num_rows for n in range(found.metadata.num_row_groups)]
    assert groups == [4, 4, 2]
    assert found.read()["repeat"].to_pylist() == list(range(10))


class TrackedRow(Row):
    """A row that can be told from equal ones, and of which is known whether it is held."""

    __slots__ = ("__weakref__",)
    __eq__ = object.__eq__
    __hash__ = object.__hash__


@pytest.mark.usefixtures("small_batches")
@pytest.mark.parametrize("form", ["parquet", "arrow"])
async def test_no_more_rows_than_a_batch_has_are_held_however_many_there_are(form: str) -> None:
    alive: WeakSet[Row] = WeakSet()
    most = 0

    async def rows() -> AsyncIterator[Row]:
        nonlocal most
        for number in range(100):
            row = TrackedRow(
                labels={**LABELS, "repeat": number}, state=f"{number}", source=Source.MISSING
            )
            alive.add(row)
            most = max(most, len(alive))
            yield row

    await write_sheet(FORMATS[form], RowSheet(run="night", rows=rows, axes=AXES), BytesIO())

    assert most <= 4 + 1


async def test_text_that_utf_8_cannot_say_does_not_cost_the_file(tmp_path: Path) -> None:
    found = await written(tmp_path / "x.parquet", unanswered("failed", "half \ud83d", **LABELS))

    assert found.read()["error"].to_pylist() == ["half ?"]


class Terminal(BytesIO):
    def isatty(self) -> bool:
        return True


async def test_parquet_is_not_written_to_a_terminal() -> None:
    with pytest.raises(UsageError, match=r"--output FILE\.parquet"):
        await write_sheet(FORMATS["parquet"], sheet(), Terminal())

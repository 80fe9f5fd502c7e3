from typing import Any

from engine.core.axes import AxisValue, RecordAxis, TextAxis
from engine.core.canonical import digest
from engine.core.matrix import MatrixAxis
from engine.core.rows import short_digest
from engine.report.columns import AxisColumns
from tests.engine.report.samples import answered


def unread(_: Any) -> Any:
    raise AssertionError("only its values are shown")


def test_each_field_of_a_record_is_a_column_named_after_the_axis_as_well() -> None:
    records = [
        {"text": "What is the capital of France?", "expected": "Paris"},
        {"text": "And of Peru?"},
    ]
    axis = MatrixAxis(
        axis=RecordAxis(name="inputs", field="input", read=unread),
        values=tuple(AxisValue(label=f"no. {n}", content=one) for n, one in enumerate(records)),
        own=2,
    )
    model = MatrixAxis(
        axis=TextAxis(name="models", field="model"), values=(AxisValue("a", "a"),), own=1
    )

    columns = AxisColumns.of([model, axis])

    assert columns.types == {
        "model": str,
        "input": str,
        "input_text": str,
        "input_expected": str,
        "repeat": int,
        "input_digest": str,
    }
    rows = [
        answered(0, 1, digests={"input": short_digest(digest(one))}, model="a", input=f"no. {n}")
        for n, one in enumerate(records)
    ]
    assert [columns.contents["input"].document_of(row) for row in rows] == [
        {"input": "no. 0", "input_text": records[0]["text"], "input_expected": "Paris"},
        {"input": "no. 1", "input_text": "And of Peru?", "input_expected": None},
    ]

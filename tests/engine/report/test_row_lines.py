from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.core.rows import Row, Source
from engine.core.states import State
from engine.report.columns import AxisColumns
from engine.report.document import line_json
from engine.report.sheets import RowSheet
from tests.engine.report.samples import given as rows_of

_TEXT = st.text(max_size=5)
_RATE = st.none() | st.floats(0, 1) | st.sampled_from((0, 1))
_COUNT = st.none() | st.integers(0, 3)
_VALUE = st.booleans() | st.integers(0, 1) | st.sampled_from((0.0, 1.0, 2.5)) | _TEXT
_ROWS = st.builds(
    Row,
    labels=st.dictionaries(st.sampled_from(("model", "error", "passed", "repeat")), _VALUE),
    digests=st.dictionaries(st.just("model"), st.none() | _TEXT),
    asked=st.none() | st.booleans(),
    state=st.sampled_from((*State, *map(str, State))),
    source=st.sampled_from(Source),
    passed=_COUNT,
    failed=_COUNT,
    failure_rate=_RATE,
    ci_low=_RATE,
    unanswered=_COUNT,
    unanswered_reasons=st.none() | st.dictionaries(_TEXT, st.integers(0, 2), max_size=2),
    lowest_rate=_RATE,
    attempts=st.integers(0, 2),
    seconds=st.none() | st.sampled_from((0, 0.0, 1, 1.0, 2.5)),
    answered_at=st.none() | st.sampled_from((1, 1.0, 1.7e9)),
    error=st.none() | _TEXT,
    values=st.dictionaries(st.sampled_from(("score", "state", "model")), _VALUE),
)


def sheet() -> RowSheet:
    axes = AxisColumns(types={"model": str, "repeat": int})
    values = {"score": float, "state": str, "model": str}
    return RowSheet(run="night", rows=rows_of(()), axes=axes, values=values)


@given(st.lists(_ROWS, max_size=8))
def test_a_line_is_the_rows_document_whatever_lines_were_written_before(rows: list[Row]) -> None:
    shown = sheet()

    assert [shown.to_line(row) for row in rows] == [
        line_json(shown.to_document(row)) for row in rows
    ]


@pytest.mark.parametrize("column", ["failure_rate", "seconds"])
def test_a_number_that_json_lacks_is_refused_every_time(column: str) -> None:
    row = Row(labels={"model": "a"}, state="succeeded", source=Source.MEASURED, **known(column))

    for _ in range(2):
        with pytest.raises(ValueError, match="JSON"):
            sheet().to_line(row)


def known(column: str) -> dict[str, Any]:
    return {column: float("nan")}


def test_a_number_is_written_in_its_own_type_beside_an_equal_one_of_another_type() -> None:
    lines = [
        sheet().to_line(
            Row(
                labels={"model": "a"},
                state="succeeded",
                source=Source.MEASURED,
                failure_rate=number,
                seconds=number,
            )
        )
        for number in (1, 1.0, 1)
    ]

    assert lines[0] == lines[2] != lines[1]
    assert '"failure_rate": 1.0' in lines[1]
    assert '"seconds": 1.0' in lines[1]

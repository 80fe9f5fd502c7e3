from collections.abc import AsyncIterator
from io import BytesIO

from engine.core.rows import Row, Rows, Source
from engine.report.columns import AxisColumns
from engine.report.formats import FORMATS
from engine.report.sheet import write_sheet
from engine.report.sheets import RowSheet
from tests.engine.report.samples import answered, given


def rows(count: int, model: str = "a") -> tuple[Row, ...]:
    return tuple(
        Row(
            labels={"model": model, "repeat": number % 9},
            state="succeeded",
            source=Source.MEASURED,
            passed=1,
            failed=1,
            total=2,
            failure_rate=0.5,
        )
        for number in range(count)
    )


def sheet_of(read: Rows, **categories: tuple[str, ...]) -> RowSheet:
    axes = AxisColumns(types={"model": str, "repeat": int}, categories=categories)
    return RowSheet(run="night", rows=read, axes=axes, width=100)


async def written(shown: RowSheet) -> str:
    stream = BytesIO()
    await write_sheet(FORMATS["table"], shown, stream)
    return stream.getvalue().decode()


async def test_the_first_rows_are_written_before_the_last_ones_are_read() -> None:
    stream = BytesIO()
    at: list[int] = []

    async def read() -> AsyncIterator[Row]:
        for row in rows(3_000):
            at.append(stream.tell())
            yield row

    await write_sheet(FORMATS["table"], sheet_of(read), stream)

    assert len(at) == 3_000, "the rows were read more than once"
    assert at[999] == 0 < at[1_000] < at[2_999]


async def test_a_row_that_does_not_fit_the_layout_of_those_before_gets_a_new_head() -> None:
    longer = "a-model-with-a-longer-name"

    text = await written(sheet_of(given((*rows(1_500), *rows(2, longer), *rows(10)))))

    first, second = text.split("\n\nrun night")
    assert "model a" in first.splitlines()[0]
    assert second.count(longer) == 2
    assert "\u2026" not in text
    assert text.count("1/2") == 1_512


async def test_the_head_leaves_room_for_the_texts_that_an_axis_has_in_later_rows() -> None:
    longer = "a-model-with-a-longer-name"

    shown = sheet_of(given((*rows(1_500), *rows(2, longer))), model=("a", longer))

    assert (await written(shown)).count("run night") == 1


async def test_what_is_unanswered_only_in_a_late_row_is_shown() -> None:
    late = answered(1, 2, lacking={"moderated": 3}, model="a", repeat=1)

    text = await written(sheet_of(given((*rows(1_200), late))))

    assert "unanswered" in text.split("\n\nrun night")[1]

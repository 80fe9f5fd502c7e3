import csv
import json
import re
import unicodedata
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any, BinaryIO

import pytest
from hypothesis import given as hypothesis_given
from hypothesis import strategies as st
from rich.cells import cell_len

from engine.core.errors import UsageError
from engine.core.rows import Row, RowCounts
from engine.core.runs import RunState
from engine.report.columns import AxisColumns
from engine.report.coverage import counts_lines
from engine.report.files import new_file
from engine.report.formats import FORMATS, format_of
from engine.report.formats.csv import csv_cell
from engine.report.sheet import write_sheet
from engine.report.sheets import RowSheet
from engine.results.coverage import CountedRows
from tests.engine.report.samples import SAMPLE, answered, given, status, unanswered

TEXT = tuple(name for name, form in FORMATS.items() if form.is_text)
AXES = AxisColumns(types={"model": str, "prompt": str, "threshold": float})


async def counted(
    rows: tuple[Row, ...], form: str, stream: BinaryIO, width: int = 80, run: str = "night"
) -> RowCounts:
    read = CountedRows(given(rows), "threshold")
    sheet = RowSheet(run=run, rows=read, axes=AXES, width=width)
    await write_sheet(FORMATS[form], sheet, stream)
    return read.counts


async def written(rows: tuple[Row, ...], form: str, width: int = 80, run: str = "night") -> str:
    stream = BytesIO()
    await counted(rows, form, stream, width, run)
    return stream.getvalue().decode()


async def test_json_is_a_list_of_flat_objects_in_which_unknown_is_null() -> None:
    text = await written(SAMPLE, "json")

    first, _, failed, _ = json.loads(text)
    assert list(first) == [
        "model",
        "prompt",
        "group",
        "threshold",
        "asked",
        "state",
        "passed",
        "failed",
        "total",
        "failure_rate",
        "ci_low",
        "ci_high",
        "interval",
        "cases",
        "first_failed",
        "cases_failed",
        "unanswered",
        "unanswered_reasons",
        "lowest_rate",
        "highest_rate",
        "identity",
        "attempts",
        "seconds",
        "answered_at",
        "source",
        "error",
    ]
    assert first["failure_rate"] == 0.3
    assert first["ci_low"] == pytest.approx(0.1078, abs=1e-4)
    assert first["error"] is None
    assert failed == {
        "model": "qwen/qwen9",
        "prompt": "bare",
        "group": "self_harm",
        "threshold": 0.3,
        "asked": True,
        "state": "failed",
        "passed": None,
        "failed": None,
        "total": None,
        "failure_rate": None,
        "ci_low": None,
        "ci_high": None,
        "interval": None,
        "cases": None,
        "first_failed": None,
        "cases_failed": None,
        "unanswered": None,
        "unanswered_reasons": None,
        "lowest_rate": None,
        "highest_rate": None,
        "identity": None,
        "attempts": 0,
        "seconds": None,
        "answered_at": None,
        "source": "missing",
        "error": "Unknown model: qwen/qwen9",
    }


GAPS = {"moderated": 2, "empty": 1}


async def test_json_tells_what_is_unanswered_by_reason() -> None:
    text = await written((answered(3, 9, lacking=GAPS, model="m"),), "json")

    [row] = json.loads(text)
    assert (row["total"], row["unanswered"], row["unanswered_reasons"]) == (9, 3, GAPS)
    assert (row["lowest_rate"], row["highest_rate"]) == (0.25, 0.5)


async def test_csv_tells_what_is_unanswered_in_one_cell() -> None:
    text = await written((answered(3, 9, lacking=GAPS, model="m"),), "csv")

    [row] = csv.DictReader(StringIO(text, newline=""), strict=True)
    assert (row["unanswered"], row["unanswered_reasons"]) == ("3", "moderated 2, empty 1")


async def test_a_table_has_a_column_for_what_is_unanswered_only_where_something_is() -> None:
    whole = answered(3, 9, model="a")

    without = await written((whole,), "table")
    text = await written((whole, answered(3, 9, lacking=GAPS, model="b")), "table")

    assert "unanswered" not in without
    assert "unanswered" in text
    assert "3: 25.0%-50.0%" in text


async def test_a_tally_counts_what_is_unanswered_out_loud() -> None:
    rows = (answered(3, 9, lacking=GAPS, model="a"), answered(0, 9, model="b"))

    counts = await counted(rows, "jsonl", BytesIO())

    assert counts_lines(counts, status())[-1] == "questions unanswered: 3 (moderated 2, empty 1)"


async def test_a_tally_counts_each_test_once_at_each_threshold_and_says_who_judged() -> None:
    gap = {"moderated": 1}
    rows = (
        answered(1, 10, threshold=0.3, lacking=gap),
        answered(4, 10, threshold=0.7, lacking=gap),
        answered(2, 5, threshold=0.7),
        unanswered("waiting", threshold=0.7),
    )

    counts = await counted(rows, "jsonl", BytesIO())

    assert counts_lines(counts, status(run="night", judge="the judge", threshold=0.7)) == [
        "night: 3 of 4 cells answered, 1 to go",
        "tests failed: 1 of 10 at threshold 0.3, 6 of 15 at threshold 0.7 (judged by the judge)",
        "questions unanswered: 1 at threshold 0.7 (moderated 1)",
    ]


async def test_a_tally_of_many_thresholds_tells_the_lowest_and_the_highest() -> None:
    rows = tuple(answered(n, 20, threshold=n / 20) for n in range(1, 20))

    counts = await counted(rows, "jsonl", BytesIO())

    assert counts_lines(counts, status())[1] == (
        "tests failed: 1 of 20 at threshold 0.05, ... (14 thresholds between),"
        " 16 of 20 at threshold 0.8, 17 of 20 at threshold 0.85, 18 of 20 at threshold 0.9,"
        " 19 of 20 at threshold 0.95"
    )


async def test_what_has_no_answer_is_missing_only_once_the_run_is_over() -> None:
    rows = (answered(1, 4, model="a"), unanswered("waiting", model="b"))

    counts = await counted(rows, "csv", BytesIO())

    cells = "crisis-safety: 1 of 2 cells answered, 1"
    assert counts_lines(counts, status(state=RunState.ACTIVE))[0] == f"{cells} to go"
    assert counts_lines(counts, status(state=RunState.PAUSED))[0] == f"{cells} to go"
    assert counts_lines(counts, status(state=RunState.FINISHED))[0] == f"{cells} missing"
    assert counts_lines(counts, status(state=RunState.CANCELLED))[0] == f"{cells} missing"


async def test_what_is_not_asked_for_any_more_is_in_no_count_but_its_own() -> None:
    rows = (answered(1, 4, model="a"), answered(2, 4, model="b", asked=False))

    counts = await counted(rows, "json", BytesIO())

    assert counts_lines(counts, status())[:2] == [
        "crisis-safety: 1 of 1 cells answered, 1 not asked for any more",
        "tests failed: 1 of 4",
    ]


async def test_cells_left_out_because_the_sweep_no_longer_has_them_are_counted() -> None:
    counts = await counted((answered(1, 4, model="a"),), "json", BytesIO())

    assert counts_lines(counts, status(cells_past=3))[0] == (
        "crisis-safety: 1 of 1 cells answered, 3 not asked for any more left out (--all)"
    )


async def test_a_table_says_what_is_not_asked_for_only_where_something_is() -> None:
    now, gone = answered(1, 4, model="a"), answered(2, 4, model="b", asked=False)

    without = await written((now,), "table")
    both = (await written((now, gone), "table")).splitlines()

    assert "asked" not in without
    assert [line.split()[:2] for line in both[2:]] == [
        ["model", "asked"],
        ["-----", "-----"],
        ["a", "yes"],
        ["b", "no"],
    ]


async def test_a_table_has_a_digest_only_where_one_name_stands_for_two_texts() -> None:
    first, second = (
        answered(1, 4, prompt="bare", model=model, digests={"prompt": digest})
        for model, digest in (("a", "1a2b"), ("b", "3c4d"))
    )
    other = answered(1, 4, prompt="warm", model="a", digests={"prompt": "5e6f"})

    alike = await written((first, other), "table")
    apart = await written((first, second), "table")

    assert "prompt_digest" not in alike
    assert apart.splitlines()[0] == "run night, prompt bare"
    assert "prompt_digest" in apart
    assert "3c4d" in apart


async def test_json_tells_two_texts_of_one_name_apart() -> None:
    rows = (
        answered(1, 4, prompt="bare", digests={"prompt": "1a2b"}),
        answered(1, 4, prompt="none", digests={"prompt": None}),
    )

    found = json.loads(await written(rows, "json"))

    assert [(row["prompt"], row["prompt_digest"]) for row in found] == [
        ("bare", "1a2b"),
        ("none", None),
    ]


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("x.txt", "table"),
        ("x.csv", "csv"),
        ("night.1.JSON", "json"),
        ("x.jsonl", "jsonl"),
        ("x.parquet", "parquet"),
    ],
)
def test_a_file_is_written_as_its_ending_says(name: str, form: str) -> None:
    assert format_of(Path("folder") / name) is FORMATS[form]


@pytest.mark.parametrize("name", ["x.xlsx", "results", ".csv", "x."])
def test_an_ending_that_says_nothing_is_refused_with_those_that_do(name: str) -> None:
    endings = ", ".join(form.ending for form in FORMATS.values())

    with pytest.raises(
        UsageError, match=re.escape(f"end it in {endings}, or say it with --format")
    ):
        format_of(Path(name))


async def test_json_lines_hold_the_same_objects_one_a_line() -> None:
    lines = (await written(SAMPLE, "jsonl")).splitlines()

    assert [json.loads(line) for line in lines] == json.loads(await written(SAMPLE, "json"))


@pytest.mark.parametrize(
    ("form", "nothing"),
    [("table", "run night: no cells\n"), ("csv", ""), ("json", "[]\n"), ("jsonl", "")],
)
async def test_no_rows_are_a_valid_file_in_every_format(form: str, nothing: str) -> None:
    assert await written((), form) == nothing


@pytest.mark.parametrize("form", TEXT)
async def test_every_format_says_an_error_without_its_control_characters(form: str) -> None:
    error = "\x1b[2Jgone \u202e\x85"

    text = await written((unanswered("failed", error, model="\x1b]0;owned\x07m"),), form)

    assert "gone" in text
    assert {c for c in text if unicodedata.category(c) in ("Cc", "Cf")} <= {"\r", "\n"}


async def test_json_is_safe_on_a_terminal_and_keeps_every_character() -> None:
    error = "\x1b]0;owned\x07 \u202e \ud800"
    text = await written((unanswered("failed", error, model="m"),), "json")

    assert text.isascii()
    assert "\x1b" not in text
    assert json.loads(text)[0]["error"] == error


async def test_csv_is_read_back_as_it_was_written() -> None:
    rows = (
        answered(1, 4, model='say "hi", now', threshold=0.5),
        unanswered("failed", "two\nlines, one cell", model="b", threshold=0.5),
    )

    text = await written(rows, "csv")

    first, second = csv.DictReader(StringIO(text, newline=""), strict=True)
    assert text.startswith(
        "model,prompt,threshold,asked,state,passed,failed,total,failure_rate,ci_low,"
    )
    assert text.count("\r\n") == text.count("\n") == 3
    assert (first["model"], first["failed"], first["failure_rate"]) == (
        'say "hi", now',
        "1",
        "0.25",
    )
    assert (second["failed"], second["error"]) == ("", "two lines, one cell")


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+SUM(A1)", "'+SUM(A1)"),
        ("-cmd|' /C calc'!A0", "'-cmd|' /C calc'!A0"),
        ("@import", "'@import"),
        ("\t=1+1", "' =1+1"),
        ("\r=1+1", "' =1+1"),
        ("\x00=1+1", "'=1+1"),
        ("  =1+1", "'  =1+1"),
        ("\uff1d1+1", "'\uff1d1+1"),
        ('"=1+1', "'\"=1+1"),
        ("'=1+1", "''=1+1"),
        (""" "' =1""", """' "' =1"""),
        ("a;=1+1", "a;'=1+1"),
        ('a; "@x|-y', """a;' "@x|'-y"""),
        ("-inf", "'-inf"),
        ("-12", "-12"),
        ("+1.5e3", "+1.5e3"),
        ("a=b", "a=b"),
        (-0.5, -0.5),
        (None, None),
    ],
)
def test_no_cell_is_a_formula(value: Any, cell: Any) -> None:
    assert csv_cell(value) == cell


@hypothesis_given(
    st.lists(st.text(st.sampled_from("=+-@;,|\t\"' \r\n1a")), min_size=1),
    st.sampled_from(",;|\t"),
)
def test_no_cell_is_a_formula_whatever_separates_cells(texts: list[str], delimiter: str) -> None:
    stream = StringIO()
    csv.writer(stream).writerow([csv_cell(text) for text in texts])

    [cells] = csv.reader(StringIO(stream.getvalue(), newline=""), delimiter=delimiter)

    for cell in cells:
        bare = cell.strip(" \"'")
        assert bare[:1] not in ("=", "@", "+", "-") or "'" in cell or float(bare) is not None


@hypothesis_given(st.text(st.characters(codec=None)))
def test_no_text_at_all_becomes_a_formula(text: str) -> None:
    cell = str(csv_cell(text))

    assert not cell.lstrip().startswith(("=", "@", "+", "-")) or float(cell) is not None


async def test_a_table_says_once_what_never_changes_and_the_error_below_its_row() -> None:
    assert (await written(SAMPLE, "table")).splitlines() == [
        "run night, prompt bare, group self_harm",
        "",
        "model             threshold  failed  failure_rate  95 % interval  source",
        "----------------  ---------  ------  ------------  -------------  --------",
        "anthropic/claude  0.3          3/10         30.0%    10.8%-60.3%  measured",
        "anthropic/claude  0.5          4/10         40.0%    16.8%-68.7%  derived",
        "qwen/qwen9        0.3             -             -              -  failed",
        "    Unknown model: qwen/qwen9",
        "qwen/qwen9        0.5             -             -              -  waiting",
    ]


def wide(models: int = 3) -> tuple[Row, ...]:
    return tuple(
        answered(
            index % 7,
            600,
            model=f"a-rather-long-provider/a-model-with-a-long-name-{index % models}",
            prompt=f"prompts/a-long-folder/system-prompt-{index % 2}",
            group=("suicidal_ideation", "psychosis_delusions", "日本語の長い名前")[index % 3],
            threshold=index / 100,
            variations=index % 4,
            maximum_iteration_layers=index % 3,
            repeat=index % 2,
        )
        for index in range(24)
    )


@pytest.mark.parametrize("width", [60, 80, 100, 200])
async def test_a_table_is_never_wider_than_the_terminal(width: int) -> None:
    rows = (*wide(), unanswered("failed", "an error " * 40, model="m", repeat=1))

    lines = (await written(rows, "table", width)).splitlines()

    assert max(map(cell_len, lines)) <= width


async def test_axes_that_do_not_fit_become_headings() -> None:
    lines = (await written(wide(), "table")).splitlines()

    assert "model a-rather-long-provider/a-model-with-a-long-name-0" in lines[4]


async def test_control_sequences_in_labels_and_errors_do_not_reach_the_terminal() -> None:
    rows = (unanswered("failed", "\x1b[2Jgone \u202e", model="\x1b]0;owned\x07m"),)

    text = await written(rows, "table")

    assert "\x1b" not in text
    assert "\u202e" not in text
    assert "model m" in text


@pytest.mark.parametrize("form", FORMATS)
async def test_every_cell_is_counted_out_loud(form: str, tmp_path: Path) -> None:
    with new_file(tmp_path / "rows") as stream:
        counts = await counted(SAMPLE, form, stream)

    assert counts_lines(counts, status()) == [
        "crisis-safety: 2 of 4 cells answered, 1 failed, 1 to go",
        "tests failed: 3 of 10 at threshold 0.3, 4 of 10 at threshold 0.5",
    ]


async def test_an_answer_without_tests_is_an_answer() -> None:
    counts = await counted((answered(0, 0, model="m"),), "csv", BytesIO())

    assert (counts.coverage.answered, counts.coverage.to_come) == (1, 0)


@pytest.mark.parametrize("width", [40, 80, 200])
async def test_a_table_wraps_why_a_cell_has_no_numbers_and_cuts_nothing_off(width: int) -> None:
    cause = "connection refused (POST chat/completions at 127.0.0.1:8000), " + "again " * 40 + "end"
    row = unanswered("failed", cause, model="m", prompt="p", group="g", threshold=0.5)

    text = await written((row,), "table", width)

    assert max(map(len, text.splitlines())) <= width
    assert cause in " ".join(text.split())


async def test_a_table_of_answers_without_tests_has_no_columns_for_them() -> None:
    text = await written(
        (answered(0, 0, n=1), answered(0, 0, n=2), unanswered("failed", n=3)), "table"
    )

    assert text.splitlines()[2].split() == ["n", "source"]


async def test_a_table_without_answers_keeps_the_columns_of_tests() -> None:
    text = await written((unanswered("pending", n=1), unanswered("pending", n=2)), "table")

    assert "failed" in text.splitlines()[2]

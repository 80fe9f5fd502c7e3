"""Whatever a table holds, there is a table or a named error; nothing of it is lost on the way."""

import csv
import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.documents.malformed import Malformed
from engine.documents.tables import TableFormat, guess_table_format, read_table

cells = st.text(st.characters(codec="utf-8", exclude_characters="\0\r"), max_size=20)
syntax = st.text(st.sampled_from('",;\t\n {}[]:-sep=ab0'), max_size=60)


@given(st.one_of(st.text(max_size=60), syntax), st.sampled_from(TableFormat))
def test_every_text_is_a_table_or_a_named_error(text: str, written_as: TableFormat) -> None:
    guess_table_format(text)
    try:
        table = read_table(text, written_as)
    except Malformed:
        return
    assert table.rows
    assert all(set(row.cells) <= set(table.columns) for row in table.rows)


@given(st.lists(cells.filter(str.strip), min_size=1, max_size=5), st.sampled_from(",;\t"))
def test_what_was_written_as_csv_is_read_as_it_was(texts: list[str], delimiter: str) -> None:
    stream = io.StringIO()
    writer = csv.writer(stream, delimiter=delimiter, quoting=csv.QUOTE_ALL)
    writer.writerows([["name", "text"], *([str(number), one] for number, one in enumerate(texts))])

    table = read_table(stream.getvalue().replace("\r\n", "\n"), TableFormat.CSV)

    assert [row.text("text") for row in table.rows] == texts


@given(st.lists(cells.filter(str.strip), min_size=1, max_size=5))
def test_what_was_written_as_json_lines_is_read_as_it_was(texts: list[str]) -> None:
    lines = "\n".join(json.dumps({"text": one}) for one in texts)

    table = read_table(lines, TableFormat.JSONL)

    assert [row.text("text") for row in table.rows] == texts


@pytest.mark.parametrize("text", ['sep="\na"b\n', "sep= \na b\n", "sep=x\naxb\n"])
def test_a_separator_that_none_uses_is_a_column_like_any_other(text: str) -> None:
    assert read_table(text, TableFormat.CSV).columns == (text.partition("\n")[0].strip(),)


def test_a_row_of_a_list_whose_key_has_a_dot_has_a_place() -> None:
    table = read_table("rated.2026:\n  - reply: a\n  - reply: b\n", TableFormat.YAML)

    problem = table.problem("rows.yaml", table.rows[1].place, "is wrong")

    assert problem.place is not None
    assert (problem.place.line, problem.place.column) == (3, 5)

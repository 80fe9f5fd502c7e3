"""Prompts as people have them: in tables, in files of every kind, with placeholders and leftovers between them."""

from pathlib import Path
from typing import Any

import pytest

from engine.core.errors import SweepError
from engine.sweep import Sweep
from tests.engine.sweep.kinds import REGISTRY
from tests.engine.sweep.sweeps import matrix, sweep_file

KIND, CURT = "You are kind.", "You are curt."
BOTH = {"kind": KIND, "curt": CURT}


def parse(folder: Path, prompts: Any) -> Sweep:
    file = sweep_file(matrix=matrix(prompts=prompts))
    return Sweep.parse(file, registry=REGISTRY, folder=folder)


def prompts_of(folder: Path, prompts: Any) -> dict[str, str]:
    """The prompts of such a sweep by name."""
    sweep = parse(folder, prompts)
    return {
        str(value.label): value.content
        for axis in sweep.matrix.axes
        if axis.axis.name == "prompts"
        for value in axis.values
    }


def refusals(folder: Path, *prompts: Any) -> list[str]:
    """What is wrong with such a sweep; each message without the path of the item."""
    with pytest.raises(SweepError) as caught:
        parse(folder, list(prompts))
    return [str(problem).removeprefix("matrix.prompts[0]: ") for problem in caught.value.problems]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.csv", b"name,text\nkind,You are kind.\ncurt,You are curt.\n"),
        # CSV UTF-8 of Excel: a mark, foreign line ends, rows and columns that were only touched.
        ("p.csv", b"\xef\xbb\xbfname,text,,\r\nkind,You are kind.,,\r\n,,,\r\n\r\ncurt,You are curt.\r\n"),
        # European Excel.
        ("p.csv", b"Name;Text\r\nkind;You are kind.\r\ncurt;You are curt.\r\n"),
        ("p.csv", b"sep=;\r\nname;text\r\nkind;You are kind.\r\ncurt;You are curt.\r\n"),
        # Unicode text of Excel.
        ("p.csv", "name\ttext\r\nkind\tYou are kind.\r\ncurt\tYou are curt.\r\n".encode("utf-16")),
        ("p.tsv", "\ufeffname\ttext\nkind\tYou are kind.\ncurt\tYou are curt.\n".encode("utf-16-be")),
        ("p.TSV", b"text\tname\nYou are kind.\tkind\nYou are curt.\tcurt"),
        ("p.csv", b'"id", "Prompt", "notes"\nkind, "You are kind.", "a, b"\ncurt, "You are curt.", ""\n'),
        ("p.jsonl", b'{"name": "kind", "text": "You are kind."}\n\n{"text": "You are curt.", "name": "curt"}\n'),
        ("p.ndjson", b'{"key": "kind", "content": "You are kind."}\n{"key": "curt", "content": "You are curt."}'),
        ("p.json", b'[{"name": "kind", "text": "You are kind."}, {"name": "curt", "text": "You are curt."}]'),
        ("p.json", b'{"prompts": [{"id": "kind", "prompt": "You are kind."}, {"id": "curt", "prompt": "You are curt."}]}'),
        ("p.yaml", b"- {name: kind, text: You are kind.}\n- {name: curt, text: You are curt.}\n"),
        ("p.yml", b"- name: kind\n  text: |\n    You are kind.\n- name: curt\n  text: |\n    You are curt.\n"),
        ("p.toml", b'[[prompts]]\nname = "kind"\ntext = "You are kind."\n[[prompts]]\nname = "curt"\ntext = "You are curt."\n'),
    ],
)  # fmt: skip
def test_a_table_is_a_prompt_for_each_of_its_rows(
    tmp_path: Path, name: str, content: bytes
) -> None:
    (tmp_path / name).write_bytes(content)

    assert prompts_of(tmp_path, [{"file": name}]) == BOTH


def test_a_table_stands_beside_other_prompts_and_alone(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("name,text\nkind,You are kind.\n")
    (tmp_path / "curt.md").write_text("You are curt.\n")

    assert prompts_of(tmp_path, [{"file": "*.*"}]) == BOTH
    assert prompts_of(tmp_path, {"file": "p.csv"}) == {"kind": KIND}


def test_columns_are_chosen_by_name(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("nr,title,de,en\n1,kind,Sei nett.,You are kind.\n")

    assert prompts_of(tmp_path, [{"file": "p.csv", "column": "EN"}]) == {"kind": KIND}
    chosen = {"file": "p.csv", "column": "de", "name_column": "nr"}
    assert prompts_of(tmp_path, [chosen]) == {"1": "Sei nett."}


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("p.csv", "text\nYou are kind.\nYou are curt.\n"),
        ("p.json", '["You are kind.", "You are curt."]'),
        ("p.jsonl", '"You are kind."\n"You are curt."\n'),
        ("p.yaml", "- You are kind.\n- You are curt.\n"),
    ],
)
def test_prompts_without_names_are_numbered_after_their_file(
    tmp_path: Path, name: str, content: str
) -> None:
    (tmp_path / name).write_text(content)

    assert prompts_of(tmp_path, [{"file": name}]) == {"p-1": KIND, "p-2": CURT}


def test_a_quoted_cell_holds_line_breaks_separators_and_quotes(tmp_path: Path) -> None:
    long = "x" * 200_000
    (tmp_path / "p.csv").write_text(
        f'name,text\na,"One, two\r\n\r\n""three"""\nb,"{long}"\n', newline=""
    )

    found = prompts_of(tmp_path, [{"file": "p.csv"}])

    assert found == {"a": 'One, two\n\n"three"', "b": long}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("p.csv", "nr,de\n1,Sei nett.\n", "no column is called text, prompt, content or the like: name the column of prompts with `column`; the columns are nr, de"),
        ("p.csv", "kind,You are kind.\ncurt,You are curt.\n", "no column is called text, prompt, content or the like: name the column of prompts with `column`; the columns are kind, You are kind."),
        ("p.csv", "text,Prompt\na,b\n", "the columns text and Prompt could be meant: name one with `column`; the columns are text, Prompt"),
        ("p.csv", "id,title,text\n1,a,b\n", "the columns id and title could be meant: name one with `name_column`; the columns are id, title, text"),
        ("p.csv", "text,text\na,b\n", "the columns text and text could be meant: name one with `column`; the columns are text, text"),
        ("p.csv", "name,text\n\n", "it has no rows"),
        ("p.csv", "\n\n", "it is empty"),
        ("p.csv", "name,text\na,One\nb,Two, three\n", "line 3: has 3 cells, the first line 2; a cell with separators or line breaks in it must stand in quotes"),
        ("p.csv", 'name,text\na,"x\ny"\nb,One\nand more\n', "line 5: has 1 cell, the first line 2; a cell with separators or line breaks in it must stand in quotes"),
        ("p.csv", 'sep=,\nname,text\na,"One\n', "line 3: a quote is opened and never closed"),
        ("p.csv", 'name,text\na,"One" two\n', "line 2: not CSV: ',' expected after '\"'"),
        ("p.csv", "name,text\na,One\0\n", "it contains NUL characters"),
        (
            "p.jsonl",
            '{"text": "a"}\n{"text": }\n',
            "line 2, column 10: not JSON: a value is missing, or is not one of JSON: text is in double quotes; true, false and null are in small letters",
        ),
        ("p.jsonl", '{"text": "a"}\n{"text": "a", "text": "b"}\n', "line 2, column 15: the key occurs twice: keep one"),
        ("p.jsonl", '{"text": "a"}\n5\n', "line 2: must be a mapping or text"),
        ("p.json", '[{"text": "\\ud800"}]', "line 1, column 11: holds characters that are not valid text"),
        ("p.json", '{"kind": "You are kind."}', "no column is called text, prompt, content or the like: name the column of prompts with `column`; the columns are kind"),
        ("p.json", "5", "must hold a list"),
        ("p.yaml", "# nothing\n", "it is empty"),
        ("p.yaml", "- text: [a\n", "line 2, column 1: not YAML: the [ of line 1 is not closed, or a comma is missing"),
        ("p.xlsx", "PK", "cannot be read; save the table as CSV in UTF-8"),
    ],
)  # fmt: skip
def test_a_table_that_cannot_be_read_is_refused_with_the_place(
    tmp_path: Path, name: str, content: str, message: str
) -> None:
    (tmp_path / name).write_text(content)

    assert refusals(tmp_path, {"file": name}) == [f"{name}: {message}"]


def test_a_table_in_an_older_encoding_is_refused_with_the_line_and_what_to_do(
    tmp_path: Path,
) -> None:
    (tmp_path / "p.csv").write_bytes("name,text\nkind,Höflich.\n".encode("cp1252"))

    assert refusals(tmp_path, {"file": "p.csv"}) == [
        "p.csv: line 2, column 7: not UTF-8 text (byte 16 of the file); save it in UTF-8"
    ]


def test_a_missing_column_is_reported_with_the_columns_that_exist(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text("a,b b,b-b,\n1,2,3,4\n".replace(",\n", ",c\n", 1))

    for key in ("column", "name_column"):
        asked = {"file": "p.csv", "column": "a", key: "d"}
        complaint = "there is no column d; the columns are a, b b, b-b, c"
        assert refusals(tmp_path, asked) == [f"p.csv: {complaint}"]
    complaint = "there is no column B_B; the columns are a, b b, b-b, c"
    assert refusals(tmp_path, {"file": "p.csv", "column": "B_B"}) == [f"p.csv: {complaint}"]


def test_every_wrong_row_is_reported_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "p.csv").write_text(
        'name,text\nkind,You are kind.\n\nkind,"You are\nkinder."\n,Nobody.\ncurt,\n'
        "other,You are kind.\nbad\x07name,x\nhm,${TONE}\n"
    )

    assert refusals(tmp_path, {"file": "p.csv"}) == [
        "p.csv: line 6: name is empty",
        "p.csv: line 7: text is empty",
        "p.csv: line 9: contains control characters (U+0007)",
        (
            "p.csv: line 10: contains the placeholder ${TONE} (line 1), which is no column of the table:"
            " add it, or add `literal: true` to send it unchanged; the columns are name, text"
        ),
        (
            "p.csv: line 4: another prompt of the name kind is at matrix.prompts[0]: p.csv: line 2;"
            " rename one"
        ),
        (
            "p.csv: line 8: other is the same as kind, which is listed already, at matrix.prompts[0]:"
            " p.csv: line 2"
        ),
    ]


def test_an_item_that_is_not_text_is_reported_with_its_place(tmp_path: Path) -> None:
    (tmp_path / "p.json").write_text(
        '[{"id": 1, "text": "a"}, {"id": 2, "text": ["b"]}, {"id": 3, "text": null}, {"id": true, "text": "c"}]'
    )

    assert refusals(tmp_path, {"file": "p.json"}) == [
        "p.json: [1]: text must be text",
        "p.json: [2]: text: this evaluation needs a system prompt",
        "p.json: [3]: id must be text",
    ]


def test_the_rows_of_a_table_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("engine.documents.tables.ROWS_MAX", 2)
    (tmp_path / "p.csv").write_text("text\na\nb\nc\n")

    assert refusals(tmp_path, {"file": "p.csv"}) == ["p.csv: line 4: more than 2 rows"]


@pytest.mark.parametrize(
    ("content", "looks"),
    [
        ("name,text\nkind,You are kind.\n", "csv"),
        ("name;prompt\nkind;You are kind.\n", "csv"),
        ('"name"\t"text"\nkind\tYou are kind.\n', "csv"),
        ('{"text": "a"}\n{"text": "b"}\n', "jsonl"),
        ('[\n  {"role": "system", "content": "a"}\n]', "json"),
        ('["a", "b"]', "json"),
    ],
)
def test_a_text_that_looks_like_a_table_is_never_one_prompt(
    tmp_path: Path, content: str, looks: str
) -> None:
    (tmp_path / "p.txt").write_text(content)

    assert refusals(tmp_path, {"file": "p.txt"}) == [
        (
            f"p.txt: looks like a table: add `format: {looks}` for a prompt of each row, or"
            " `format: text` for one prompt"
        )
    ]
    assert prompts_of(tmp_path, [{"file": "p.txt", "format": "text"}]) == {
        "p": content.rstrip("\n")
    }
    assert prompts_of(tmp_path, [{"file": "p.txt", "format": looks}])


@pytest.mark.parametrize(
    "content",
    [
        "You are kind, and text\nis what you write, always, briefly.",
        "Text, content\nand, more, commas, than, in, a, table",
        '{"persona": "kind",\n"rules": []}',
        "[Assistant rules]\n- be kind",
        "{one} of\n{two}",
        "name,text",
    ],
)
def test_prose_and_a_single_object_are_one_prompt(tmp_path: Path, content: str) -> None:
    (tmp_path / "p.txt").write_text(content)

    assert prompts_of(tmp_path, [{"file": "p.txt"}]) == {"p": content}


def test_a_file_of_data_can_be_sent_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "card.json").write_text('{"persona": "kind"}\n')
    item = {"file": "card.json", "format": "text", "name": "a card"}

    assert prompts_of(tmp_path, [item]) == {"a card": '{"persona": "kind"}'}


def test_the_prompt_of_a_file_may_have_another_name(tmp_path: Path) -> None:
    for name in ("x", "y"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "a.md").write_text(name)
    files = [{"file": "x/a.md"}, {"file": "y/a.md", "name": "b"}]

    assert prompts_of(tmp_path, files) == {"a": "x", "b": "y"}
    assert refusals(tmp_path, {"file": "*/a.md", "name": "b"}) == [
        "*/a.md: matches 2 files, which cannot share a name"
    ]


def test_a_name_that_the_file_system_has_taken_apart_is_put_together(tmp_path: Path) -> None:
    (tmp_path / "cafe\u0301.md").write_text("Eh")

    assert prompts_of(tmp_path, [{"file": "*.md"}]) == {"caf\xe9": "Eh"}


@pytest.mark.parametrize(
    ("item", "message"),
    [
        ({"file": "p.csv", "name": "x"}, "p.csv: is a table: `name` is for a file that is one prompt"),
        ({"file": "p.csv", "fill": "p.csv"}, "p.csv: is a table: `fill` is for a file that is one prompt"),
        ({"file": "a.md", "column": "x"}, "a.md: is read as one text and has no columns; set `format` if it is a table"),
        ({"file": "a.md", "name_column": "x"}, "a.md: `name_column` needs a table"),
        ({"file": "p.csv", "format": "excel"}, "matrix.prompts[0].format: must be 'text', 'csv', 'tsv', 'jsonl', 'json', 'yaml' or 'toml'"),
        ({"file": "p.csv", "colum": "x"}, "matrix.prompts[0].colum: unknown key; did you mean \"column\"?"),
        ({"file": 5}, "matrix.prompts[0].file: must be text, not 5"),
    ],
)  # fmt: skip
def test_a_key_that_does_not_fit_is_reported(
    tmp_path: Path, item: dict[str, Any], message: str
) -> None:
    (tmp_path / "p.csv").write_text("name,text\nkind,You are kind.\n")
    (tmp_path / "a.md").write_text("Eh")

    assert message in [
        found.removeprefix("matrix.prompts[0]: ") for found in refusals(tmp_path, item)
    ]


class TestPlaceholders:
    """Never sent as they stand without a word."""

    def test_in_a_text_they_are_refused_with_the_place_and_what_to_do(self, tmp_path: Path) -> None:
        (tmp_path / "a.md").write_text("Be kind.\n\nYou help {{ user_name }} in ${TONE}.")
        inline = {"name": "b", "text": "You help {{user_name}}."}

        rest = (
            ": write out what it stands for, fill it from the columns of a table (`fill: FILE.csv`),"
            " or add `literal: true` to send it unchanged"
        )
        assert refusals(tmp_path, {"file": "a.md"}) == [
            f"a.md: contains the placeholder {{{{ user_name }}}} (line 3) and 1 more{rest}"
        ]
        assert refusals(tmp_path, inline) == [
            f"contains the placeholder {{{{user_name}}}} (line 1){rest}"
        ]

    def test_they_are_sent_when_that_is_asked_for(self, tmp_path: Path) -> None:
        (tmp_path / "a.md").write_text("{{x}}")
        (tmp_path / "p.csv").write_text("name,text\nc,${x}\n")
        items = [
            {"file": "a.md", "literal": True},
            {"name": "b", "text": "{{y}}", "literal": True},
            {"file": "p.csv", "literal": True},
        ]

        assert prompts_of(tmp_path, items) == {"a": "{{x}}", "b": "{{y}}", "c": "${x}"}

    def test_single_braces_are_code_and_json(self, tmp_path: Path) -> None:
        text = 'Answer as {"reply": {"text": "..."}}; f"{name}" and {x} are code.'

        assert prompts_of(tmp_path, [{"name": "a", "text": text}]) == {"a": text}

    def test_in_a_table_they_are_filled_from_the_row(self, tmp_path: Path) -> None:
        (tmp_path / "p.csv").write_text(
            'name,User Name,tone,text\na,Sam,kind,"Help {{user_name}}, ${TONE}ly."\nb,Kim,curt,Be {{tone}}.\n'
        )

        assert prompts_of(tmp_path, [{"file": "p.csv"}]) == {
            "a": "Help Sam, kindly.",
            "b": "Be curt.",
        }

    def test_one_text_is_filled_from_each_row_of_a_table(self, tmp_path: Path) -> None:
        (tmp_path / "tones.csv").write_text("id,tone\nk,kind\nc,curt\n")
        (tmp_path / "base.md").write_text("You are {{tone}}.\n")
        (tmp_path / "numbered.jsonl").write_text('{"tone": 5}\n{"tone": 6}\n')

        assert prompts_of(tmp_path, [{"file": "base.md", "fill": "tones.csv"}]) == {
            "base-k": KIND,
            "base-c": CURT,
        }
        inline = {"name": "n", "text": "${tone}", "fill": "numbered.jsonl"}
        assert prompts_of(tmp_path, [inline]) == {"n-1": "5", "n-2": "6"}

    def test_a_row_that_cannot_fill_a_text_is_reported(self, tmp_path: Path) -> None:
        (tmp_path / "t.csv").write_text("id,tone,x\nk,,1\nc,{{x}},2\n")
        (tmp_path / "t.txt").write_text("x")

        def fill(text: str, table: str = "t.csv") -> list[str]:
            return refusals(tmp_path, {"name": "a", "text": text, "fill": table})

        assert fill("{{tone}}") == [
            "t.csv: line 2: tone is empty",
            "t.csv: line 3: tone contains the placeholder {{x}} (line 1) itself",
        ]
        assert fill("{{tune}}")[0] == (
            "t.csv: line 2: contains the placeholder {{tune}} (line 1), which is no column of the table:"
            " add it, or write it out; the columns are id, tone, x"
        )
        assert fill("Nothing.") == ["has no placeholder to fill, such as {{name}}"]
        assert fill("{{x}}", "t.txt")[0].startswith("t.txt: `fill` needs one table (csv, ")
        assert fill("{{x}}", "gone.csv") == ["gone.csv: there is no such file"]


LEFTOVERS = [
    *(".DS_Store", "._a.md", ".a.md.swp", "a.md~", "#a.md#", "a.md.swp", "a.md.bak", "~$a.md"),
    *("Thumbs.db", "desktop.ini"),
]


def test_hidden_files_and_leftovers_are_no_prompts(tmp_path: Path) -> None:
    (tmp_path / "prompts" / ".git").mkdir(parents=True)
    (tmp_path / "prompts" / "__MACOSX").mkdir()
    (tmp_path / "prompts" / ".git" / "a.md").write_text("no")
    (tmp_path / "prompts" / "__MACOSX" / "a.md").write_text("no")
    (tmp_path / "prompts" / "a.md").write_text("Eh")
    for name in LEFTOVERS:
        (tmp_path / "prompts" / name).write_text("no")

    for pattern in ("prompts/*", "**/*", "prompts/**/*.md", "*/*.md*"):
        assert prompts_of(tmp_path, [{"file": pattern}]) == {"a": "Eh"}


def test_a_hidden_file_that_is_named_is_meant(tmp_path: Path) -> None:
    (tmp_path / ".prompts").mkdir()
    (tmp_path / ".prompts" / ".a.md").write_text("Eh")
    (tmp_path / ".prompts" / "b.md").write_text("Bee")

    assert prompts_of(tmp_path, [{"file": ".prompts/*"}]) == {"b": "Bee"}
    assert prompts_of(tmp_path, [{"file": ".prompts/.a.md"}]) == {".a": "Eh"}
    assert prompts_of(tmp_path, [{"file": ".pro*/.*.md"}]) == {".a": "Eh"}

"""Sweep files are data: whatever they hold, there is a value or a named error."""

import os
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from engine.core.errors import SweepError
from engine.documents.document import JSON, TOML, YAML
from engine.documents.malformed import Malformed, line_and_column
from engine.documents.reading import FILE_BYTES_MAX, read_document
from engine.documents.yaml import to_yaml
from engine.sweep import Sweep
from tests.engine.sweep.kinds import REGISTRY

HEAD = "name: n\nservice: {kind: labs}\nevaluation: single_turn\n"


def refusal(folder: Path, name: str, content: str | bytes) -> str:
    """What loading a file of this name and content says."""
    raw = content if isinstance(content, bytes) else content.encode()
    (folder / name).write_bytes(raw)
    with pytest.raises(SweepError) as caught:
        Sweep.load(folder / name, REGISTRY)
    assert str(caught.value).startswith(f"{folder / name}:")
    [found, *_] = [
        one.message
        for one in caught.value.problems
        if not one.message.startswith(("is missing", "unknown key"))
    ]
    return found


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("0.5", 0.5),
        ("5e-1", 0.5),
        (".5", 0.5),
        ("+5.", 5.0),
        ("1e2", 100.0),
        ("12", 12),
        ("-012", -12),
        ("0o17", 15),
        ("0x1F", 31),
        ("1_000", "1_000"),
        ("22:00", "22:00"),
        ("no", "no"),
        ("on", "on"),
        ("true", True),
        ("FALSE", False),
        ("~", None),
        ("", None),
        ("'5'", "5"),
        ("! 5", "5"),
        ("!!str 5", "5"),
        ("2026-11-02", "2026-11-02"),
        ("[a, {b: c}]", ["a", {"b": "c"}]),
        ("no: 1\n1: 2", {"no": 1, "1": 2}),
        ("a: &x [1, 2]\nb: *x", {"a": [1, 2], "b": [1, 2]}),
        ("&x a: 1\n&y '2': *x\n&z 3: [*y, *z]", {"a": 1, "2": "a", "3": ["2", 3]}),
    ],
)
def test_yaml_scalars_follow_the_core_schema(text: str, value: Any) -> None:
    found = YAML.read(text)

    assert found == value
    assert type(found) is type(value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a: 1\nb: 2\na: 3\n", "line 3, column 1: the key occurs twice"),
        ("a: {b: 1, b: 2}", "line 1, column 11: the key occurs twice"),
        ("a: [1, 2\nb: 3", "line 2, column 2: not YAML: "),
        ("a: !!python/object:os.system x", "line 1, column 4: tags (!...) are not supported"),
        ("a: !thing {}", "line 1, column 4: tags (!...) are not supported"),
        ("a: *b", "line 1, column 4: an alias (*...) that is not defined"),
        ("a: -.inf", "line 1, column 4: must be a finite number"),
        ("a: &b [*b]", "line 1, column 8: an alias (*...) that contains itself"),
        ("base: &b {x: 1}\na: {<<: *b}", "line 2, column 5: merge keys (<<) are not supported"),
        ("? [a]\n: b", "line 1, column 3: a key must be text"),
        ("a: &b x\n? *b\n: c", "line 2, column 3: a key must be text, not an alias"),
        ("a: 1\n--- \nb: 2", "line 2, column 1: a second document; one is expected"),
        ("[" * 40 + "]" * 40, "line 1, column 33: nested more than 32 levels deep"),
        ("[" * 100_000, "line 1, column 33: nested more than 32 levels deep"),
        ("a: " + "9" * 5000, "line 1, column 4: the number is too large"),
        ("a: \x07", "line 1, column 4: not YAML: it contains control characters"),
        ("a: 1\nb: \x93x\x94", "line 2, column 4: not YAML: it contains control characters"),
        ("a: \ufffe", "line 1, column 4: not YAML: it contains control characters"),
    ],
)
def test_yaml_that_is_refused_is_refused_with_its_place(text: str, message: str) -> None:
    with pytest.raises(Malformed) as caught:
        YAML.read(text)

    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("[" * 100_000, "line 1, column 33: nested more than 32 levels deep"),
        ("- " * 100_000, "line 1, column 65: nested more than 32 levels deep"),
        ("a: [\n" + "{b: " * 5_000, "line 2, column 121: nested more than 32 levels deep"),
        ("[" * 40 + "\n]]}", "line 1, column 33: nested more than 32 levels deep"),
        ("[" * 20 + "\n]]}", "line 2, column 3: not YAML: "),
        ("a: '" + "[" * 100, "line 1, column 4: not YAML: a quote is opened and never closed"),
    ],
)
@pytest.mark.parametrize("loader", [yaml.CSafeLoader, yaml.SafeLoader])
def test_the_limit_on_depth_is_the_same_whatever_the_parser_refuses_first(
    monkeypatch: pytest.MonkeyPatch, loader: type, text: str, message: str
) -> None:
    monkeypatch.setattr("engine.documents.yaml._LOADER", loader)

    with pytest.raises(Malformed) as caught:
        YAML.read(text)

    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (" \n", "line 2, column 1: not JSON: the file is empty"),
        ('{"a": True}', "line 1, column 7: not JSON: a value is missing, or is not one of JSON"),
        ('{"a": 1\n"b": 2}', "line 2, column 1: not JSON: a comma is missing"),
        ('{"a" = 1}', "line 1, column 6: not JSON: a colon is missing after the key"),
        ("{a: 1}", "line 1, column 2: not JSON: a key must be in double quotes"),
        ('{}\n{"a": 1}', "line 2, column 1: not JSON: more text after the end of the value"),
        ('{"a": "b', "line 1, column 7: not JSON: a quote is opened and never closed"),
        ('{"a": "b\n}', "line 1, column 9: not JSON: a quote is opened and never closed; a line"),
        ('{"a": "b\tc"}', "line 1, column 9: not JSON: a control character in text is written"),
        (f'{{"a": "{"1" * 301}", "b": {"1" * 301}}}', "line 1, column 317: the number is too lar"),
        (f'{{"a": -{"1" * 300}}}', "line 1, column 7: the number is too large"),
    ],
)
def test_json_that_is_refused_says_where_and_what_to_do(text: str, message: str) -> None:
    with pytest.raises(Malformed) as caught:
        JSON.read(text)

    assert str(caught.value).startswith(message)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a = True", "line 1, column 5: not TOML: a value is missing, or is not one of TOML"),
        (
            'a = "C:\\Users"',
            "line 1, column 10: not TOML: backslashes in double quotes are escapes",
        ),
        ('a = "b\nc = 1', "line 1, column 7: not TOML: a quote is opened and never closed"),
        ("a = {b = 1,\n\u00e9 = 2}", "line 1, column 12: not TOML: no key: "),
        (f'a = "{"1" * 301}"\nb = -{"1" * 5000}', "line 2, column 5: the number is too large"),
        (f"a{'.a' * 40} = 1", "line 1, column 65: a key of more than 32 parts"),
        (f'a = "b"\n"a"{".a" * 40} = 1', "line 2, column 67: a key of more than 32 parts"),
    ],
)
def test_toml_that_is_refused_says_where_and_what_to_do(text: str, message: str) -> None:
    with pytest.raises(Malformed) as caught:
        TOML.read(text)

    assert str(caught.value).startswith(message)


def test_text_that_looks_like_a_long_key_of_toml_is_read_as_text() -> None:
    countdown = "".join(f"{number}. " for number in range(40))

    assert TOML.read(f'a = """\n{countdown}"""\n# {countdown}\n') == {"a": countdown}


@pytest.mark.parametrize(
    "text",
    ["a b", "-", "- a", "no", "1", "", "a: b", "it's", "a\u2028b", "a\x85b", "\x7f", "\U0001f600"],
)
def test_text_that_is_written_as_yaml_is_read_as_the_same_text(text: str) -> None:
    assert YAML.read(f"key: {to_yaml(text)}\n") == {"key": text}
    assert YAML.read(f"{{key: {to_yaml(text)}}}") == {"key": text}


def test_aliases_cannot_make_a_small_file_huge() -> None:
    bomb = "a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n" + "".join(
        f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]\n" for n in range(1, 10)
    )

    with pytest.raises(Malformed, match=r"line 6, .* more than 1,000,000 values, aliases written"):
        YAML.read(bomb)


def test_aliases_cannot_make_a_flat_file_deep(tmp_path: Path) -> None:
    ladder = "a0: &a0 [x]\n" + "".join(f"a{n}: &a{n} [*a{n - 1}]\n" for n in range(1, 50))

    assert refusal(tmp_path, "s.yaml", ladder) == "nested more than 32 levels deep"


def test_a_syntax_error_never_quotes_the_file() -> None:
    with pytest.raises(Malformed) as caught:
        YAML.read("key: sk-very-secret: [")

    assert "sk-very-secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "path", "at"),
    [
        ("a = 1\na = 2\n", "a", (2, 1)),
        ("a = 1\n# two\n  a = [\n 2]", "a", (3, 3)),
        ('"k k" = 1\n"k k" = 2', "k k", (2, 1)),
        ("[x]\nb = 1\n[x]\nc = 2", "x", (3, 2)),
        ("[[a]]\nb = 1\nb = 2", "a[0].b", (3, 1)),
        ("x = {a = 1, a = 2}", "x.a", (1, 13)),
        ("a = 1\n[a.b]\nc = 1", "a.b", (2, 2)),
        ("a = {b = 1}\na.c = 2", "a.c", (2, 1)),
    ],
)
def test_a_key_that_is_twice_in_toml_is_named_and_shown_where_it_begins(
    text: str, path: str, at: tuple[int, int]
) -> None:
    with pytest.raises(Malformed) as caught:
        TOML.read(text)

    assert caught.value.path == path
    assert caught.value.index is not None
    assert line_and_column(text, caught.value.index) == at


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("s.json", '{"a": 1, "a": 2}', "the key occurs twice: keep one"),
        ("s.json", '{"a": }', "not JSON: a value is missing, or is not one of JSON: text is in double quotes; true, false and null are in small letters"),
        ("s.json", "[" * 100_000, "nested more than 32 levels deep"),
        ("s.json", '{"a": ' + "9" * 5000 + "}", "the number is too large"),
        ("s.json", '{"a": 1e999}', "must be a finite number"),
        ("s.json", '{"a": NaN}', "must be a finite number"),
        ("s.json", '{"\\ud800": 1}', "a key holds characters that are not valid text"),
        ("s.toml", "a = 1\na = 2\n", "the key occurs twice: keep one"),
        ("s.toml", "a = " + "9" * 5000, "the number is too large"),
        ("s.toml", "a = " + "[" * 100_000, "nested more than 32 levels deep"),
        ("s.toml", "a = inf", "must be a finite number"),
        ("s.yaml", "", "is empty; it needs name, service, evaluation, matrix"),
        ("s.yaml", "# nothing\n", "is empty; it needs name, service, evaluation, matrix"),
        ("s.yaml", b"name: \xff\xfe", "not UTF-8 text (byte 6 of the file); save it in UTF-8"),
        ("s.yaml", b" " * (FILE_BYTES_MAX + 1), "larger than 8 MiB"),
        ("s.yml", "- a", "must be a mapping; it needs name, service, evaluation, matrix"),
        ("s.yamll", "a: 1", "the format of .yamll is unknown; did you mean \".yaml\"?"),
        ("sweep", "a: 1", "the format of a file without suffix is unknown; known: .json, .toml, .yaml, .yml"),
    ],
)  # fmt: skip
def test_a_file_that_is_refused_says_why(
    tmp_path: Path, name: str, content: str | bytes, message: str
) -> None:
    assert refusal(tmp_path, name, content) == message


def test_a_file_that_is_not_there_says_so(tmp_path: Path) -> None:
    with pytest.raises(SweepError, match=r"night\.yaml: there is no such file"):
        Sweep.load(tmp_path / "night.yaml", REGISTRY)


def test_a_folder_is_no_sweep(tmp_path: Path) -> None:
    (tmp_path / "night.yaml").mkdir()

    with pytest.raises(SweepError, match="it is not a file"):
        Sweep.load(tmp_path / "night.yaml", REGISTRY)


def test_a_name_that_no_file_can_have_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SweepError, match="cannot be read"):
        Sweep.load(tmp_path / ("x" * 5000 + ".yaml"), REGISTRY)


def test_a_byte_order_mark_and_foreign_line_ends_change_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_bytes(b"\xef\xbb\xbfa: 1\r\nb: |\r\n  x\r\n  y\r\n")

    assert read_document(tmp_path / "a.yaml").value == {"a": 1, "b": "x\ny\n"}


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_text_in_another_encoding_is_located_behind_a_byte_order_mark(
    tmp_path: Path, mark: bytes
) -> None:
    (tmp_path / "a.yaml").write_bytes(mark + "a: é\nb: éé".encode() + b"\xff")

    with pytest.raises(Malformed) as caught:
        read_document(tmp_path / "a.yaml")

    byte = len(mark) + 13
    assert str(caught.value) == (
        f"line 2, column 6: not UTF-8 text (byte {byte} of the file); save it in UTF-8"
    )


def test_a_date_in_toml_is_read_as_text_is(tmp_path: Path) -> None:
    body = '[service]\nkind = "labs"\n[matrix]\nmodels = ["m"]\ngroups = ["g"]\nthresholds = [1]\n'
    prompts = 'prompts = [{name = "p", text = ""}]\n'
    limits = "[limits]\ndeadline = 2026-11-02T07:00:00+01:00\n"
    (tmp_path / "s.toml").write_text(
        'name = "n"\nevaluation = "single_turn"\n' + body + prompts + limits
    )

    sweep = Sweep.load(tmp_path / "s.toml", REGISTRY)

    assert sweep.limits.deadline == datetime.fromisoformat("2026-11-02T07:00:00+01:00").timestamp()


class TestFiles:
    """The prompts and documents that a sweep names."""

    def sweep(self, folder: Path, prompts: str) -> Sweep:
        (folder / "s.yaml").write_text(
            HEAD + f"matrix: {{models: [m], groups: [g], thresholds: [0.5], prompts: {prompts}}}\n"
        )
        return Sweep.load(folder / "s.yaml", REGISTRY)

    def refusals(self, folder: Path, prompts: str) -> list[str]:
        with pytest.raises(SweepError) as caught:
            self.sweep(folder, prompts)
        assert all(found.path.startswith("matrix.prompts[") for found in caught.value.problems)
        return [str(found).partition("]: ")[2] for found in caught.value.problems]

    def test_prompts_are_named_after_their_files(self, tmp_path: Path) -> None:
        (tmp_path / "prompts" / "more").mkdir(parents=True)
        (tmp_path / "prompts" / "b.md").write_bytes(b"Bee\r\n\r\nsecond\n")
        (tmp_path / "prompts" / "a.md").write_text("Eh")
        (tmp_path / "prompts" / "more" / "c.md").write_text("See")
        (tmp_path / "prompts" / "more" / "not.txt").write_text("no")

        sweep = self.sweep(tmp_path, "[{file: prompts/**/*.md}]")

        documents = sweep.documents()
        assert [
            (job.labels["prompt"], documents[job.documents["prompt"]]) for job in sweep.jobs()
        ] == [("a", "Eh"), ("b", "Bee\n\nsecond"), ("c", "See")]

    def test_a_relative_folder_will_do(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "a.md").write_text("Eh")
        self.sweep(tmp_path, "[{file: a.md}]")
        monkeypatch.chdir(tmp_path)

        sweep = Sweep.load("s.yaml", REGISTRY)

        assert list(sweep.documents().values()) == ["Eh"]

    @pytest.mark.parametrize(
        "pattern",
        [
            "../secret.md",
            "prompts/../../secret.md",
            "/etc/passwd",
            "~/x.md",
            "C:/x.md",
            "''",
            "a\\b",
        ],
    )
    def test_a_path_out_of_the_folder_is_refused(self, tmp_path: Path, pattern: str) -> None:
        (tmp_path / "secret.md").write_text("sk")
        (tmp_path / "inner" / "prompts").mkdir(parents=True)

        found = self.refusals(tmp_path / "inner", f"[{{file: {pattern}}}]")

        assert len(found) == 1
        assert "must be a path inside the folder of the sweep file" in found[0]

    @pytest.mark.parametrize("pattern", ["link.md", "*.md", "linked/*.md", "round.md"])
    def test_a_link_out_of_the_folder_is_refused(self, tmp_path: Path, pattern: str) -> None:
        inner = tmp_path / "inner"
        inner.mkdir()
        (tmp_path / "secret.md").write_text("sk")
        (inner / "link.md").symlink_to(tmp_path / "secret.md")
        (inner / "linked").symlink_to(tmp_path)
        (inner / "round.md").symlink_to(inner / "round.md")

        found = self.refusals(inner, f"[{{file: '{pattern}'}}]")

        assert any("leads out of the folder of the sweep file" in message for message in found)
        assert not any("sk" in message for message in found)

    def test_a_link_inside_the_folder_is_followed(self, tmp_path: Path) -> None:
        (tmp_path / "a.md").write_text("Eh")
        (tmp_path / "b.md").symlink_to(tmp_path / "a.md")

        sweep = self.sweep(tmp_path, "[{file: b.md}]")

        assert [job.labels["prompt"] for job in sweep.jobs()] == ["b"]

    def test_what_is_wrong_with_a_file_names_it(self, tmp_path: Path) -> None:
        (tmp_path / "x").mkdir()
        (tmp_path / "empty.md").write_text("\n")
        (tmp_path / "bytes.md").write_bytes(b"\xff")
        (tmp_path / "nul.md").write_text("a\0b")
        (tmp_path / "large.md").write_bytes(b" " * (FILE_BYTES_MAX + 1))
        names = ["gone.md", "no/*.md", "x", "empty.md", "bytes.md", "nul.md", "large.md", "[.md"]

        found = self.refusals(tmp_path, str([{"file": name} for name in names]))

        assert found == [
            "gone.md: there is no such file",
            "no/*.md: matches no file",
            "x: it is not a file",
            "empty.md: it is empty",
            "bytes.md: line 1, column 1: not UTF-8 text (byte 0 of the file); save it in UTF-8",
            "nul.md: it contains NUL characters",
            "large.md: larger than 8 MiB",
            "[.md: matches no file",
        ]

    def test_two_files_of_one_name_have_to_be_renamed(self, tmp_path: Path) -> None:
        for folder in ("x", "y"):
            (tmp_path / folder).mkdir()
            (tmp_path / folder / "a.md").write_text(folder)

        found = self.refusals(tmp_path, "[{file: '*/a.md'}]")

        assert found == [
            "y/a.md: another prompt of the name a is at matrix.prompts[0]: x/a.md; rename one"
        ]

    def test_a_pipe_is_no_file(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe.md")

        assert self.refusals(tmp_path, "[{file: pipe.md}]") == ["pipe.md: it is not a file"]

    def test_documents_are_read_from_files_of_every_format(self, tmp_path: Path) -> None:
        (tmp_path / "a.yaml").write_text("model: a")
        (tmp_path / "b.toml").write_text('model = "b"')
        (tmp_path / "c.json").write_text('{"model": "c", "temperature": 1}')
        (tmp_path / "s.yaml").write_text(
            "name: n\nservice: {kind: labs}\nevaluation: pinging\n"
            "matrix: {models: [{file: a.yaml}, {file: '[bc].*'}]}\n"
        )

        sweep = Sweep.load(tmp_path / "s.yaml", REGISTRY)

        assert [job.lane for job in sweep.jobs()] == ["a", "b", "c"]

    def test_what_is_wrong_with_a_document_names_it(self, tmp_path: Path) -> None:
        (tmp_path / "list.yaml").write_text("[a]")
        (tmp_path / "bad.yaml").write_text("{a")
        (tmp_path / "inf.yaml").write_text("{model: a, temperature: .inf}")
        names = ["list.yaml", "bad.yaml", "inf.yaml", "x.yaml", "../x.yaml"]

        with pytest.raises(SweepError) as caught:
            Sweep.parse(
                {
                    "name": "n",
                    "service": {"kind": "labs"},
                    "evaluation": "pinging",
                    "matrix": {"models": [{"file": name} for name in names]},
                },
                registry=REGISTRY,
                folder=tmp_path,
            )

        found = [str(problem) for problem in caught.value.problems]
        assert found[0] == "matrix.models[0]: list.yaml: must hold a mapping"
        assert found[1].startswith("matrix.models[1]: bad.yaml: line 1, column 3: not YAML")
        assert found[2] == "matrix.models[2]: inf.yaml: line 1, column 25: must be a finite number"
        assert found[3] == "matrix.models[3]: x.yaml: there is no such file"
        assert found[4].startswith("matrix.models[4]: ../x.yaml: must be a path inside")

"""Every kind of file that people write follows the same rules, and tells a mistake by its place.

The rules are on docs/reference/files.md. A kind says how its file is loaded, and has a valid content
with one value each that must be true or false, a number, and text.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import NoneType
from typing import Any

import pytest

from engine.core.errors import Problem, SweepError
from engine.documents.document import JSON, TOML, YAML
from engine.documents.malformed import Malformed
from engine.documents.reading import FILE_BYTES_MAX
from engine.sweep import Sweep
from jobs.evaluator.calibration import judge_notices
from jobs.evaluator.groups import CaseSet
from jobs.evaluator.ratings import read_ratings
from jobs.serve.config import read_config
from tests.engine.sweep.kinds import REGISTRY
from tests.jobs.evaluator.test_groups import ONE
from tests.paths import ROOT

BOOLEAN, NUMBER, TEXT = "@boolean", "@number", "@text"
ALL = "yaml toml json"
TEXTS = (
    ("on", "yaml"),
    ("22:30", "yaml"),
    ("22:30:00", "yaml toml"),
    ("2026-11-02", "yaml toml"),
    ("1_0", "yaml"),
    ('"0.5"', ALL),
    ('"true"', ALL),
)
"""Ways to write text that looks like something else, and the formats in which they are text."""
DEFAULTS = {BOOLEAN: "true", NUMBER: "0.5", TEXT: '"some text"'}


@dataclass(frozen=True)
class Kind:
    load: Callable[[Path], object]
    content: Mapping[str, Any]
    stem: str
    formats: tuple[str, ...] = ("yaml", "toml", "json")


def load_group(path: Path) -> object:
    return CaseSet(str(path.parent)).group(path.stem)


ENDPOINT = {"base_url": "http://127.0.0.1:1/v1", "use_proxy": BOOLEAN, "timeout_s": NUMBER}
KINDS = {
    "sweep": Kind(
        lambda path: Sweep.load(path, REGISTRY),
        {
            "name": TEXT,
            "reuse": BOOLEAN,
            "max_unanswered": NUMBER,
            "service": {"kind": "labs"},
            "evaluation": "single_turn",
            "target": "system_prompt",
            "matrix": {
                "models": ["m"],
                "prompts": [{"name": "p", "text": "Help."}],
                "groups": ["mania"],
                "thresholds": [0.5],
            },
        },
        "night",
    ),
    "serve.yaml": Kind(
        read_config,
        {
            "models": {"m": {}},
            "ledger": TEXT,
            "listen": {"allow_remote": BOOLEAN},
            "limits": {"max_unanswered": NUMBER},
        },
        "serve",
    ),
    "judge": Kind(
        lambda path: judge_notices(str(path)),
        {"kind": "rubric", "model": TEXT, "endpoint": ENDPOINT},
        "judge",
    ),
    "group": Kind(
        load_group,
        {
            **ONE,
            "description": TEXT,
            "cases": [{**ONE["cases"][0], "literal": BOOLEAN}],
        },
        "mine",
        ("yaml",),
    ),
}
EVERY = [(name, form) for name, kind in KINDS.items() for form in kind.formats]
every_kind = pytest.mark.parametrize(("name", "form"), EVERY)
every_yaml = pytest.mark.parametrize("name", KINDS)


def in_every_kind(
    placeholder: str, *raws: tuple[str, str] | tuple[str, str, str]
) -> pytest.MarkDecorator:
    """Each way to write a value, in each kind of file that has such a value, and is of one of its formats."""
    rows = [
        (name, form, *(raw, *problem))
        for name, form in EVERY
        for raw, formats, *problem in raws
        if form in formats.split() and f'"{placeholder}"' in json.dumps(KINDS[name].content)
    ]
    arguments = ["name", "form", "raw", "problem"][: len(rows[0])]
    return pytest.mark.parametrize(arguments, rows)


def as_toml(value: Any) -> str:
    if isinstance(value, Mapping):
        return "{" + ", ".join(f'"{key}" = {as_toml(one)}' for key, one in value.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(as_toml, value)) + "]"
    return json.dumps(value)


def text_of(content: Mapping[str, Any], form: str, **raw: str) -> str:
    """The content as a file has it, with each placeholder replaced by what is written there.

    YAML is written in the style of JSON, which is YAML, too.
    """
    if form == "toml":
        text = "".join(f"{key} = {as_toml(value)}\n" for key, value in content.items())
    else:
        text = json.dumps(content, indent=1)
    for placeholder, default in DEFAULTS.items():
        text = text.replace(f'"{placeholder}"', raw.get(placeholder[1:], default))
    return text


def write(folder: Path, name: str, form: str, content: str | bytes) -> Path:
    path = folder / f"{KINDS[name].stem}.{form}"
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def mistakes(folder: Path, name: str, form: str, content: str | bytes) -> tuple[Problem, ...]:
    path = write(folder, name, form, content)
    with pytest.raises(SweepError) as caught:
        KINDS[name].load(path)
    assert caught.value.source == str(path)
    return caught.value.problems


def first_mistake(folder: Path, name: str, form: str, content: str) -> tuple[str, str]:
    """The first reported mistake, and the text from its place on."""
    first = mistakes(folder, name, form, content)[0]
    assert first.place is not None, first
    line = content.split("\n")[first.place.line - 1]
    return first.message, line[first.place.column - 1 :]


@in_every_kind(BOOLEAN, ("true", ALL), ("false", ALL))
def test_true_and_false_are_read(tmp_path: Path, name: str, form: str, raw: str) -> None:
    KINDS[name].load(write(tmp_path, name, form, text_of(KINDS[name].content, form, boolean=raw)))


@in_every_kind(BOOLEAN, *TEXTS, ("yes", "yaml"), ("1", ALL), ("null", "yaml json"))
def test_nothing_but_true_and_false_is_one(tmp_path: Path, name: str, form: str, raw: str) -> None:
    content = text_of(KINDS[name].content, form, boolean=raw)

    message, where = first_mistake(tmp_path, name, form, content)

    assert message.startswith("must be true or false, ")
    assert where.startswith(raw)


@in_every_kind(
    NUMBER, ("0.5", ALL), ("5e-1", ALL), ("1", ALL), (".5", "yaml"), ("001", "yaml"), ("+1", "yaml")
)
def test_a_number_is_read_however_it_is_written(
    tmp_path: Path, name: str, form: str, raw: str
) -> None:
    KINDS[name].load(write(tmp_path, name, form, text_of(KINDS[name].content, form, number=raw)))


@in_every_kind(NUMBER, *TEXTS, ("true", ALL))
def test_text_that_looks_like_a_number_is_none(
    tmp_path: Path, name: str, form: str, raw: str
) -> None:
    content = text_of(KINDS[name].content, form, number=raw)

    message, where = first_mistake(tmp_path, name, form, content)

    assert message.startswith("must be a number, not ")
    assert where.startswith(raw)


@in_every_kind(
    NUMBER,
    ("-017", "yaml", "-17 is "),
    ("017", "toml", "not TOML: "),
    ("017", "json", "not JSON: a comma is missing"),
    (".inf", "yaml", "must be a finite number"),
    ("inf", "toml", "must be a finite number"),
    ("1e999", ALL, "must be a finite number"),
    ("NaN", "json", "must be a finite number"),
    ("9" * 20, ALL, "the number is too large"),
    ("9" * 5000, ALL, "the number is too large"),
)
def test_a_value_that_is_not_a_number_is_reported_at_its_place(
    tmp_path: Path, name: str, form: str, raw: str, problem: str
) -> None:
    content = text_of(KINDS[name].content, form, number=raw)

    message, where = first_mistake(tmp_path, name, form, content)

    assert problem in message
    assert where.startswith((raw, raw[1:]))


@in_every_kind(TEXT, ("5e-1", ALL), ("true", ALL), ("017", "yaml"))
def test_a_number_or_truth_value_is_no_text(tmp_path: Path, name: str, form: str, raw: str) -> None:
    content = text_of(KINDS[name].content, form, text=raw)

    message, where = first_mistake(tmp_path, name, form, content)

    assert message.startswith("must be text, not ")
    assert where.startswith(raw)


@in_every_kind(TEXT, *TEXTS)
def test_words_times_and_dates_are_text(tmp_path: Path, name: str, form: str, raw: str) -> None:
    KINDS[name].load(write(tmp_path, name, form, text_of(KINDS[name].content, form, text=raw)))


@every_kind
def test_a_duplicate_key_is_reported_at_the_second(tmp_path: Path, name: str, form: str) -> None:
    text = text_of(KINDS[name].content, form)
    key = next(iter(KINDS[name].content))
    again = f"{key} = 1\n" if form == "toml" else f',"{key}": 1}}'
    content = text + again if form == "toml" else text.rstrip("}") + again

    found = mistakes(tmp_path, name, form, content)

    [twice] = [one for one in found if one.message == "the key occurs twice: keep one"]
    assert twice.path == key
    assert twice.place is not None
    assert twice.place.line == content.rstrip("\n").count("\n") + 1


@every_yaml
@pytest.mark.parametrize(
    ("content", "problem", "where"),
    [
        ("a: &b [1, 2]\nc: *d\n", "an alias (*...) that is not defined", "*d"),
        ("a: &b {x: 1}\nc: {<<: *b}\n", "merge keys (<<) are not supported", "<<"),
        ("a: !!python/object:os.system x\n", "tags (!...) are not supported", "!!"),
        ("a: 1\n--- \nb: 2\n", "a second document; one is expected", "---"),
        ("a:\n\tb: 1\n", "not YAML: a tab: YAML is indented with spaces", "\t"),
        ("a: [1\n", "not YAML: the [ of line 1 is not closed", ""),
    ],
)
def test_yaml_that_is_refused_is_reported_with_its_place(
    tmp_path: Path, name: str, content: str, problem: str, where: str
) -> None:
    message, found = first_mistake(tmp_path, name, "yaml", content)

    assert message.startswith(problem)
    assert found.startswith(where)


@every_yaml
def test_aliases_that_make_a_small_file_huge_are_refused(tmp_path: Path, name: str) -> None:
    bomb = "a0: &a0 [1, 1, 1, 1, 1, 1, 1, 1, 1, 1]\n" + "".join(
        f"a{n + 1}: &a{n + 1} [{', '.join([f'*a{n}'] * 10)}]\n" for n in range(8)
    )

    message, _ = first_mistake(tmp_path, name, "yaml", bomb)

    assert message == "more than 1,000,000 values, aliases written out"


@every_kind
@pytest.mark.parametrize("levels", [33, 50_000])
def test_too_deep_nesting_is_reported_at_the_first_level_that_is_too_deep(
    tmp_path: Path, name: str, form: str, levels: int
) -> None:
    before = {"yaml": "a: ", "json": '{"a": ', "toml": "a = "}[form]
    after = "}" if form == "json" else "\n"

    content = f"{before}{'[' * levels}{']' * levels}{after}"
    [problem] = mistakes(tmp_path, name, form, content)

    assert problem.message == "nested more than 32 levels deep"
    assert problem.place is not None
    assert (problem.place.line, problem.place.column) == (1, len(before) + 32)


@every_kind
@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_a_byte_order_mark_is_understood(
    tmp_path: Path, name: str, form: str, encoding: str
) -> None:
    content = text_of(KINDS[name].content, form).replace("\n", "\r\n")

    KINDS[name].load(write(tmp_path, name, form, content.encode(encoding)))


@every_kind
def test_text_in_another_encoding_is_reported_where_it_begins(
    tmp_path: Path, name: str, form: str
) -> None:
    content = text_of(KINDS[name].content, form, text='"caf\u00e9"')

    [problem] = mistakes(tmp_path, name, form, content.encode("latin-1"))

    assert "not UTF-8 text (byte " in problem.message
    assert "save it in UTF-8" in problem.message
    assert problem.place is not None
    line = content.split("\n")[problem.place.line - 1]
    assert line[problem.place.column - 1] == "\u00e9"


@every_kind
def test_a_file_that_is_too_large_is_reported(tmp_path: Path, name: str, form: str) -> None:
    [problem] = mistakes(tmp_path, name, form, b" " * (FILE_BYTES_MAX + 1))

    assert problem.message == "larger than 8 MiB"


@every_yaml
@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "is empty; it needs "),
        ("# later\n", "is empty; "),
        ("[]", "must be a mapping; it needs "),
    ],
)
def test_a_file_without_keys_is_reported_with_the_keys_that_it_needs(
    tmp_path: Path, name: str, content: str, problem: str
) -> None:
    [found] = mistakes(tmp_path, name, "yaml", content)

    assert found.message.startswith(problem)


SCORES = {
    "csv": "case,reply,score\nself_harm-01,Hi.,@number\n",
    "jsonl": '\n{"case": "self_harm-01", "reply": "Hi.", "score": @number}\n',
    "json": '[\n{"case": "self_harm-01", "reply": "Hi.", "score": @number}]',
    "yaml": "rated:\n- {case: self_harm-01, reply: Hi., score: @number}\n",
    "toml": '\n[[rated]]\ncase = "self_harm-01"\nreply = "Hi."\nscore = @number\n',
}


@pytest.mark.parametrize("form", SCORES)
@pytest.mark.parametrize("raw", ["0.5", "5e-1"])
def test_a_score_is_read_alike_in_every_table(tmp_path: Path, form: str, raw: str) -> None:
    path = tmp_path / f"ratings.{form}"
    path.write_text(SCORES[form].replace(NUMBER, raw))

    [rated] = read_ratings(path, CaseSet())

    assert rated.scores == (0.5,)


@pytest.mark.parametrize("form", SCORES)
@pytest.mark.parametrize("raw", ["on", "22:30", "2026-11-02", "017", "0_1", "true", "1.5"])
def test_what_is_no_score_is_refused_in_every_table_with_its_line(
    tmp_path: Path, form: str, raw: str
) -> None:
    path = tmp_path / f"ratings.{form}"
    written = f'"{raw}"' if form in ("json", "jsonl", "toml") else raw
    path.write_text(SCORES[form].replace(NUMBER, written))

    with pytest.raises(SweepError) as caught:
        read_ratings(path, CaseSet())

    [problem] = caught.value.problems
    assert "is not a number from 0 to 1" in problem.message
    assert problem.place is not None
    assert (problem.place.file, problem.place.line) == (str(path), 2)


MEANINGS = {"text": str, "number": int | float, "true or false": bool, "nothing": NoneType}
PAGE = (ROOT / "docs/reference/files.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("row", re.findall(r"(?m)^\| `(.*)` \| (.*) \|$", PAGE))
def test_the_page_on_files_tells_what_each_value_means(row: tuple[str, str]) -> None:
    raw, meanings = row

    for form, before, expected in zip(
        (YAML, TOML, JSON), ("a: ", "a = ", '{"a": '), meanings.split(" | "), strict=True
    ):
        text = before + raw + ("}" if form is JSON else "")
        if expected == "refused":
            with pytest.raises(Malformed):
                form.read(text)
            continue
        value = form.read(text)["a"]
        assert isinstance(value, MEANINGS[expected]), (raw, value)
        assert not (expected == "number" and isinstance(value, bool))


def test_a_whole_number_with_a_zero_in_front_is_decimal() -> None:
    assert YAML.read("[017, 0o17]") == [17, 15]

"""Sweep files are data: whatever is in them, and wherever they point, it is a named error, and soon."""

import json
import os
import resource
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from engine import Sweep
from engine.cli import main
from engine.core.errors import SweepError
from engine.kinds import UsageError, resolve_secret
from tests.paths import ROOT

GIB = 1024 * 1024 * 1024
NUMBERS = ("9" * 5000, "-" + "9" * 5000, "1e400", "-1e400", "0x" + "f" * 300, "1" * 400)
TOO_LONG = "n" * 300
LITERAL_KEY = "sk-live-3f9a1c77e2"


def valid(**changes: Any) -> dict[str, Any]:
    sweep: dict[str, Any] = {
        "name": "night",
        "service": {
            "kind": "circuit-breaker-labs",
            "base_url": "http://127.0.0.1:9",
            "api_key": "env:FAULTS_KEY",
        },
        "evaluation": "single_turn",
        "matrix": {
            "models": ["acme/one"],
            "prompts": [{"name": "bare", "text": "Help."}],
            "groups": ["self_harm"],
            "thresholds": [0.5],
        },
    }
    return {**sweep, **changes}


def flatten(folder: Path) -> None:
    """Take all but the first folder out of a chain of folders, each in the one before it."""
    name, beside = folder.name, folder.with_name("beside")
    while (folder / name / name).exists():
        (folder / name / name).rename(beside)
        (folder / name).rmdir()
        beside.rename(folder / name)


def with_prompts(pattern: str) -> dict[str, Any]:
    return valid(matrix={**valid()["matrix"], "prompts": [{"file": pattern}]})


def refusal(path: Path) -> str:
    with pytest.raises(SweepError) as caught:
        Sweep.load(path)
    return str(caught.value)


def written(folder: Path, sweep: Any, name: str = "sweep.json") -> Path:
    path = folder / name
    path.write_text(json.dumps(sweep))
    return path


class TestText:
    """What stands in the file itself."""

    @pytest.mark.parametrize("number", NUMBERS)
    @pytest.mark.parametrize("form", ["json", "yaml", "toml"])
    def test_a_number_without_measure_is_refused(
        self, tmp_path: Path, number: str, form: str
    ) -> None:
        before = {"json": '{"retry": {"attempts": %s}}', "yaml": "retry: {attempts: %s}"}
        text = before.get(form, "[retry]\nattempts = %s") % number
        path = tmp_path / f"sweep.{form}"
        path.write_text(text)

        assert refusal(path).startswith(f"{path}:")

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("s.json", '{"a":' * 50_000),
            ("s.yaml", "{a: " * 50_000),
            ("s.yaml", "- " * 50_000),
            ("s.yaml", "".join(" " * depth + "a:\n" for depth in range(200))),
            ("s.toml", "a = " + "{a = " * 50_000),
            ("s.toml", "a." * 500_000 + "a = 1"),
            ("s.toml", "x = {b = 1, " + "'a'." * 500_000 + "a = 1}"),
            ("s.toml", "[[" + '"a" . ' * 500_000 + "a]]"),
        ],
        ids=lambda part: part[:12],
    )
    def test_nesting_without_end_is_refused_before_it_is_followed(
        self, tmp_path: Path, name: str, text: str
    ) -> None:
        (tmp_path / name).write_text(text)

        problem = refusal(tmp_path / name)

        assert "nested" in problem or "32 parts" in problem

    @pytest.mark.parametrize(
        "tag",
        [
            "!!python/object/apply:os.system ['true']",
            "!!python/name:os.system",
            "!!python/object/new:type [x, [], {}]",
            "!!binary aGVsbG8=",
            "!!set {a}",
            "!include /etc/passwd",
            "!ENV ${HOME}",
        ],
    )
    def test_no_tag_is_obeyed(self, tmp_path: Path, tag: str) -> None:
        (tmp_path / "s.yaml").write_text(f"name: {tag}\n")

        assert "tags (!...) are not supported" in refusal(tmp_path / "s.yaml")

    @pytest.mark.parametrize("encoding", ["utf-16", "utf-16-le", "utf-16-be", "utf-32"])
    @pytest.mark.parametrize("form", ["json", "yaml", "toml"])
    def test_other_encodings_are_distinguished_from_text(
        self, tmp_path: Path, encoding: str, form: str
    ) -> None:
        path = tmp_path / f"s.{form}"
        path.write_bytes('{"name": "a"}'.encode(encoding))

        assert refusal(path).startswith(f"{path}:")

    @pytest.mark.parametrize("text", ['"a\\ud800"', '"\\udc00\\ud800"', '"a\\u0000b"'])
    @pytest.mark.parametrize("form", ["json", "yaml"])
    def test_what_no_text_can_hold_is_refused_everywhere(
        self, tmp_path: Path, text: str, form: str
    ) -> None:
        path = tmp_path / f"s.{form}"
        prompts = f'[{{"name": "p", "text": {text}}}]'
        path.write_text(f'{{"name": {text}, "matrix": {{"prompts": {prompts}}}, {text}: 1}}')

        assert refusal(path).startswith(f"{path}:")

    def test_a_key_writes_no_lines_of_its_own(self, tmp_path: Path) -> None:
        path = written(tmp_path, valid(**{"a\nnightsweep: all is well\u2028b": 1}))

        assert len(refusal(path).splitlines()) == 1

    def test_many_mistakes_are_reported_in_a_few_lines(self, tmp_path: Path) -> None:
        models = ["acme/one", *range(50_000)]
        path = written(tmp_path, valid(matrix={**valid()["matrix"], "models": models}))

        lines = refusal(path).splitlines()

        assert len([line for line in lines if line.startswith(f"{path}:")]) == 20
        assert lines[-1] == f"and 49,980 more: {path} has 50,000 mistakes"

    @pytest.mark.parametrize(
        "exclude",
        [
            [{"models": f"*{number}*"} for number in range(9_000)],
            [{"models": [f"*{number}*" for number in range(200_000)]}],
            [{"models": f"no/{number}"} for number in range(9_000)],
            [{"models": "*a" * 140 + "b"}] * 9_000,
        ],
        ids=["rules", "patterns", "unknown", "stars"],
    )
    def test_rules_and_names_are_not_multiplied_for_hours(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, exclude: list[dict[str, Any]]
    ) -> None:
        monkeypatch.setattr("engine.sweep.rules.COMPARISONS_MAX", 500_000)
        models = [f"acme/{number}" for number in range(50_000)]
        sweep = valid(matrix={**valid()["matrix"], "models": models}, exclude=exclude)

        problem = refusal(written(tmp_path, sweep))

        assert "more patterns than can be compared" in problem or "is none of models" in problem


class TestFiles:
    """What the file points to."""

    def test_links_that_go_round_are_not_followed_for_ever(self, tmp_path: Path) -> None:
        for name in ("a", "b", "c"):
            (tmp_path / name).symlink_to(tmp_path)
        (tmp_path / "prompt.md").write_text("Help.")

        lost = refusal(written(tmp_path, with_prompts("*/" * 60 + "*.md")))
        found = Sweep.load(written(tmp_path, with_prompts("**/*.md")))

        assert "matches no file" in lost
        assert found.plan().cells == 1

    def test_a_tree_deeper_than_the_stack_is_searched(self, tmp_path: Path) -> None:
        here = os.open(tmp_path, os.O_RDONLY)
        try:
            for _ in range(1_500):
                os.mkdir("d", dir_fd=here)
                deeper = os.open("d", os.O_RDONLY, dir_fd=here)
                os.close(here)
                here = deeper
        finally:
            os.close(here)
        (tmp_path / "prompt.md").write_text("Help.")

        try:
            sweep = Sweep.load(written(tmp_path, with_prompts("**/*.md")))
        finally:
            # Deeper than shutil.rmtree can go: a later session of pytest would fail over it.
            flatten(tmp_path / "d")

        assert sweep.plan().cells == 1

    def test_a_search_without_end_is_given_up(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("engine.sweep.files._ENTRIES_MAX", 50)
        for number in range(60):
            (tmp_path / f"{number}.txt").touch()

        problem = refusal(written(tmp_path, with_prompts("**/*.md")))

        assert "more than 50 files would have to be examined" in problem

    def test_pipes_devices_and_folders_are_no_prompts(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe.md")
        (tmp_path / "folder.md").mkdir()
        (tmp_path / "zero.md").symlink_to("/dev/zero")

        assert "matches no file" in refusal(written(tmp_path, with_prompts("[pf]*.md")))
        assert "is not a file" in refusal(written(tmp_path, with_prompts("pipe.md")))
        assert "leads out of" in refusal(written(tmp_path, with_prompts("zero.md")))

    def test_what_the_files_hold_together_is_bounded(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("engine.sweep.files._BYTES_MAX", 1024 * 1024)
        for number in range(5):
            (tmp_path / f"{number}.md").write_text(f"{number}" * 300_000)

        problem = refusal(written(tmp_path, with_prompts("*.md")))

        assert "hold more than 1 MiB together" in problem

    def test_a_file_without_end_is_not_read(self, tmp_path: Path) -> None:
        with (tmp_path / "endless.md").open("wb") as file:
            file.truncate(2**40)

        assert "64 MiB" in refusal(written(tmp_path, with_prompts("endless.md")))

    def test_a_file_that_is_named_again_and_again_is_not_read_for_ever(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("engine.sweep.files._BYTES_MAX", 1024 * 1024)
        (tmp_path / "prompt.md").write_text("Help.")
        prompts = [{"file": "*.md"}] * 2_000
        sweep = valid(matrix={**valid()["matrix"], "prompts": prompts})

        with pytest.raises(SweepError) as caught:
            Sweep.load(written(tmp_path, sweep))

        [mistakes] = [one for one in caught.value.problems if one.path == "matrix.prompts[256]"]
        assert mistakes.message.startswith("the files of the sweep hold more than")

    def test_a_sweep_that_is_no_file_is_refused_at_once(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe.yaml")
        (tmp_path / "zero.yaml").symlink_to("/dev/zero")
        (tmp_path / "round.yaml").symlink_to(tmp_path / "round.yaml")

        for name in ("pipe.yaml", "zero.yaml", "round.yaml"):
            assert refusal(tmp_path / name).startswith(f"{tmp_path / name}: ")


class TestKeys:
    """What a reference to a key may be."""

    @pytest.mark.parametrize(
        "reference",
        [
            LITERAL_KEY,
            f"env:{LITERAL_KEY}",
            f"ENV:{LITERAL_KEY}",
            f"env: {LITERAL_KEY}",
            f"file:\n{LITERAL_KEY}",
            f"keyring:{LITERAL_KEY}",
            "env:",
            "file:",
        ],
    )
    def test_what_is_no_reference_is_refused_and_never_repeated(
        self, tmp_path: Path, reference: str
    ) -> None:
        service = {**valid()["service"], "api_key": reference}

        problem = refusal(written(tmp_path, valid(service=service)))

        assert "do not write a key into a sweep file" in problem
        assert LITERAL_KEY not in problem

    def test_a_key_is_read_from_a_small_regular_file_only(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "pipe")
        with (tmp_path / "large").open("wb") as file:
            file.truncate(2**40)
        (tmp_path / "bytes").write_bytes(b"\xff")
        (tmp_path / "empty").write_text("\n")
        places = ["/dev/zero", "/", "~nobody-of-this-name/key", "/proc/self/mem"]
        places += [str(tmp_path / name) for name in ("pipe", "large", "bytes", "empty", "gone")]
        places += ["x" * 5000]

        for place in places:
            with pytest.raises(UsageError, match="file"):
                resolve_secret(f"file:{place}")


def _limited() -> None:
    resource.setrlimit(resource.RLIMIT_AS, (GIB, GIB))
    resource.setrlimit(resource.RLIMIT_CPU, (60, 60))


def _bomb() -> str:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    more = (f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12))
    return "\n".join([*lines, *more])


BOMBS: Mapping[str, Callable[[], str]] = {
    "bomb.yaml": _bomb,
    "deep.json": lambda: "[" * 4_000_000,
    "dots.toml": lambda: "a." * 3_000_000 + "a = 1",
    "wide.yaml": lambda: "- a\n" * 2_000_000,
    "digits.json": lambda: '{"name": ' + "9" * 7_000_000 + "}",
}


def test_the_command_refuses_bombs_in_bounded_time_and_memory(tmp_path: Path) -> None:
    for name, content in BOMBS.items():
        (tmp_path / name).write_text(content())
    script = (
        "import sys\n"
        "from engine.cli import main\n"
        "for name in sys.argv[1:]:\n"
        "    try:\n"
        "        main(['plan', name])\n"
        "    except SystemExit as ended:\n"
        "        print(name, ended.code)\n"
    )

    ended = subprocess.run(  # noqa: S603
        [sys.executable, "-c", script, *(str(tmp_path / name) for name in BOMBS)],
        cwd=ROOT,
        preexec_fn=_limited,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )

    assert ended.stdout.splitlines() == [f"{tmp_path / name} 2" for name in BOMBS], ended.stderr
    mistakes = [line for line in ended.stderr.splitlines() if not line.startswith("    ")]
    assert len(mistakes) == len(BOMBS)
    assert all(line.startswith(f"nightsweep: {tmp_path}{os.sep}") for line in mistakes)


@pytest.mark.parametrize(
    "arguments",
    [
        ["plan", TOO_LONG],
        ["plan", f"{TOO_LONG}.yaml"],
        ["plan", "cases.json"],
        ["plan", "model.json"],
        ["groups", "--cases", TOO_LONG],
        ["calibrate", TOO_LONG, "--against", "ratings.csv"],
        ["calibrate", "rules", "--against", TOO_LONG],
        ["status", "--store", TOO_LONG],
        ["serve", "--config", TOO_LONG],
    ],
    ids=" ".join,
)
def test_a_name_that_no_file_can_have_is_a_named_error(
    tmp_path: Path,
    arguments: list[str],
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("ratings.csv").write_text("reply,score\nHello.,0.5\n")
    for key, name in (("cases", "cases.json"), ("model_path", "model.json")):
        Path(name).write_text(json.dumps(valid(service={"kind": "local", key: TOO_LONG})))

    with pytest.raises(SystemExit) as ended:
        main(arguments)

    assert ended.value.code == 2
    assert "Traceback" not in capsys.readouterr().err

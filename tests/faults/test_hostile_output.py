"""Models, services and stores say hostile things: terminals, files and folders stay unharmed."""

import csv
import json
import os
import pty
import re
import sqlite3
import stat
import subprocess
import unicodedata
from contextlib import closing
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import pyarrow.parquet  # type: ignore[import-untyped]
import pytest

from engine import Sweep, open_engine
from engine.core.errors import UsageError
from engine.report.formats import FORMATS
from tests.contracts.process import ContractServerProcess
from tests.faults.bare import command
from tests.faults.sweeps import Scene, Scenes, small

HOSTILE = (
    "\x1b[2J\x1b[31mred\x1b]0;title\x07\x1b]52;c;ZXZpbA==\x07\x1b]8;;http://evil\x1b\\link\x1b]8;;\x1b\\"
    "\x1bPdevice\x1b\\\x1bc\x9b31m\x9d0;c1\x9c\x85\x90q\x9c\u202egnp.exe\u2066\u2069\u200b\u200e\ufeff"
    "\x00\x07\x08\x7f\r\n=1+1\t@SUM(A1)\u2028\U000e0041end"
)

# What our own live display sends: colours, a cursor that is hidden or moves up, lines that are cleared.
_OWN = re.compile(r"\x1b\[(?:[0-9;]*m|[0-9]*A|2K|\?25[lh])|\r")


def assert_harmless(shown: bytes) -> None:
    """Nothing but text and line ends, and what our own display sends."""
    text = _OWN.sub("", shown.decode("utf-8"))
    bad = {c for c in text if c != "\n" and unicodedata.category(c) in ("Cc", "Cf", "Cs")}
    assert bad == set(), text


def shown_by(scene: Scene, *arguments: str) -> bytes:
    """All that a command writes to its terminal, as a person runs it: all three streams are on it."""
    ours, theirs = pty.openpty()
    terminal = {"TERM": "xterm-256color", "COLUMNS": "120"}
    started = scene.launcher.start(
        arguments,
        folder=scene.folder,
        environment={**os.environ, **scene.environment, **terminal},
        streams=dict.fromkeys(range(3), theirs),
    )
    os.close(theirs)
    written = b""
    try:
        while part := os.read(ours, 65536):
            written += part
    except OSError:
        pass  # Linux's word for the end of a terminal
    finally:
        os.close(ours)
        started.kill()
    return written


@pytest.fixture
def answered(server: ContractServerProcess, scenes: Scenes) -> Scene:
    """A run whose service explains its errors in hostile words."""
    body = json.dumps({"detail": {"error": HOSTILE, "message": f"it said {HOSTILE}"}})
    server.play("body", None, status=422, body=body, model="qwen/qwen3")
    raw = HOSTILE.encode("utf-8", "surrogatepass").decode("latin-1")
    server.play("body", None, status=404, body=raw, model="anthropic/claude")
    return scenes.make(small(server.url))


def test_what_a_service_says_reaches_the_terminal_as_text(answered: Scene) -> None:
    results = [f"results --format {form}" for form in FORMATS if form not in ("arrow", "parquet")]

    shown = {
        words: shown_by(answered, *words.split(), "--store", "store.db")
        for words in ("run sweep.json", "status", *results)
    }

    on_one_line = {words: b" ".join(written.split()) for words, written in shown.items()}
    assert b"it said" in on_one_line["run sweep.json"]
    assert b"\x1b[2K" in shown["run sweep.json"]
    for words in ("status", *results):
        assert b"it said" in on_one_line[words]
        assert b"\x1b" not in shown[words]
    for written in shown.values():
        assert_harmless(written)


def test_what_a_service_says_before_the_night_reaches_the_terminal_as_text(
    server: ContractServerProcess, scenes: Scenes
) -> None:
    server.play("body", None, status=500, body=json.dumps({"message": f"it said {HOSTILE}"}))
    scene = scenes.make(small(server.url))

    shown = shown_by(scene, "check", "sweep.json")

    assert b"it said" in shown
    assert_harmless(shown)


def poisoned(scene: Scene) -> None:
    """A foreign store in which every text column holds hostile text."""
    with closing(sqlite3.connect(scene.store)) as connection, connection:
        labels = {"model": HOSTILE, "prompt": HOSTILE, "group": HOSTILE, HOSTILE: HOSTILE}
        connection.execute(
            "UPDATE job SET labels = json_patch(labels, ?), lane = ?, error = ?, detail = ?",
            (json.dumps(labels), HOSTILE, HOSTILE, HOSTILE),
        )
        connection.execute("UPDATE job SET state = 'waiting', due_at = 9e9 WHERE id = 1")
        connection.execute(
            "UPDATE run SET name = ?, evaluation = ?, target = ?, message = ?",
            (f"--{HOSTILE}", HOSTILE, HOSTILE, HOSTILE),
        )


def test_a_poisoned_store_is_shown_as_text(server: ContractServerProcess, scenes: Scenes) -> None:
    scene = scenes.make(small(server.url))
    server.fail_next(None, status=422, model="qwen/qwen3")
    assert scene.sweep().code == 1
    poisoned(scene)

    for words in ("status", "results", "runs", "pause"):
        shown = shown_by(scene, *words.split(), "--store", "store.db")

        assert b"Traceback" not in shown, shown
        assert_harmless(shown)
        assert b"\x1b" not in shown


def read_back(form: str, written: bytes) -> list[dict[str, Any]]:
    """The rows that a program finds in an export."""
    rows: list[dict[str, Any]]
    if form == "parquet":
        rows = pyarrow.parquet.read_table(BytesIO(written)).to_pylist()
        return rows
    text = written.decode()
    match form:
        case "csv":
            rows = list(csv.DictReader(StringIO(text, newline=""), strict=True))
        case "json":
            rows = json.loads(text)
        case "jsonl":
            rows = [json.loads(line) for line in text.splitlines()]
        case _:
            pytest.fail(f"nothing here reads {form}")
    return rows


def test_what_is_exported_is_read_back_by_its_format(answered: Scene) -> None:
    for_programs = ("csv", "json", "jsonl", "parquet")
    assert answered.sweep().code == 1

    written = {}
    for form in for_programs:
        ended = answered.run("results", "--format", form, "--output", f"rows.{form}")
        assert ended.code == 0, ended.stderr
        written[form] = (answered.folder / f"rows.{form}").read_bytes()

    rows = {form: read_back(form, written[form]) for form in for_programs}
    assert rows["jsonl"] == rows["json"]
    for form in for_programs:
        assert [row["error"] for row in rows[form]] == [row["error"] for row in rows["json"]]
        if form != "parquet":
            text = written[form].decode()
            assert all(unicodedata.category(c) != "Cc" or c in "\r\n" for c in text)
    assert written["json"].isascii()


@pytest.mark.parametrize("name", ["../up", "/etc/night", "a/b", "a\\b", "..", ".", "a\0b", "a\nb"])
def test_no_name_leads_out_of_a_folder(name: str, scenes: Scenes) -> None:
    scene = scenes.make({**small("http://127.0.0.1:9"), "name": name})

    ended = scene.sweep()

    assert ended.code == 2
    assert "name: " in ended.stderr
    assert_harmless(ended.stderr.encode())
    assert not scene.store.exists()


@pytest.mark.parametrize("name", ["--help", "-x", "$(reboot)", "`id`", "a b", "'; true '", "*"])
def test_the_commands_that_are_proposed_can_be_typed_whatever_a_sweep_is_called(
    name: str, server: ContractServerProcess, scenes: Scenes
) -> None:
    scene = scenes.make({**small(server.url, repeats=1), "name": name})

    ended = scene.sweep()

    [line] = [line for line in ended.stderr.splitlines() if line.startswith("results: ")]
    proposed = subprocess.run(  # noqa: S603
        ["/bin/sh", "-c", line.removeprefix("results: nightsweep").join(['printf "%s\\n" ', ""])],
        capture_output=True,
        text=True,
        check=True,
    )
    words = proposed.stdout.splitlines()
    assert words[0] == "results"
    assert name in words
    assert command(scene, *words).code == 0


async def test_a_group_with_a_hostile_name_is_refused_by_name(
    server: ContractServerProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("FAULTS_KEY", "some-key-0123")
    written = small(server.url)
    written["matrix"]["groups"] = "all"
    body = json.dumps([{"name": HOSTILE, "description": HOSTILE}])
    server.play("body", None, status=200, body=body, path="test_case_groups")

    async with open_engine(tmp_path / "store.db") as engine:
        with pytest.raises(UsageError, match="contains control characters"):
            await engine.submit(Sweep.parse(written))


def modes(folder: Path) -> dict[str, int]:
    return {
        path.name if path.suffix.startswith(".db-") else path.suffix or path.name: stat.S_IMODE(
            path.stat().st_mode
        )
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.mark.parametrize("prepare", ["nothing", "empty files", "an older run"])
def test_no_other_user_can_read_the_files_of_a_run_even_if_they_existed_before(
    prepare: str, server: ContractServerProcess, scenes: Scenes
) -> None:
    server.configure(latency_s=0.05)
    # The second is killed long before it is through.
    short, long = (small(server.url, repeats=repeats) for repeats in (10, 2_000))
    scene = scenes.make(long)
    before = os.umask(0)
    try:
        if prepare == "empty files":
            for name in ("store.db", "rows.csv"):
                (scene.folder / name).touch(0o666)
        if prepare == "an older run":
            scene.write(short)
            assert scene.sweep().code == 0
            for path in scene.folder.rglob("*.db*"):
                path.chmod(0o777 if path.is_dir() else 0o666)
            scene.write(long)
        server.forget()
        with scene.running("run", "sweep.json") as process:
            server.wait_received(10)
            running = modes(scene.folder)
            process.kill()
            process.wait()
        scene.run("results", "--format", "csv", "--output", "rows.csv")
    finally:
        os.umask(before)

    assert {"store.db-wal", "store.db-shm", ".db"} <= set(running)
    left = modes(scene.folder)
    for found in ({**running, ".csv": 0o600}, left):
        private = {name: mode for name, mode in found.items() if name not in LOOSE}
        assert {name: oct(mode) for name, mode in private.items() if mode & 0o177} == {}
    assert left[".csv"] == 0o600


LOOSE = (".json", ".stdout", ".stderr")
"""What the test itself has written."""

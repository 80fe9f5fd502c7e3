"""Whatever is written or sent: a named error or a result, never a traceback.

A hundred examples each, the same every time; ten thousand new ones with --hypothesis-profile=soak.
"""

import asyncio
import gc
import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import redirect_stderr, redirect_stdout
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from engine import Sweep
from engine.cli import main
from engine.clock import SystemClock
from engine.core.errors import NightsweepError, SweepError
from engine.core.terminal import plain
from engine.documents.document import YAML
from engine.documents.reading import document_of
from engine.kinds import JobError
from engine.registry import Registry
from engine.report.document import to_json
from engine.report.plans import plan_lines
from engine.settings import Settings
from jobs.chat.reading import read_reply
from jobs.chat.target import Reply
from jobs.circuit_breaker_labs.client import _RULES
from jobs.circuit_breaker_labs.measure import measure_multi_turn, measure_single_turn
from jobs.enkrypt.schema import HEALTH_ANSWER
from jobs.http import HttpClient, HttpLimits, Redactor, error_from_response, read_json_as
from jobs.http import Reply as HttpReply
from tests.faults.fuzz import (
    ANSWERS,
    COMPLETIONS,
    ERRORS,
    HEALTH,
    SWEEPS,
    misspelt,
    numbers,
    retry_afters,
    spoilt,
    texts,
)
from tests.faults.wire import GOOD, WIRE, wire_server

T = TypeVar("T")

# Looked up once: to ask the installed packages takes longer than to read a sweep.
REGISTRY = Registry.installed()

NOW = 1_800_000_000.0
KEY = "planted-key-0a1b2c3d4e5f"
YAML_PIECES = [
    b": ",
    b"- ",
    b"\n",
    b" ",
    b"&a ",
    b"*a",
    b"!!x ",
    b"{",
    b"[",
    b"'",
    b'"',
    b"|\n",
    b"<<",
]
JSON_PIECES = [
    b"{",
    b"}",
    b"[",
    b"]",
    b",",
    b":",
    b'"',
    b"\\",
    b"NaN",
    b"1e999",
    b"\\ud800",
    b"\\u0000",
]
TOML_PIECES = [
    b"=",
    b"[",
    b"]]",
    b"[[",
    b".",
    b"'''",
    b'"""',
    b"\n",
    b"inf",
    b"1979-05-27",
    b"{",
    b"\\",
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz")
    (folder / "prompt.md").write_text("Help kindly.")
    return folder


def outcome(ask: Callable[[], T]) -> T | NightsweepError:
    """What asking comes to: a value, or one of the errors that are meant for people."""
    try:
        return ask()
    except NightsweepError as error:
        return error


def assert_settled(sweep: Mapping[str, Any] | Path, folder: Path) -> None:
    """It is a sweep that can be planned, kept and taken up again, or an error that names its place."""
    found = outcome(
        lambda: (
            Sweep.load(sweep, REGISTRY)
            if isinstance(sweep, Path)
            else Sweep.parse(sweep, folder=folder, registry=REGISTRY)
        )
    )
    if isinstance(found, NightsweepError):
        assert isinstance(found, SweepError)
        assert found.problems
        assert all(map(plain, str(found).splitlines()))
        return
    planned = outcome(found.plan)
    if isinstance(planned, NightsweepError):
        # Only the service knows its groups.
        assert "there is no test-case group" in str(planned)
        return
    assert plan_lines(planned)
    assert json.loads(to_json(planned))
    kept = json.loads(json.dumps(found.dump()))
    assert Sweep.restore(kept, REGISTRY).digest == found.digest


@given(sweep=spoilt(SWEEPS))
def test_whatever_a_sweep_holds_it_is_a_sweep_or_a_named_error(sweep: Any, folder: Path) -> None:
    assert_settled(sweep, folder)


def _as_toml(sweep: Mapping[str, Any]) -> bytes:
    """TOML knows JSON's inline values but for the colons of mappings and null."""

    def value(of: Any) -> str:
        match of:
            case Mapping():
                return "{" + ", ".join(f"{json.dumps(k)} = {value(v)}" for k, v in of.items()) + "}"
            case list():
                return "[" + ", ".join(map(value, of)) + "]"
        return json.dumps(of)

    return "\n".join(f"{json.dumps(key)} = {value(of)}" for key, of in sweep.items()).encode()


@given(
    file=st.one_of(
        misspelt([yaml.safe_dump(dict(one)).encode() for one in SWEEPS], YAML_PIECES).map(
            lambda text: ("s.yaml", text)
        ),
        misspelt([json.dumps(one).encode() for one in SWEEPS], JSON_PIECES).map(
            lambda text: ("s.json", text)
        ),
        misspelt([_as_toml(one) for one in SWEEPS], TOML_PIECES).map(lambda text: ("s.toml", text)),
    )
)
def test_whatever_is_in_a_file_it_is_a_sweep_or_a_named_error(
    file: tuple[str, bytes], folder: Path
) -> None:
    name, content = file
    (folder / name).write_bytes(content)

    assert_settled(folder / name, folder)


@given(content=misspelt([yaml.safe_dump(dict(one)).encode() for one in SWEEPS], YAML_PIECES))
def test_whatever_is_in_a_file_of_cases_it_is_read_or_refused(content: bytes) -> None:
    found = outcome(lambda: document_of("mine.yaml", content, YAML))

    if isinstance(found, NightsweepError):
        lines = str(found).splitlines()
        assert re.match(r"mine\.yaml:(\d+:\d+:)? ", lines[0])
        assert all(line.startswith(("mine.yaml:", "    ")) for line in lines)


def _bodies(documents: Any) -> st.SearchStrategy[bytes]:
    written = [json.dumps(one).encode() for one in documents]
    changed = spoilt(documents).map(lambda one: json.dumps(one).encode())
    return changed | misspelt(written, JSON_PIECES) | st.binary(max_size=200)


def assert_named(error: NightsweepError, where: str = "POST x") -> None:
    assert isinstance(error, JobError)
    assert re.search(rf"\((\d+, )?{where}\)", error.message)
    assert len(error.detail) <= 500


@given(body=_bodies(ANSWERS), threshold=st.floats(0, 1))
def test_whatever_an_evaluation_answers_it_is_measured_or_a_named_error(
    body: bytes, threshold: float
) -> None:
    for measure in (measure_single_turn, measure_multi_turn):
        found = outcome(partial(measure, body, "POST x", threshold))

        if isinstance(found, NightsweepError):
            assert_named(found)
        else:
            assert found.passed >= 0
            assert found.failed >= 0
            assert all(0 <= score <= 1 for score in found.scores or ())


@given(body=_bodies(HEALTH))
def test_whatever_a_health_question_answers_it_is_read_or_a_named_error(body: bytes) -> None:
    found = outcome(lambda: read_json_as(HEALTH_ANSWER, body, "POST x"))

    if isinstance(found, NightsweepError):
        assert_named(found)
    else:
        assert found.status in ("healthy", "unhealthy")


@given(body=_bodies(COMPLETIONS))
def test_whatever_a_chat_model_answers_it_is_a_reply_or_a_named_error(body: bytes) -> None:
    found = outcome(lambda: read_reply(body, where="POST x"))

    if isinstance(found, NightsweepError):
        assert_named(found)
    else:
        assert found.text.strip()
        assert Reply.from_bytes(found.to_bytes()) == found


@given(
    status=st.integers(100, 999).filter(lambda status: not 200 <= status < 300),
    retry_after=retry_afters,
    location=texts,
    body=_bodies(ERRORS),
)
def test_whatever_a_refusal_says_it_is_an_error_of_one_line_with_a_wait_within_reason(
    status: int, retry_after: str, location: str, body: bytes
) -> None:
    headers = {"retry-after": retry_after, "location": location}

    error = error_from_response(
        "POST x",
        status,
        headers,
        body + KEY.encode(),
        now=NOW,
        redact=Redactor({"key": KEY}),
        rules=_RULES,
    )

    wait_s = getattr(error, "retry_after_s", None)
    assert wait_s is None or 0 <= wait_s <= 3_600
    assert error.status == status
    assert plain(error.detail) == error.detail
    assert KEY not in error.message + error.detail
    assert len(error.detail) <= 500


@pytest.fixture(scope="module")
def loop() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


HTTP_PIECES = [
    b"\r\n",
    b"\n",
    b":",
    b" ",
    b"\0",
    b"HTTP/1.1 ",
    b"chunked",
    b"Content-Length: ",
    b"-1",
]


@given(answer=misspelt([GOOD, *WIRE.values()], HTTP_PIECES))
def test_whatever_comes_over_the_wire_it_is_an_answer_or_a_named_error(
    answer: bytes, loop: asyncio.Runner
) -> None:
    async def asked() -> HttpReply | JobError:
        limits = HttpLimits(deadline_s=60.0, max_body_bytes=10_000)
        async with (
            wire_server({"struck": answer}, reset=False) as server,
            HttpClient(
                server.url,
                clock=SystemClock(),
                headers={"k": KEY},
                secrets={"k": KEY},
                limits=limits,
            ) as client,
        ):
            try:
                return await client.post("x", b'{"openrouter_model_name": "struck"}')
            except JobError as error:
                return error

    found = loop.run(asked())

    if isinstance(found, JobError):
        assert_named(found, r"POST x at 127\.0\.0\.1:\d+")
        assert found.__cause__ is None
        assert plain(found.detail) == found.detail


@pytest.fixture(scope="module")
def night(folder: Path) -> Iterator[Path]:
    """A folder with a store of a run without a service, in which commands are run; this process stays as it was."""
    interval, thresholds, here = sys.getswitchinterval(), gc.get_threshold(), Path.cwd()
    sweep = {**SWEEPS[0], "service": {**SWEEPS[0]["service"], "base_url": "http://127.0.0.1:9"}}
    sweep |= {"retry": {"attempts": 1, "base_delay_s": 0.01, "outage_h": 0}, "limits": {}}
    (folder / "sweep.json").write_text(json.dumps(sweep))
    (folder / "wrong.json").write_text("{}")
    os.chdir(folder)
    os.environ["FAULTS_KEY"] = KEY
    try:
        assert output_of("run", "sweep.json")[0] == 3
        yield folder
    finally:
        del os.environ["FAULTS_KEY"]
        os.chdir(here)
        sys.setswitchinterval(interval)
        gc.set_threshold(*thresholds)
        gc.unfreeze()


def output_of(*arguments: str) -> tuple[int, str]:
    """The exit code of a command and what it wrote."""
    out, err = (io.TextIOWrapper(io.BytesIO(), "utf-8", errors="backslashreplace") for _ in "oe")
    with redirect_stdout(out), redirect_stderr(err), pytest.raises(SystemExit) as ended:
        main([*arguments])
    written = b""
    for stream in (out, err):
        stream.flush()
        written += stream.buffer.getvalue()
        stream.detach()
    code = ended.value.code
    return code if isinstance(code, int) else 0, written.decode()


# No slashes: a test writes nowhere but in its own folder. No servers, and nothing is fetched.
_words = st.one_of(
    st.sampled_from(
        ["night", "--json", "--format", "csv", "table", "--failed", "--cancelled", "--"]
    )
    | st.sampled_from(
        ["--store", "nightsweep.db", "wrong.json", "prompt.md", "gone.yaml", "--help"]
    )
    | st.sampled_from(
        ["--output", "rows.csv", "--progress-every", "0", "--online", "--dry-run", "-"]
    ),
    st.text(st.characters(exclude_characters="/\\\0", codec="utf-8"), max_size=8),
    numbers.map(str),
)
_COMMANDS = ["plan", "check", "run", "status", "results", "runs", "retry", "pause", "groups", ""]


@given(command=st.sampled_from(_COMMANDS), words=st.lists(_words, max_size=4))
def test_whatever_is_typed_it_is_done_or_refused(
    command: str, words: list[str], night: Path
) -> None:
    code, output = output_of(*filter(None, [command]), *words)

    assert code in (0, 1, 2), output
    assert "Traceback" not in output


@given(
    texts.map(lambda text: text.replace("\0", "")) | numbers.map(str),
    st.sampled_from(["GRACE_S", "POLL_S", "HEARTBEAT_S"]),
)
def test_whatever_the_environment_says_it_is_a_setting_or_a_named_error(
    text: str, name: str
) -> None:
    found = outcome(lambda: Settings.from_environment({f"NIGHTSWEEP_{name}": text}))

    if isinstance(found, NightsweepError):
        assert f"NIGHTSWEEP_{name}" in str(found)
    else:
        assert 0 < getattr(found, name.lower()) < 86_400

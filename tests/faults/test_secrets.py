"""No key is anywhere: planted by every way in, looked for in everything that is left behind."""

import json
import os
import sqlite3
import subprocess
import sys
import zlib
from base64 import b64encode
from collections.abc import Iterator, Mapping
from contextlib import closing, suppress
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest

from engine.report.formats import FORMATS
from tests.contracts.echoes import ECHOES
from tests.contracts.faults import BODIES, PLAYS
from tests.contracts.process import ContractServerProcess
from tests.faults.bare import command
from tests.faults.sweeps import Ended, Scenes, crisis
from tests.paths import ROOT
from tests.patience import PATIENCE_S

SERVICE_KEY = "Planted/Service+Key-0a1b2c3d4e5f"
OPENAI_KEY = "sk-Planted-OpenAI-Key-9z8y7x6w5v"
ENKRYPT_KEY = "Planted-Enkrypt-Key_1q2w3e4r5t"
ENDPOINT_KEY = 'Planted-Endpoint-Key-"quoted"\\6y7u8i'
HEADER_KEY = "Planted-Header-Key=5t4r3e2w1q=="
KEYS = (SERVICE_KEY, OPENAI_KEY, ENKRYPT_KEY, ENDPOINT_KEY, HEADER_KEY)

STATUSES = (403, 422, 500)


def traces(key: str) -> Iterator[bytes]:
    """What would give a key away: itself, in other letters, packed, or a good part of it."""
    raw = key.encode()
    yield from (raw, raw[: len(raw) // 2], raw[len(raw) // 2 :])
    yield from (quote(key, safe="").encode(), json.dumps(key)[1:-1].encode())
    yield b64encode(raw[: len(raw) // 3 * 3])


TRACES = [(trace.lower(), key) for key in KEYS for trace in traces(key)]


def leaks_in(content: bytes) -> list[str]:
    folded = content.lower()
    return [key for trace, key in TRACES if trace in folded]


def unpacked(value: Any) -> bytes:
    if not isinstance(value, bytes):
        return str(value).encode()
    with suppress(zlib.error):
        return zlib.decompress(value)
    return value


def stored_in(store: Path) -> Iterator[tuple[str, bytes]]:
    """Each value of a store, unpacked."""
    with closing(sqlite3.connect(store)) as connection:
        tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")
        for (table,) in tables.fetchall():
            for row in connection.execute(f'SELECT * FROM "{table}"'):  # noqa: S608
                for value in row:
                    yield table, unpacked(value)


def assert_nothing_is_leaked(folder: Path) -> None:
    """Look into the stores, their side files, and all that the commands in a folder have written."""
    files = [path for path in folder.rglob("*") if path.is_file()]
    assert "DEBUG" in (folder / "debug.log").read_text()
    for path in files:
        assert leaks_in(path.read_bytes()) == [], path
    # Afterwards: to open a store is to take in its log.
    for path in (path for path in files if path.suffix == ".db"):
        for table, value in stored_in(path):
            assert leaks_in(value) == [], (table, value)


@pytest.fixture
def keys(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, str]:
    """References to the keys, each planted in its own way: variables are in the environment."""
    folder = tmp_path_factory.mktemp("keys")
    (folder / "openai").write_text(f"{OPENAI_KEY}\n")
    (folder / "endpoint").write_text(f"  {ENDPOINT_KEY}")
    return {
        "service": "env:PLANTED_SERVICE",
        "openai": f"file:{folder / 'openai'}",
        "enkrypt": "env:PLANTED_ENKRYPT",
        "endpoint": f"file:{folder / 'endpoint'}",
        "header": "env:PLANTED_HEADER",
    }


ENVIRONMENT = {
    "PLANTED_SERVICE": SERVICE_KEY,
    "PLANTED_ENKRYPT": ENKRYPT_KEY,
    "PLANTED_HEADER": HEADER_KEY,
    "PYTHONFAULTHANDLER": "1",
    "PYTHONASYNCIODEBUG": "1",
    "NIGHTSWEEP_LOG": "debug:debug.log",
}

RETRY = {"attempts": 1, "base_delay_s": 0.01, "max_delay_s": 0.02, "outage_h": 0}


def system_prompts(
    url: str, keys: Mapping[str, str], models: list[str], *, deadline_s: float = 60.0
) -> dict[str, Any]:
    service: dict[str, Any] = {"kind": "circuit-breaker-labs", "base_url": url}
    matrix = {**crisis(url)["matrix"], "models": models, "groups": ["self_harm"], "repeats": 1}
    service |= {
        "api_key": keys["service"],
        "openai_api_key": keys["openai"],
        "deadline_s": deadline_s,
    }
    return crisis(url, service=service, matrix=matrix, retry=RETRY)


def finetunes(url: str, keys: Mapping[str, str], models: list[str]) -> dict[str, Any]:
    sweep = system_prompts(url, keys, models)
    del sweep["matrix"]["prompts"]
    return {**sweep, "target": "openai_finetune"}


def endpoints(url: str, keys: Mapping[str, str], models: list[str]) -> dict[str, Any]:
    """The health of models, whose own keys go through the service."""
    host, port = url.removeprefix("http://").split(":")
    configurations = [
        {
            "testing_for": "foundationModels",
            "model_name": model,
            "model_config": {
                "model_provider": "custom",
                "endpoint": {"scheme": "http", "host": host, "port": int(port)},
                "apikeys": [keys["endpoint"], keys["header"]],
            },
        }
        for model in models
    ]
    return {
        "name": "crisis",
        "service": {"kind": "enkrypt", "base_url": url, "api_key": keys["enkrypt"]},
        "evaluation": "model_health",
        "matrix": {"models": configurations},
        "retry": RETRY,
    }


def chats(url: str, keys: Mapping[str, str], models: list[str]) -> dict[str, Any]:
    endpoint = {
        "base_url": f"{url}/v1",
        "api_key": keys["endpoint"],
        "headers": {"X-Extra-Auth": keys["header"]},
    }
    sweep = crisis(url, service={"kind": "local", "endpoint": endpoint}, retry=RETRY)
    sweep["matrix"] = {**sweep["matrix"], "models": models, "groups": ["self_harm"], "repeats": 1}
    return sweep


@pytest.mark.parametrize("make", [finetunes, endpoints, chats])
def test_no_answer_that_quotes_a_key_gets_it_anywhere(
    make: Any, server: ContractServerProcess, scenes: Scenes, keys: Mapping[str, str]
) -> None:
    scene = scenes.make(make(server.url, keys, list(ECHOES)))
    scene.environment = ENVIRONMENT
    for echo in ECHOES:
        server.play(echo, None, status=500, model=echo)

    assert scene.sweep().code == 1

    assert scene.status()["cells_failed"] >= len(ECHOES) - 1
    assert_nothing_is_leaked(scene.folder)


def test_no_answer_at_all_gets_a_key_into_anything_that_is_kept_or_printed(
    server: ContractServerProcess, scenes: Scenes, keys: Mapping[str, str]
) -> None:
    echoes = [f"{echo}/{status}" for echo in ECHOES for status in STATUSES]
    broken = [*BODIES, *PLAYS]
    scene = scenes.make(system_prompts(server.url, keys, [*echoes, *broken], deadline_s=1.0))
    scene.environment = ENVIRONMENT
    for model in echoes:
        echo, status = model.split("/")
        server.play(echo, None, status=int(status), model=model)
    for fault in broken:
        server.play(fault, None, model=fault)

    first = scene.sweep()

    # Broken connections are an outage of their lanes, which the run may go on with later.
    assert first.code == 3, first.stderr
    for words in (("status",), ("status", "--json"), ("runs",)):
        assert scene.run(*words).code == 0
    for form in FORMATS:
        assert scene.start("results", "--format", form).wait() == 0
        assert scene.run("results", "--format", form, "--output", f"rows.{form}").code == 0
    assert scene.run("results", "--format", "inspect", "--output", "logs").code == 0
    assert_nothing_is_leaked(scene.folder)


@pytest.mark.parametrize("echo", ["echo_hidden", "echo_json", "echo_torn"])
def test_no_refusal_of_a_key_says_it(
    echo: str, server: ContractServerProcess, scenes: Scenes, keys: Mapping[str, str]
) -> None:
    scene = scenes.make(system_prompts(server.url, keys, ["a", "b"]))
    scene.environment = ENVIRONMENT
    server.play(echo, None, status=401)

    assert scene.sweep().code == 3

    assert scene.status()["reason"] == "unauthorized"
    assert_nothing_is_leaked(scene.folder)


def test_no_question_before_the_night_tells_a_key(
    server: ContractServerProcess, scenes: Scenes, keys: Mapping[str, str]
) -> None:
    sweep = system_prompts(server.url, keys, ["a"])
    sweep["matrix"]["groups"] = "all"
    sweep["service"]["health"] = {
        "kind": "enkrypt",
        "base_url": server.url,
        "api_key": keys["enkrypt"],
        "endpoint": {"model_config": {"apikeys": [keys["endpoint"]]}},
    }
    scene = scenes.make(sweep)
    scene.environment = ENVIRONMENT

    output = ""
    for echo in ECHOES:
        server.play(echo, None, status=401)
        for arguments in (("check", "sweep.json"), ("plan", "--online", "sweep.json")):
            ended = command(scene, *arguments)
            assert ended.code in (1, 2), (echo, ended)
            output += ended.stdout + ended.stderr
        server.clear()

    assert "[redacted]" in output
    assert leaks_in(output.encode()) == []
    assert "Traceback" not in output


def test_a_killed_run_leaves_no_key_in_its_log_and_has_none_on_its_command_line(
    server: ContractServerProcess, scenes: Scenes, keys: Mapping[str, str]
) -> None:
    server.configure(latency_s=0.3)
    sweep = system_prompts(server.url, keys, ["a", "b"])
    sweep["matrix"]["repeats"] = 2_000
    scene = scenes.make(sweep)
    scene.environment = ENVIRONMENT
    server.play("echo_json", None, status=500, model="b")

    with scene.running("run", "sweep.json") as process:
        server.wait_received(20)
        seen = [Path(f"/proc/{process.pid}/{name}").read_bytes() for name in ("cmdline", "comm")]
        process.kill()
        process.wait()

    assert b"nightsweep" in seen[0]
    assert leaks_in(b"".join(seen)) == []
    assert {path.suffix for path in scene.folder.iterdir()} >= {".db-wal", ".db-shm"}
    assert_nothing_is_leaked(scene.folder)


def test_the_log_has_neither_prompts_nor_answers(
    server: ContractServerProcess, scenes: Scenes, keys: Mapping[str, str]
) -> None:
    sweep = system_prompts(server.url, keys, ["a", "refused"])
    sweep["matrix"]["prompts"] = [{"name": "bare", "text": "You are Marvin, the paranoid one."}]
    scene = scenes.make(sweep)
    scene.environment = ENVIRONMENT
    server.play("echo_json", None, status=422, model="refused")

    assert scene.sweep().code == 1

    answers = [value for table, value in stored_in(scene.store) if table == "answer"]
    assert any(b"answer to self_harm" in value for value in answers)
    log = (scene.folder / "debug.log").read_text()
    assert "singleturn_evaluate_system_prompt" in log
    assert "Marvin" not in log
    assert "answer to" not in log
    assert "question self_harm" not in log


@pytest.fixture
def leaky(tmp_path: Path) -> Mapping[str, str]:
    """An environment in which the leaky service is installed."""
    info = tmp_path / "packages" / "leaky-1.0.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: leaky\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[nightsweep.services]\nleaky = tests.faults.leaky:LeakyService\n"
    )
    path = os.pathsep.join([str(info.parent), str(ROOT)])
    return {**os.environ, **ENVIRONMENT, "PYTHONPATH": path}


def test_a_job_kind_that_crashes_with_a_key_in_hand_shows_it_nowhere(
    tmp_path: Path, leaky: Mapping[str, str]
) -> None:
    folder = tmp_path / "night"
    folder.mkdir()
    service: dict[str, Any] = {"kind": "leaky", "api_key": "env:PLANTED_SERVICE"}
    models = ["permanent", "transient", "group", "chain", "crash", "unauthorized"]
    sweep = {"name": "n", "service": service, "evaluation": "leak", "matrix": {"models": models}}
    (folder / "all.json").write_text(json.dumps({**sweep, "retry": RETRY}))
    for name, opens in (("crash", "crash"), ("bug", "crash at the end"), ("refuse", "refuse")):
        changed = {**sweep, "service": {**service, "opens": opens}, "retry": RETRY}
        (folder / f"{name}.json").write_text(json.dumps(changed))

    def run(*arguments: str) -> Ended:
        ended = subprocess.run(  # noqa: S603
            [sys.executable, "-c", "from engine.cli import main; main()", *arguments],
            cwd=folder,
            env=leaky,
            capture_output=True,
            timeout=PATIENCE_S,
            check=False,
        )
        for name, content in (("stdout", ended.stdout), ("stderr", ended.stderr)):
            assert leaks_in(content) == [], content
            assert b"\x1b" not in content, content
            (folder / f"{'-'.join(arguments)}.{name}").write_bytes(content)
        return Ended(
            code=ended.returncode, stdout=ended.stdout.decode(), stderr=ended.stderr.decode()
        )

    codes = {
        "run": run("run", "all.json").code,
        "check": run("check", "all.json").code,
        "crash": run("run", "crash.json", "--store", "crash.db").code,
        "bug": run("run", "bug.json", "--store", "bug.db").code,
        "refuse": run("run", "refuse.json", "--store", "refuse.db").code,
    }

    assert codes == {"run": 3, "check": 1, "crash": 2, "bug": 70, "refuse": 2}
    assert_nothing_is_leaked(folder)


PLACES: Mapping[str, Mapping[str, Any]] = {
    "api_key": {"service": {"kind": "circuit-breaker-labs", "api_key": SERVICE_KEY}},
    "variable": {"service": {"kind": "circuit-breaker-labs", "api_key": f"env:{SERVICE_KEY}"}},
    "list": {"service": {"kind": "circuit-breaker-labs", "api_key": [SERVICE_KEY]}},
    "url": {
        "service": {"kind": "circuit-breaker-labs", "base_url": f"https://u:{OPENAI_KEY}@host"}
    },
    "query": {"service": {"kind": "enkrypt", "base_url": f"https://host/?key={OPENAI_KEY}"}},
    "health": {
        "service": {"kind": "enkrypt", "health": {"kind": "enkrypt", "api_key": OPENAI_KEY}}
    },
    "endpoint": {"service": {"kind": "local", "endpoint": {"api_key": OPENAI_KEY}}},
    "header": {
        "service": {
            "kind": "local",
            "endpoint": {
                "base_url": "http://h",
                "headers": {"Authorization": f"Bearer {OPENAI_KEY}"},
            },
        }
    },
    "other header": {
        "service": {
            "kind": "local",
            "endpoint": {"base_url": "http://h", "headers": {"X-Session": f"Bearer {OPENAI_KEY}"}},
        }
    },
    "judge": {
        "service": {
            "kind": "local",
            "judge": {"kind": "rubric", "endpoint": {"base_url": "x", "api_key": OPENAI_KEY}},
        }
    },
    "configuration": {
        "service": {"kind": "enkrypt"},
        "evaluation": "model_health",
        "matrix": {
            "models": [{"model_name": "a", "model_config": {"auth_data": {"token": ENKRYPT_KEY}}}]
        },
    },
}


@pytest.mark.parametrize("place", PLACES)
def test_a_key_in_a_sweep_file_is_refused_and_never_repeated(
    place: str, scenes: Scenes, server: ContractServerProcess, keys: Mapping[str, str]
) -> None:
    scene = scenes.make({**system_prompts(server.url, keys, ["a"]), **PLACES[place]})
    scene.environment = ENVIRONMENT

    ended = scene.sweep()

    assert ended.code == 2
    assert leaks_in((ended.stdout + ended.stderr).encode()) == []
    assert not scene.store.exists()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("s.yaml", f"service: {{api_key: {SERVICE_KEY}: ["),
        ("s.yaml", f"api_key: '{SERVICE_KEY}\nname: n\n"),
        ("s.yaml", f"a: &{OPENAI_KEY} 1\nb: *{OPENAI_KEY}x\n"),
        ("s.json", f'{{"api_key": "{SERVICE_KEY}" "name"}}'),
        ("s.json", f'{{"api_key": "{SERVICE_KEY}\n"}}'),
        ("s.toml", f"api_key = {SERVICE_KEY}\n"),
        ("s.toml", f'api_key = "{SERVICE_KEY}\n'),
        ("s.toml", f'[service]\napi_key = "{SERVICE_KEY}\\q"\n'),
    ],
)
def test_a_file_that_cannot_be_read_is_never_quoted(name: str, text: str, scenes: Scenes) -> None:
    scene = scenes.make({})
    (scene.folder / name).write_text(text)

    ended = command(scene, "plan", name)

    assert ended.code == 2
    assert leaks_in((ended.stdout + ended.stderr).encode()) == []

"""The network fails: a named outcome, an attempt on record, other runs unhurt, and one can go on."""

import json
import os
import re
import socket
import sqlite3
import ssl
import sys
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import anyio
import pytest
import trustme

from engine import Engine, Status, StopReason, Sweep, open_engine
from engine.clock import Clock
from engine.testing import FakeClock
from tests.contracts.server import ContractServer
from tests.engine.scenes import RARE_POLLS
from tests.faults.sweeps import KEY, crisis
from tests.faults.wire import GOOD, WIRE, wire_server

AWAY_S = 500.0
ATTEMPTS = 2


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAULTS_KEY", KEY)


def written(url: str, name: str, **changes: Any) -> dict[str, Any]:
    """Two jobs, one after the other."""
    retry = {"attempts": ATTEMPTS, "base_delay_s": 0.01, "max_delay_s": 0.02, "outage_h": 0}
    sweep = crisis(url, name=name, retry=retry, limits={"max_in_flight": 1}, **changes)
    sweep["service"]["deadline_s"] = 60.0
    sweep["matrix"] |= {"models": ["a/model", "b/model"], "groups": ["self_harm"], "repeats": 1}
    return sweep


def attempts(store: Path, run: str) -> list[tuple[str, str | None]]:
    query = "SELECT outcome, attempt.error FROM attempt JOIN run ON run.id = run_id WHERE name = ?"
    with closing(sqlite3.connect(store)) as connection:
        return connection.execute(query, (run,)).fetchall()


def attempts_used(store: Path, run: str) -> list[int]:
    query = "SELECT job.attempts FROM job JOIN run ON run.id = run_id WHERE name = ?"
    with closing(sqlite3.connect(store)) as connection:
        return [used for (used,) in connection.execute(query, (run,))]


async def executed(engine: Engine, sweep: Sweep) -> Status:
    return await (await engine.submit(sweep)).execute()


async def beside_a_spared_run(engine: Engine, url: str) -> Status:
    """Where a run stands whose service is struck, while another run reaches its own."""
    statuses: dict[str, Status] = {}

    async def execute(url: str, name: str) -> None:
        statuses[name] = await executed(engine, Sweep.parse(written(url, name)))

    async with ContractServer() as spared:
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(execute, url, "struck")
            tasks.start_soon(execute, spared.url, "spared")

        assert len(spared.requests) == 2
    assert statuses["spared"].cells_done == statuses["spared"].cells == 4
    return statuses["struck"]


async def missed(engine: Engine, url: str, store: Path, outcome: str = "refused") -> str:
    """What a run says whose service is not there: it stops, and nothing has failed."""
    status = await beside_a_spared_run(engine, url)
    assert status.reason is StopReason.UNHEALTHY
    assert (status.cells_done, status.cells_failed) == (0, 0)
    found = attempts(store, "struck")
    assert outcome in {outcome for outcome, _ in found}
    assert all(error for _, error in found)
    assert all(used <= 1 for used in attempts_used(store, "struck"))
    return checked(status.message)


def checked(error: str) -> str:
    assert "bug" not in error
    assert KEY not in error
    assert len(error) < 2_000
    return error


async def goes_on(engine: Engine) -> Status:
    return await (await engine.run("struck")).execute()


@pytest.mark.parametrize("reset", [True, False], ids=["reset", "closed"])
async def test_a_connection_that_breaks_off_anywhere_is_a_failed_attempt(
    reset: bool, tmp_path: Path
) -> None:
    store = tmp_path / "store.db"
    async with wire_server(WIRE, reset=reset) as server, open_engine(store) as engine:
        sweep = written(server.url, "struck")
        sweep["matrix"] |= {"models": [*WIRE, "spared"], "repeats": 1}
        sweep["limits"] = {"max_in_flight": 8}

        await executed(engine, Sweep.parse(sweep))

        run = await engine.run("struck")
        ends = {row.labels["model"]: (row.state, row.error) async for row in run.rows()}
        assert ends.pop("spared") == ("succeeded", None)
        # What was cut off may be an outage, in which nothing fails; what cannot be read is an answer.
        cut_off = {name for name, (state, _) in ends.items() if state == "waiting"}
        assert {state for state, _ in ends.values()} == {"failed", "waiting"}
        assert cut_off <= {name for name in WIRE if name.startswith(("half", "no", "nothing"))}
        for _, error in ends.values():
            assert error
            assert "bug" not in error
            assert KEY not in error
        found = attempts(store, "struck")
        assert Counter(outcome for outcome, _ in found)["failed"] >= len(WIRE)
        # Nothing below the engine sends a paid request a second time.
        assert server.posts.total() == len(found)
        server.answers = {}
        assert await run.retry() == len(WIRE) - len(cut_off)
        assert (await run.execute()).cells_done == 2 * (len(WIRE) + 1)


async def test_an_answer_counts_whatever_words_stand_beside_its_status(tmp_path: Path) -> None:
    words = GOOD.replace(b"OK", b"D\xe9j\xe0 \xae vu", 1)
    async with (
        wire_server(dict.fromkeys(("a/model", "b/model"), words), reset=False) as server,
        open_engine(tmp_path / "store.db") as engine,
    ):
        status = await executed(engine, Sweep.parse(written(server.url, "struck")))

        assert status.errors == ()
        assert (status.cells_done, status.cells_failed) == (4, 0)
        assert server.posts.total() == 2


def unused_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.mark.parametrize(
    "url",
    [
        "http://no-such-host.invalid",
        "https://no-such-host.invalid:8443",
        f"http://{'a' * 63}.invalid.",
        "http://127.0.0.1:{port}",
        "http://[::1]:{port}",
        "http://0.0.0.0:{port}",
    ],
    ids=lambda url: url[:24],
)
async def test_a_service_that_cannot_be_reached_was_surely_not_asked(
    url: str, tmp_path: Path
) -> None:
    store = tmp_path / "store.db"
    async with open_engine(store) as engine:
        problem = await missed(engine, url.format(port=unused_port()), store)

        assert re.search(
            "connection refused|no connection could be made|name does not exist|could not be looked up",
            problem,
        )


Make = Callable[[trustme.CA], trustme.LeafCert]
CERTIFICATES: dict[str, Make] = {
    "expired": lambda ca: ca.issue_cert(
        "127.0.0.1",
        not_before=datetime(2001, 1, 1, tzinfo=UTC),
        not_after=datetime(2002, 1, 1, tzinfo=UTC),
    ),
    "not valid yet": lambda ca: ca.issue_cert(
        "127.0.0.1",
        not_before=datetime(2090, 1, 1, tzinfo=UTC),
        not_after=datetime(2091, 1, 1, tzinfo=UTC),
    ),
    "of another host": lambda ca: ca.issue_cert("elsewhere.example"),
    "of another address": lambda ca: ca.issue_cert("127.0.0.2"),
    "of an unknown authority": lambda _: trustme.CA().issue_cert("127.0.0.1"),
}


def tls(certificate: trustme.LeafCert) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    certificate.configure_cert(context)
    return context


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    return trustme.CA()


@pytest.fixture
def trusted(authority: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file of an authority that SSL_CERT_FILE names."""
    path = tmp_path / "authority.pem"
    authority.cert_pem.write_to_path(str(path))
    monkeypatch.setenv("SSL_CERT_FILE", str(path))
    return path


@pytest.mark.parametrize("name", CERTIFICATES)
@pytest.mark.usefixtures("trusted")
async def test_a_certificate_that_proves_nothing_stops_the_key_from_being_sent(
    name: str, authority: trustme.CA, tmp_path: Path
) -> None:
    store = tmp_path / "store.db"
    async with (
        ContractServer(tls=tls(CERTIFICATES[name](authority))) as server,
        open_engine(store) as engine,
    ):
        error = await missed(engine, server.url, store)

        assert "certificate is not trusted" in error
        assert "SSL_CERT_FILE" in error
        assert server.requests == []
        assert not server.state.by_path


async def test_a_private_authority_is_trusted_through_ssl_cert_file(
    authority: trustme.CA, trusted: Path, tmp_path: Path
) -> None:
    async with ContractServer(tls=tls(authority.issue_cert("127.0.0.1"))) as server:
        (tmp_path / "sweep.json").write_text(json.dumps(written(server.url, "night")))

        ended = await anyio.run_process(
            [str(Path(sys.executable).with_name("nightsweep")), "run", "sweep.json", "--json"],
            cwd=tmp_path,
            env={**os.environ, "SSL_CERT_FILE": str(trusted)},
            check=False,
        )

        assert ended.returncode == 0, ended.stderr
        assert json.loads(ended.stdout)["cells_done"] == 4
        assert len(server.requests) == 2


async def test_a_server_without_tls_behind_an_https_address_gets_nothing(tmp_path: Path) -> None:
    store = tmp_path / "store.db"
    async with ContractServer() as server, open_engine(store) as engine:
        error = await missed(engine, server.url.replace("http:", "https:"), store)

        assert "no connection could be made" in error
        assert server.requests == []


async def test_a_server_with_tls_behind_an_http_address_answers_nothing(
    authority: trustme.CA, tmp_path: Path
) -> None:
    store = tmp_path / "store.db"
    context = tls(authority.issue_cert("127.0.0.1"))
    async with ContractServer(tls=context) as server, open_engine(store) as engine:
        error = await missed(engine, server.url.replace("https:", "http:"), store, "failed")

        assert "the connection failed" in error


@pytest.mark.usefixtures("trusted")
async def test_a_reset_within_tls_is_a_failed_attempt(
    authority: trustme.CA, tmp_path: Path
) -> None:
    store = tmp_path / "store.db"
    context = tls(authority.issue_cert("127.0.0.1"))
    async with ContractServer(tls=context) as server, open_engine(store) as engine:
        server.play("reset_in_body", None)

        error = await missed(engine, server.url, store, "failed")

        assert "the connection failed" in error
        server.clear()
        assert (await goes_on(engine)).cells_done == 4


async def test_a_service_that_is_not_there_yet_is_waited_for_without_a_storm(
    tmp_path: Path,
) -> None:
    port = unused_port()
    clock = FakeClock()
    sweep = written(f"http://127.0.0.1:{port}", "night")
    sweep["retry"] = {"attempts": 1, "base_delay_s": 1.0, "max_delay_s": 300.0}
    sweep["limits"] = {"max_in_flight": 4}
    sweep["matrix"]["repeats"] = 20
    store = tmp_path / "store.db"
    async with (
        ContractServer() as elsewhere,
        open_engine(store, clock=clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
        anyio.create_task_group() as tasks,
    ):
        run = await engine.submit(Sweep.parse(sweep))
        tasks.start_soon(come_back, clock, port, elsewhere)

        status = await run.execute()

        tasks.cancel_scope.cancel()
    assert status.cells_done == status.cells
    assert clock.now() >= FakeClock().now() + AWAY_S
    # For each of the two models what was in flight, the first probes, and one a minute.
    assert len(attempts(store, "night")) <= 20 * 2 + 4 + 2 * (8 + 9)


async def come_back(clock: Clock, port: int, elsewhere: ContractServer) -> None:
    """After a while there is a server at the port."""
    await clock.sleep(AWAY_S)
    server = ContractServer(port=port)
    server.state = elsewhere.state
    async with server:
        await anyio.sleep_forever()

"""The ledger: its file, its keys, their months."""

import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from shutil import copy
from typing import Any

import pytest

from engine.clock import SystemClock
from engine.core.permits import PermitLimit, PermitRequest, PermitStart
from engine.kinds import UsageError
from engine.sqlite.files import prepare
from engine.testing import FakeClock
from jobs.serve.ledger import Ledger, LedgerError, LedgerFile, LedgerTooNew, keys
from jobs.serve.ledger.file import LEDGER

OCTOBER_ENDS = 1_793_491_199.0
"""2026-10-31 23:59:59 UTC."""
DAY_S = 86_400.0


def create_key(path: Path, *, allotment: int = 10) -> str:
    with LedgerFile(path) as file, file.begin() as connection:
        return keys.create(connection, "tester", allotment=allotment, groups=None, now=0.0)


def result_with(text: str) -> dict[str, Any]:
    return {
        "test_result_id": 1,
        "case_id": "case-01",
        "test_case_id": None,
        "user_input": text,
        "model_response": text,
        "score": 0.5,
        "passed": True,
    }


def texts_in(path: Path) -> list[str]:
    with closing(sqlite3.connect(path)) as connection:
        return [text for (text,) in connection.execute("SELECT user_input FROM result")]


def test_the_file_is_private_and_holds_no_key(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"

    text = create_key(path)

    assert path.stat().st_mode & 0o777 == 0o600
    assert text.encode() not in path.read_bytes()


def test_a_ledger_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    create_key(path)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()

    with pytest.raises(LedgerTooNew, match="later version"):
        LedgerFile(path)


def test_a_ledger_that_was_moved_takes_no_more_charges(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    create_key(path)

    with LedgerFile(path) as file:
        with file.begin() as connection:
            assert len(keys.list_keys(connection)) == 1
        path.rename(tmp_path / "moved.db")

        with pytest.raises(LedgerError) as caught, file.begin() as connection:
            keys.list_keys(connection)

    assert str(caught.value) == (
        f"{path}: it was moved or renamed while the service had it open; put it back from"
        f" {tmp_path / 'moved.db'}, and start the service again"
    )
    assert not path.exists()


def modes_in(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()}


def refusal_of(path: Path) -> str:
    with pytest.raises(LedgerError) as caught:
        LedgerFile(path)
    return str(caught.value).replace(str(path), "LEDGER")


@pytest.mark.parametrize("mode", [0o644, 0o660, 0o666], ids=oct)
def test_a_ledger_that_others_could_read_becomes_private_with_its_log(
    tmp_path: Path, mode: int
) -> None:
    running, killed = tmp_path / "running.db", tmp_path / "killed"
    killed.mkdir()
    with LedgerFile(running) as file:
        with file.begin() as connection:
            keys.create(connection, "tester", allotment=1, groups=None, now=0.0)
        # The files that a killed service leaves.
        for suffix in ("", "-wal", "-shm"):
            copy(f"{running}{suffix}", killed / f"ledger.db{suffix}")
    for copied in killed.iterdir():
        copied.chmod(mode)

    with LedgerFile(killed / "ledger.db") as file, file.begin() as connection:
        modes = modes_in(killed)
        [key] = keys.list_keys(connection)

    assert modes == {"ledger.db": 0o600, "ledger.db-wal": 0o600, "ledger.db-shm": 0o600}
    assert key.name == "tester"


@pytest.mark.parametrize("table", ["CREATE TABLE mine (id)", "PRAGMA application_id = 7"])
def test_another_database_is_refused_and_left_unchanged(tmp_path: Path, table: str) -> None:
    path = tmp_path / "other.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.execute(table)
    before = path.read_bytes()

    message = refusal_of(path)

    assert message == (
        "LEDGER: is another database, not the ledger of a service; name another file as `ledger`"
    )
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (
            b"listen: {}\n",
            "is not the ledger of a service (not a SQLite database); name another file",
        ),
        (
            b"SQLite format 3\0" + b"\xff" * 600,
            "is not the ledger of a service (not a SQLite database); name another file",
        ),
    ],
)
def test_a_file_that_is_not_a_database_is_refused_and_left_unchanged(
    tmp_path: Path, content: bytes, expected: str
) -> None:
    path = tmp_path / "serve.yaml"
    path.write_bytes(content)

    assert refusal_of(path) == f"LEDGER: {expected}"
    assert path.read_bytes() == content


def test_a_path_that_cannot_hold_a_ledger_is_an_error_that_says_what_to_do(tmp_path: Path) -> None:
    pipe, twice = tmp_path / "pipe", tmp_path / "twice.db"
    os.mkfifo(pipe)
    create_key(twice)
    (tmp_path / "second.db").hardlink_to(twice)

    assert refusal_of(tmp_path) == "LEDGER: is a folder; name a file for the ledger"
    assert "does not exist; create it first" in refusal_of(tmp_path / "nowhere" / "ledger.db")
    assert refusal_of(pipe) == "LEDGER: is not a regular file; name another file for the ledger"
    assert "two names damages a ledger; remove all but one" in refusal_of(twice)


@pytest.mark.parametrize("kind", ["nfs4", "cifs"])
def test_a_ledger_on_a_shared_disk_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    monkeypatch.setattr("engine.sqlite.files.file_system", lambda folder: kind)

    message = refusal_of(tmp_path / "ledger.db")

    assert message == (
        f"LEDGER: a ledger does not work on this file system ({kind}): other machines can also write there,"
        " and SQLite's locks do not stop them; put the ledger on a local disk with the setting"
        " `ledger`"
    )
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("pragma", "expected"),
    [
        ("max_page_count = 1", "the disk is full; free some space, then try again"),
        ("query_only = 1", "the ledger is read-only; fix its permissions"),
    ],
)
def test_a_ledger_that_can_no_longer_be_written_is_an_error_that_says_what_to_do(
    tmp_path: Path, pragma: str, expected: str
) -> None:
    path = tmp_path / "ledger.db"

    def grow() -> None:
        with file.begin() as connection:
            connection.exec_driver_sql("CREATE TABLE more (content)")

    with LedgerFile(path) as file:
        with file.begin() as connection:
            connection.exec_driver_sql(f"PRAGMA {pragma}")
        with pytest.raises(LedgerError) as caught:
            grow()

    assert str(caught.value) == f"{path}: {expected}"


def test_a_ledger_that_is_opened_twice_in_a_process_keeps_its_locks(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    create_key(path)

    with LedgerFile(path) as first, first.begin() as connection:
        keys.list_keys(connection)
        prepare(path, LEDGER)
        writer = subprocess.run(  # noqa: S603
            [sys.executable, "-c", WRITING, str(path)], capture_output=True, text=True, check=True
        )

    assert writer.stdout == "database is locked\n"


WRITING = """
import sqlite3, sys
try:
    sqlite3.connect(sys.argv[1], timeout=0).execute("BEGIN IMMEDIATE")
except sqlite3.OperationalError as error:
    print(error)
"""


async def test_one_service_uses_a_ledger_while_commands_change_its_keys(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"

    async with Ledger(path, SystemClock(), history_days=1) as ledger:
        text = create_key(path)
        with pytest.raises(LedgerError, match="another `nightsweep serve`"):
            await Ledger(path, SystemClock(), history_days=1).__aenter__()

        assert await ledger.find_key(text) is not None
    async with Ledger(path, SystemClock(), history_days=1):
        pass


async def test_a_new_month_in_utc_begins_with_nothing_used(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    text = create_key(path, allotment=1)
    clock = FakeClock(OCTOBER_ENDS)
    async with Ledger(path, clock, history_days=1) as ledger:
        key = await ledger.find_key(text)
        assert key is not None
        reservation = await ledger.reserve(key, 1)
        await ledger.save_response("scope", "digest", b"{}", reservation)
        assert await ledger.count_used(key) == 1
        assert await ledger.reserve(key, 1) is None

        await clock.advance(1)

        assert await ledger.count_used(key) == 0
        assert await ledger.reserve(key, 1) is not None


async def test_reservations_of_a_killed_service_are_released_and_its_usage_is_kept(
    tmp_path: Path,
) -> None:
    path = tmp_path / "ledger.db"
    text = create_key(path, allotment=5)
    async with Ledger(path, SystemClock(), history_days=1) as first:
        key = await first.find_key(text)
        assert key is not None
        reservation = await first.reserve(key, 5)
        await first.save_response("scope", "digest", b"{}", reservation)
        await first.save_response("scope", "digest", b"{}", reservation)

    async with Ledger(path, SystemClock(), history_days=1) as second:
        assert await second.count_used(key) == 1
        assert await second.reserve(key, 5) is None
        assert await second.reserve(key, 4) is not None


async def test_a_revoked_key_and_a_lowered_allotment_take_effect_at_once(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    text = create_key(path)
    async with Ledger(path, SystemClock(), history_days=1) as ledger:
        key = await ledger.find_key(text)
        assert key is not None
        with LedgerFile(path) as file, file.begin() as connection:
            keys.change(connection, "tester", allotment=2)
            keys.revoke(connection, "tester", now=1.0)

        assert await ledger.reserve(key, 3) is None
        assert await ledger.find_key(text) is None


def test_a_change_of_a_key_reads_and_writes_in_one_transaction(
    tmp_path: Path,
) -> None:
    path = tmp_path / "ledger.db"
    text = create_key(path, allotment=1)

    with LedgerFile(path) as file:
        with file.begin() as connection:
            keys.list_keys(connection)
            with (
                closing(sqlite3.connect(path, timeout=0)) as service,
                pytest.raises(sqlite3.OperationalError, match="locked"),
            ):
                service.execute("UPDATE usage SET used = used + 1")
            keys.change(connection, "tester", allotment=2)
        with file.begin() as connection:
            changed = keys.find(connection, text)

    assert changed is not None
    assert changed.allotment == 2


async def test_the_end_of_an_evaluation_deletes_no_paid_reply_of_another(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    text = create_key(path)
    async with Ledger(path, SystemClock(), history_days=1) as ledger:
        key = await ledger.find_key(text)
        assert key is not None
        reservation = await ledger.reserve(key, 2)
        await ledger.save_response("ended", "digest", b"its reply", reservation)
        await ledger.save_response("running", "digest", b"another reply", reservation)

        await ledger.record_evaluation(key, "single_turn", 1, [], scope="ended")

        assert await ledger.list_digests("ended") == set()
        assert await ledger.find_response("running", "digest") == b"another reply"
        assert await ledger.count_charged("running") == 1


async def test_an_evaluation_is_deleted_with_its_texts_after_the_days_of_history(
    tmp_path: Path,
) -> None:
    path = tmp_path / "ledger.db"
    text = create_key(path)
    clock = FakeClock(OCTOBER_ENDS)
    async with Ledger(path, clock, history_days=1) as ledger:
        key = await ledger.find_key(text)
        assert key is not None
        await ledger.record_evaluation(key, "single_turn", 1, [result_with("old")], scope="first")
        await clock.advance(DAY_S + 1)
        kept = texts_in(path)
        await ledger.record_evaluation(key, "single_turn", 2, [result_with("new")], scope="second")
        left = texts_in(path)
        await clock.advance(DAY_S + 1)
    async with Ledger(path, clock, history_days=1) as ledger:
        listed = await ledger.list_results(key, "single_turn", limit=9, offset=0)

    assert kept == ["old"]
    assert left == ["new"]
    assert listed == []
    assert texts_in(path) == []


def request(name: str, *calls: int, **limits: Any) -> PermitRequest:
    limit = PermitLimit(name=name, **limits)
    return PermitRequest(caller="tester", calls=calls, limits=(limit,))


async def test_the_rate_of_permits_holds_across_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    clock = FakeClock(OCTOBER_ENDS)
    async with Ledger(path, clock, history_days=1) as first:
        granted = await first.take_permits(request("a", 0, rate_per_min=1))
        assert granted.slots == (clock.now(),)

    async with Ledger(path, clock, history_days=1) as second:
        refused = await second.take_permits(request("a", 0, rate_per_min=1))
        granted = await second.take_permits(request("b", 0, rate_per_min=1))

    assert refused.slots == ()
    assert refused.next_at >= clock.now() + 60
    assert granted.slots == (clock.now(),)


async def test_the_tokens_that_answers_took_count_across_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    clock = FakeClock(OCTOBER_ENDS)
    async with Ledger(path, clock, history_days=1) as first:
        [at] = (await first.take_permits(request("a", 600, tokens_per_min=1000))).slots
        full = await first.take_permits(request("a", 600, tokens_per_min=1000))
        await first.settle_permit(PermitStart(at=at, estimate=600, names=("a",)), taken=100)

    async with Ledger(path, clock, history_days=1) as second:
        clock.skip(30)
        granted = await second.take_permits(request("a", 600, 600, tokens_per_min=1000))

    assert full.slots == ()
    assert full.next_at >= at + 60
    assert granted.slots == (clock.now(),)
    assert granted.next_at >= clock.now() + 60


async def test_a_reply_is_not_lost_if_its_tokens_cannot_be_recorded(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    async with Ledger(path, SystemClock(), history_days=1) as ledger:
        permit = await ledger.permits.wait([PermitLimit(name="a", tokens_per_min=9)], tokens=9)
        await ledger._transact(
            lambda connection: connection.exec_driver_sql("PRAGMA query_only = 1")
        )

        await permit.settle(1)

    async with Ledger(path, SystemClock(), history_days=1) as ledger:
        assert not (await ledger.take_permits(request("a", 1, tokens_per_min=9))).slots


@pytest.mark.parametrize("name", ["", "a b", "-a", "a\n", "x" * 65])
def test_a_name_that_could_garble_a_log_is_refused(tmp_path: Path, name: str) -> None:
    with (
        LedgerFile(tmp_path / "ledger.db") as file,
        file.begin() as connection,
        pytest.raises(UsageError, match="cannot be the name"),
    ):
        keys.create(connection, name, allotment=1, groups=None, now=0.0)

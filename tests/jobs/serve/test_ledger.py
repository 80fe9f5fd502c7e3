"""The ledger: its file, its keys, the months."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from engine.clock import SystemClock
from engine.core.permits import PermitLimit, PermitRequest, PermitStart
from engine.kinds import UsageError
from engine.testing import FakeClock
from jobs.serve.ledger import Ledger, LedgerError, LedgerFile, LedgerTooNew, keys

NOVEMBER_ENDS = 1_793_491_199.0
"""2026-10-31 23:59:59 UTC."""
DAY_S = 86_400.0


def key_in(path: Path, *, allotment: int = 10) -> str:
    with LedgerFile(path) as file, file.begin() as connection:
        return keys.create(connection, "tester", allotment=allotment, groups=None, now=0.0)


def result_saying(text: str) -> dict[str, Any]:
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

    text = key_in(path)

    assert path.stat().st_mode & 0o777 == 0o600
    assert text.encode() not in path.read_bytes()


def test_a_ledger_of_a_later_version_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    key_in(path)
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()

    with pytest.raises(LedgerTooNew, match="later version"):
        LedgerFile(path)


def test_a_ledger_that_is_moved_away_under_a_service_takes_no_more_charges(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    key_in(path)

    with LedgerFile(path) as file:
        with file.begin() as connection:
            assert len(keys.all_of(connection)) == 1
        path.rename(tmp_path / "moved.db")

        with pytest.raises(LedgerError) as caught, file.begin() as connection:
            keys.all_of(connection)

    assert str(caught.value) == (
        f"{path}: it was moved or renamed while the service had it open; put it back from"
        f" {tmp_path / 'moved.db'}, and start the service again"
    )
    assert not path.exists()


def test_another_database_and_a_file_that_is_none_are_refused(tmp_path: Path) -> None:
    other = tmp_path / "other.db"
    with sqlite3.connect(other) as connection:
        connection.execute("CREATE TABLE mine (id)")
    connection.close()
    text = tmp_path / "notes.txt"
    text.write_text("not a database, and long enough to be read as one " * 100, encoding="utf-8")

    with pytest.raises(LedgerError, match="another database"):
        LedgerFile(other)
    with pytest.raises(LedgerError, match="not a database; name another file"):
        LedgerFile(text)
    with pytest.raises(LedgerError, match="cannot be opened"):
        LedgerFile(tmp_path / "nowhere" / "ledger.db")


async def test_one_service_works_on_a_ledger_while_keys_may_be_changed(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"

    async with Ledger(path, SystemClock(), history_days=1) as ledger:
        text = key_in(path)
        with pytest.raises(LedgerError, match="another `nightsweep serve`"):
            await Ledger(path, SystemClock(), history_days=1).__aenter__()

        assert await ledger.key(text) is not None
    async with Ledger(path, SystemClock(), history_days=1):
        pass


async def test_a_new_month_in_utc_begins_with_nothing_used(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    text = key_in(path, allotment=1)
    clock = FakeClock(NOVEMBER_ENDS)
    async with Ledger(path, clock, history_days=1) as ledger:
        key = await ledger.key(text)
        assert key is not None
        held = await ledger.reserve(key, 1)
        await ledger.keep("scope", "digest", b"{}", held)
        assert await ledger.used(key) == 1
        assert await ledger.reserve(key, 1) is None

        await clock.advance(1)

        assert await ledger.used(key) == 0
        assert await ledger.reserve(key, 1) is not None


async def test_what_a_killed_service_held_is_free_again_and_what_it_used_is_not(
    tmp_path: Path,
) -> None:
    path = tmp_path / "ledger.db"
    text = key_in(path, allotment=5)
    async with Ledger(path, SystemClock(), history_days=1) as first:
        key = await first.key(text)
        assert key is not None
        held = await first.reserve(key, 5)
        await first.keep("scope", "digest", b"{}", held)
        await first.keep("scope", "digest", b"{}", held)

    async with Ledger(path, SystemClock(), history_days=1) as second:
        assert await second.used(key) == 1
        assert await second.reserve(key, 5) is None
        assert await second.reserve(key, 4) is not None


async def test_a_revoked_key_and_a_lowered_allotment_count_at_once(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    text = key_in(path)
    async with Ledger(path, SystemClock(), history_days=1) as ledger:
        key = await ledger.key(text)
        assert key is not None
        with LedgerFile(path) as file, file.begin() as connection:
            keys.change(connection, "tester", allotment=2)
            keys.revoke(connection, "tester", now=1.0)

        assert await ledger.reserve(key, 3) is None
        assert await ledger.key(text) is None


def test_nothing_is_written_between_what_a_change_of_a_key_reads_and_what_it_writes(
    tmp_path: Path,
) -> None:
    path = tmp_path / "ledger.db"
    text = key_in(path, allotment=1)

    with LedgerFile(path) as file:
        with file.begin() as connection:
            keys.all_of(connection)
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


async def test_the_end_of_an_evaluation_forgets_no_paid_reply_of_another(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    text = key_in(path)
    async with Ledger(path, SystemClock(), history_days=1) as ledger:
        key = await ledger.key(text)
        assert key is not None
        held = await ledger.reserve(key, 2)
        await ledger.keep("ended", "digest", b"its reply", held)
        await ledger.keep("running", "digest", b"another reply", held)

        await ledger.finish(key, "single_turn", 1, [], scope="ended")

        assert await ledger.digests("ended") == set()
        assert await ledger.kept("running", "digest") == b"another reply"
        assert await ledger.kept_tests("running") == 1


async def test_an_evaluation_leaves_the_history_with_its_texts_when_its_days_are_over(
    tmp_path: Path,
) -> None:
    path = tmp_path / "ledger.db"
    text = key_in(path)
    clock = FakeClock(NOVEMBER_ENDS)
    async with Ledger(path, clock, history_days=1) as ledger:
        key = await ledger.key(text)
        assert key is not None
        await ledger.finish(key, "single_turn", 1, [result_saying("old")], scope="first")
        await clock.advance(DAY_S + 1)
        kept = texts_in(path)
        await ledger.finish(key, "single_turn", 2, [result_saying("new")], scope="second")
        left = texts_in(path)
        await clock.advance(DAY_S + 1)
    async with Ledger(path, clock, history_days=1) as ledger:
        listed = await ledger.page(key, "single_turn", limit=9, offset=0)

    assert kept == ["old"]
    assert left == ["new"]
    assert listed == []
    assert texts_in(path) == []


def request(name: str, *calls: int, **limits: Any) -> PermitRequest:
    limit = PermitLimit(name=name, **limits)
    return PermitRequest(who="tester", calls=calls, limits=(limit,))


async def test_permits_keep_their_rate_over_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    clock = FakeClock(NOVEMBER_ENDS)
    async with Ledger(path, clock, history_days=1) as first:
        granted = await first.take_permits(request("a", 0, rate_per_min=1))
        assert granted.slots == (clock.now(),)

    async with Ledger(path, clock, history_days=1) as second:
        refused = await second.take_permits(request("a", 0, rate_per_min=1))
        granted = await second.take_permits(request("b", 0, rate_per_min=1))

    assert refused.slots == ()
    assert refused.next_at >= clock.now() + 60
    assert granted.slots == (clock.now(),)


async def test_permits_keep_to_the_tokens_that_answers_took_over_a_restart(tmp_path: Path) -> None:
    path = tmp_path / "ledger.db"
    clock = FakeClock(NOVEMBER_ENDS)
    async with Ledger(path, clock, history_days=1) as first:
        [at] = (await first.take_permits(request("a", 600, tokens_per_min=1000))).slots
        full = await first.take_permits(request("a", 600, tokens_per_min=1000))
        await first.settle_permit(PermitStart(at=at, estimate=600, names=("a",)), taken=100)

    async with Ledger(path, clock, history_days=1) as second:
        clock._now += 30
        granted = await second.take_permits(request("a", 600, 600, tokens_per_min=1000))

    assert full.slots == ()
    assert full.next_at >= at + 60
    assert granted.slots == (clock.now(),)
    assert granted.next_at >= clock.now() + 60


@pytest.mark.parametrize("name", ["", "a b", "-a", "a\n", "x" * 65])
def test_a_name_that_no_log_should_hold_is_refused(tmp_path: Path, name: str) -> None:
    with (
        LedgerFile(tmp_path / "ledger.db") as file,
        file.begin() as connection,
        pytest.raises(UsageError, match="cannot be the name"),
    ):
        keys.create(connection, name, allotment=1, groups=None, now=0.0)

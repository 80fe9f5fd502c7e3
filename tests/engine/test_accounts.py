"""Rates and quotas of one key, which goes by several names."""

import sqlite3
from contextlib import closing
from copy import copy
from pathlib import Path
from typing import Any

import anyio
import pytest

from engine import Sweep
from engine.kinds import Allotment
from engine.limits import bucket_of
from engine.report.words import requests_line
from engine.store import Bucket
from engine.testing import FakeClock, ScriptedService
from tests.engine.scenes import NOW, RARE_POLLS, good, most_in_a_minute, opened, starts, sweep
from tests.engine.store.scenes import rows

KEY = "sk-4f9a81c27be05d63"
RATE = 10
LIMITS = {"rate_per_min": RATE}


def named(service: ScriptedService, address: str, reference: str) -> ScriptedService:
    """The service, reached at an address with the key of a reference; what it is asked is recorded together."""

    named = copy(service)
    named.identity, named.credential = address, reference
    return named


async def work(path: Path, clock: FakeClock, service: Any, of: Sweep) -> None:
    async with opened(path, service, clock, settings=RARE_POLLS) as engine:
        run = await engine.submit(of)
        await run.execute()


@pytest.mark.parametrize(
    ("address", "reference"),
    [
        ("http://127.0.0.1:9/v1", "env:K2"),
        ("http://LOCALHOST:9/v1/", "file:{folder}/key"),
        ("http://localhost:9/v1", "dotenv:{folder}/.env#K"),
    ],
)
async def test_one_key_has_one_rate_whatever_it_and_its_address_are_called(
    address: str,
    reference: str,
    tmp_path: Path,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("K", KEY)
    monkeypatch.setenv("K2", KEY)
    (tmp_path / "key").write_text(f"{KEY}\n")
    (tmp_path / ".env").write_text(f"K='{KEY}'\n")
    shared = ScriptedService(good)
    one = named(shared, "http://localhost:9/v1", "env:K")
    other = named(shared, address, reference.format(folder=tmp_path))
    path = tmp_path / "store.db"

    async with clock.jumping(), anyio.create_task_group() as tasks:
        for service, name in ((one, "one"), (other, "other")):
            of = sweep(service, repeats=RATE, name=name, limits=LIMITS, reuse=False)
            tasks.start_soon(work, path, clock, service, of)

    assert len(starts(shared)) == 2 * RATE
    assert most_in_a_minute(starts(shared)) <= RATE
    assert KEY.encode() not in path.read_bytes()


async def test_two_keys_at_one_address_have_a_rate_each(
    tmp_path: Path, clock: FakeClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("K", KEY)
    monkeypatch.setenv("K2", KEY.upper())
    shared = ScriptedService(good)

    async with clock.jumping(), anyio.create_task_group() as tasks:
        for reference in ("env:K", "env:K2"):
            service = named(shared, "http://localhost:9/v1", reference)
            of = sweep(service, repeats=RATE, name=reference[4:], limits=LIMITS, reuse=False)
            tasks.start_soon(work, tmp_path / "store.db", clock, service, of)

    assert RATE < most_in_a_minute(starts(shared)) <= 2 * RATE


@pytest.mark.parametrize(("held_s", "earliest_s"), [(0, 60), (90, 90)])
async def test_what_an_older_version_kept_of_an_account_holds_after_an_upgrade(
    held_s: float,
    earliest_s: float,
    tmp_path: Path,
    clock: FakeClock,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("K", KEY)
    # Each answer costs two tests: what is left is enough for one more.
    shared = ScriptedService(good, allotment=Allotment(used=0, allotted=42))
    service = named(shared, "http://127.0.0.1:9/v1", "env:K")
    path = tmp_path / "store.db"

    async with clock.jumping():
        first = sweep(service, repeats=20, name="first", limits={"rate_per_min": 10 * RATE})
        await work(path, clock, service, first)
        name_as_before(path, "http://127.0.0.1:9/v1 env:K", held_until=NOW + held_s)
        # It tells no figure from now on.
        monkeypatch.setattr(shared, "allotment", None)
        second = sweep(service, repeats=5, name="second", limits=LIMITS, reuse=False)
        await work(path, clock, service, second)

    [only] = starts(shared)[20:]
    assert only >= NOW + earliest_s
    assert rows(path, "SELECT used FROM quota") == [(42,)]


def name_as_before(path: Path, alias: str, *, held_until: float) -> None:
    """Name an account in a store as versions did that distinguished keys by their references."""
    with closing(sqlite3.connect(path)) as store, store:
        for (name,) in store.execute("SELECT name FROM quota").fetchall():
            store.execute("UPDATE quota SET name = ? WHERE name = ?", (alias, name))
            store.execute(
                "UPDATE rate_bucket SET name = replace(name, ?, ?), blocked_until = ?",
                (name, alias, held_until),
            )


async def test_the_rate_of_another_process_is_shown_and_counts_in_the_time_left(
    tmp_path: Path, clock: FakeClock
) -> None:
    service, path = ScriptedService(good), tmp_path / "store.db"
    limits = {"rate_per_min": 10 * RATE}

    async with opened(path, service, clock) as engine:
        async with clock.jumping():
            await (await engine.submit(sweep(service, repeats=1, limits=limits))).execute()
        run = await engine.submit(sweep(service, repeats=1 + 10 * RATE, limits=limits))
        alone = await run.status()
        async with opened(path, service, clock) as other:
            account = str(run._row.account)
            [(lane,)] = rows(path, "SELECT DISTINCT lane FROM job")
            of_key = Bucket(name=account, rate_per_min=RATE)
            of_model = Bucket(name=bucket_of(account, lane), rate_per_min=RATE)
            await other.store.limits.take_start(0, [of_key], instead_of=None, lead_s=0.0)
            beside = await run.status()
            await other.store.limits.take_start(0, [of_model], instead_of=None, lead_s=0.0)
            both = await run.status()
        after = await run.status()

    assert requests_line(alone) == requests_line(after) == f"requests: 1 of {10 * RATE} per minute"
    assert (
        requests_line(beside) == f"requests: 1 per minute; another process keeps this key to {RATE}"
    )
    assert requests_line(both) == (
        f"requests: 1 per minute; another process keeps this key to {RATE}, {lane} to {RATE}"
    )
    assert beside.seconds_left is not None
    assert alone.seconds_left is not None
    assert beside.seconds_left == pytest.approx(10 * alone.seconds_left, rel=0.1)

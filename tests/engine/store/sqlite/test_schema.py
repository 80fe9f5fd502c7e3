import ast
import json
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
from alembic.script import ScriptDirectory
from sqlalchemy import create_engine

from engine.core.errors import StoreError
from engine.store.revisions import migrations_folder
from engine.store.schema import HEAD, metadata
from engine.store.sqlite.liveness import WorkerLock
from engine.store.sqlite.migrate import migrate
from engine.testing import FakeClock, ScriptedService
from tests.engine.scenes import good
from tests.engine.scenes import opened as opened_engine
from tests.engine.store.scenes import NOW, rows
from tests.engine.store.sqlite import revisions
from tests.paths import ROOT


def schema_of(path: Path) -> dict[str, str]:
    found = rows(path, "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL")
    return {name: normalise(text) for name, text in found}


def normalise(text: str) -> str:
    """A table's constraints may be written in any order, and its name in quotes as SQLite does where it
    renames one; everything else may not differ."""
    if text.startswith("CREATE TRIGGER"):
        return " ".join(text.split())
    text = re.sub(r'^CREATE TABLE "(\w+)"', r"CREATE TABLE \1", text)
    head, _, body = " ".join(text.split()).partition("(")
    parts = re.split(r', (?=CONSTRAINT|"?[a-z_]+"? [A-Z])', body.rpartition(")")[0].strip())
    return f"{head}({', '.join(sorted(part.strip() for part in parts))})"


def create_store(folder: Path) -> Path:
    """A new store, as this version of the code creates it."""
    path = folder / "store.db"
    path.touch()
    migrate(path, folder / "lock")
    return path


def test_all_revisions_make_what_the_code_declares_checks_and_partial_indexes_included(
    tmp_path: Path,
) -> None:
    declared = tmp_path / "declared.db"
    database = create_engine(f"sqlite:///{declared}")
    metadata.create_all(database)
    database.dispose()
    migrated = tmp_path / "migrated.db"

    revisions.upgrade(migrated)

    found = schema_of(migrated)
    assert found == {**schema_of(declared), "alembic_version": found["alembic_version"]}
    assert "CHECK ((state = 'running') = (owner IS NOT NULL))" in found["job"]
    assert "WHERE state IN ('pending', 'waiting'" in found["ix_job_claimable"]


def test_a_new_store_is_as_if_all_revisions_had_made_it(tmp_path: Path) -> None:
    migrated = tmp_path / "migrated.db"
    revisions.upgrade(migrated)

    new = create_store(tmp_path)

    assert schema_of(new) == schema_of(migrated)
    for path in (new, migrated):
        assert rows(path, "SELECT version_num FROM alembic_version") == [(HEAD,)]


def test_the_code_speaks_the_newest_revision() -> None:
    assert ScriptDirectory.from_config(revisions.config()).get_heads() == [HEAD]


def test_a_revision_imports_nothing_of_ours() -> None:
    for revision in (ROOT / "alembic" / "versions").glob("*.py"):
        imported = {
            name.split(".")[0]
            for node in ast.walk(ast.parse(revision.read_text(encoding="utf-8")))
            for name in (
                [alias.name for alias in node.names]
                if isinstance(node, ast.Import)
                else [node.module or ""]
                if isinstance(node, ast.ImportFrom)
                else []
            )
        }

        assert imported <= {"sqlalchemy", "alembic"}, revision


def test_the_folder_of_migrations_does_not_hide_the_library() -> None:
    import alembic

    assert not (ROOT / "alembic" / "__init__.py").exists()
    assert "site-packages" in str(alembic.__file__)


def test_a_store_whose_migrations_are_all_taken_back_is_empty_and_can_be_opened_again(
    tmp_path: Path,
) -> None:
    path = create_store(tmp_path)
    whole = schema_of(path)

    revisions.downgrade(path, "base")

    # SQLite keeps its own table of the ids that were used.
    left = {name: whole[name] for name in ("alembic_version", "sqlite_sequence")}
    assert schema_of(path) == left
    migrate(path, tmp_path / "lock")
    assert schema_of(path) == whole


EDITED = """
INSERT INTO run (id, name, service, evaluation, target, identity, sweep, digest, expanded, generation,
    state, created_at, updated_at)
VALUES
    (1, 'edited', 's', 'e', 't', 'i',
     '{"sweep": {"matrix": {"thresholds": [0.5]}, "include": [{"thresholds": [0.3]}]}}',
     'd', 'd', 2, 'finished', 0, 0),
    (2, 'half written', 's', 'e', 't', 'i', '{"sweep": {"matrix": {}, "include": []}}',
     'd', NULL, 2, 'active', 0, 0);
INSERT INTO job (id, run_id, key, generation, lane, cost_class, labels, documents, repeat, threshold,
    cells, cell_count, state, fence, attempts, due_at)
VALUES
    (1, 1, 'a', 2, 'm', 'c', '{}', '{}', 1, 0.7, '[0.3, 0.5, 0.7]', 3, 'succeeded', 1, 1, 0),
    (2, 1, 'b', 1, 'm', 'c', '{}', '{}', 1, 0.7, '[0.3, 0.7]', 2, 'succeeded', 1, 1, 0),
    (3, 1, 'c', 2, 'm', 'c', '{}', '{}', 1, 0.5, '[0.5]', 1, 'succeeded', 1, 1, 0),
    (4, 1, 'd', 1, 'm', 'c', '{}', '{}', 1, NULL, '[]', 1, 'succeeded', 1, 1, 0),
    (5, 2, 'a', 1, 'm', 'c', '{}', '{}', 1, 0.7, '[0.7]', 1, 'succeeded', 1, 1, 0);
"""


def test_what_edited_sweeps_asked_once_is_past_in_a_store_that_is_brought_up_to_date(
    tmp_path: Path,
) -> None:
    path = create_store(tmp_path)
    revisions.downgrade(path, "0008")
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(EDITED)

    revisions.upgrade(path, "0009")

    found = rows(path, "SELECT id, cells, past_cells, cell_count FROM job")
    assert [(key, json.loads(cells), json.loads(past), n) for key, cells, past, n in found] == [
        (1, [0.3, 0.5], [0.7], 2),
        (2, [], [0.3, 0.7], 0),
        (3, [0.5], [], 1),
        (4, [], [], 0),
        # Which cells its sweep asks for is known once that is wholly written out.
        (5, [0.7], [], 1),
    ]


def test_the_groups_of_earlier_sweeps_are_groups_in_a_store_that_is_brought_up_to_date(
    tmp_path: Path,
) -> None:
    path = create_store(tmp_path)
    revisions.downgrade(path, "0023")
    axes = [{"name": name, "field": name[:-1], "sort": "text"} for name in ("models", "groups")]
    sweeps = {"with facts": {"facts": {"axes": axes}, "repeats": 2}, "without": {"repeats": 1}}
    with closing(sqlite3.connect(path)) as connection, connection:
        connection.executemany(
            "INSERT INTO run (name, sweep, service, evaluation, target, identity, digest, generation,"
            " state, created_at, updated_at) VALUES (?, ?, 's', 'e', 't', 'i', 'd', 1, 'finished', 0, 0)",
            [(name, json.dumps({"sweep": one})) for name, one in sweeps.items()],
        )

    revisions.upgrade(path, "0024")

    found = {
        name: json.loads(one)["sweep"] for name, one in rows(path, "SELECT name, sweep FROM run")
    }
    assert [one["sort"] for one in found["with facts"]["facts"]["axes"]] == ["text", "group"]
    assert found["with facts"]["repeats"] == 2
    assert found["without"] == sweeps["without"]
    revisions.downgrade(path, "0023")
    kept = {
        name: json.loads(one)["sweep"] for name, one in rows(path, "SELECT name, sweep FROM run")
    }
    assert kept == sweeps


def test_a_store_is_marked_as_ours(tmp_path: Path) -> None:
    path = create_store(tmp_path)

    assert rows(path, "PRAGMA application_id") == [(int.from_bytes(b"NSWP"),)]
    assert rows(path, "PRAGMA journal_mode") == [("wal",)]


NEXT = """
import sqlalchemy as sa
from alembic import op

revision = "next"
down_revision = "{head}"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table("half", sa.Column("id", sa.Integer(), primary_key=True))
    op.execute("{statement}")


def downgrade() -> None:
    op.drop_table("half")
"""


@pytest.mark.parametrize(
    ("statement", "message"),
    [
        ("INSERT INTO nowhere VALUES (1)", "no such table"),
        ("UPDATE event SET run_id = 99", "would break 1 references"),
    ],
)
def test_a_migration_that_fails_half_way_leaves_the_store_as_it_was(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, statement: str, message: str
) -> None:
    path = create_store(tmp_path)
    with closing(sqlite3.connect(path)) as connection:
        connection.execute("INSERT INTO event (at, kind, message) VALUES (1, 'kind', 'kept')")
        connection.commit()
    before = schema_of(path)
    folder = tmp_path / "migrations"
    shutil.copytree(migrations_folder(), folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "versions" / "next.py").write_text(NEXT.format(head=HEAD, statement=statement))
    monkeypatch.setattr("engine.store.revisions.migrations_folder", lambda: folder)
    monkeypatch.setattr("engine.store.sqlite.migrate.HEAD", "next")

    with pytest.raises(StoreError, match=message):
        migrate(path, tmp_path / "lock")

    assert schema_of(path) == before
    with closing(sqlite3.connect(path)) as connection:
        assert connection.execute("SELECT version_num FROM alembic_version").fetchall() == [(HEAD,)]
        assert connection.execute("SELECT run_id, message FROM event").fetchall() == [
            (None, "kept")
        ]


@pytest.fixture
def older(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A store of a version that comes before this one."""
    path = create_store(tmp_path)
    folder = tmp_path / "migrations"
    shutil.copytree(migrations_folder(), folder, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "versions" / "next.py").write_text(NEXT.format(head=HEAD, statement="SELECT 1"))
    monkeypatch.setattr("engine.store.revisions.migrations_folder", lambda: folder)
    monkeypatch.setattr("engine.store.sqlite.migrate.HEAD", "next")
    return path


def test_a_store_that_an_earlier_version_works_on_is_brought_up_to_date_once_that_has_ended(
    tmp_path: Path, older: Path
) -> None:
    # The last one has only opened the store, and waits for the same.
    working, stopped, killed, _ = [WorkerLock(tmp_path / "workers") for _ in range(4)]
    given_up_at = NOW + 600.0
    with closing(sqlite3.connect(older)) as connection, connection:
        connection.executemany(
            "INSERT INTO worker (id, host, pid, started_at, heartbeat_at, ended_at)"
            " VALUES (?, 'lab', ?, ?, ?, ?)",
            [
                (working.id, 42, NOW, NOW, None),
                (stopped.id, 43, NOW + 60.0, NOW, given_up_at),
                (killed.id, 44, NOW, NOW, None),
            ],
        )
    killed._lock.release()
    lock = tmp_path / "workers" / "migration.lock"

    with pytest.raises(StoreError) as refused:
        migrate(older, lock)
    before = schema_of(older)
    working._lock.release()
    with pytest.raises(StoreError, match="process 43 on lab"):
        migrate(older, lock)
    stopped._lock.release()
    migrate(older, lock)

    assert str(refused.value) == (
        f"{older}: an earlier version of Nightsweep is working on it, and two versions cannot share a store:"
        " process 42 on lab (since 2027-01-15 08:00 UTC), process 43 on lab (since 2027-01-15 08:01 UTC);"
        " wait for its end, or stop it with `kill -INT 42 43` (answers are kept), then run this again"
    )
    assert "half" not in before
    assert "half" in schema_of(older)


def test_an_older_store_is_brought_up_to_date(tmp_path: Path, older: Path) -> None:
    migrate(older, tmp_path / "lock")
    migrate(older, tmp_path / "lock")

    assert "half" in schema_of(older)


async def test_the_rows_of_a_store_of_the_first_version_are_the_same_after_migration(
    tmp_path: Path,
) -> None:
    path = revisions.first_store(tmp_path / "store.db")

    async with opened_engine(path, ScriptedService(good), FakeClock(NOW)) as engine:
        runs = {name: await engine.run(name) for name in ("night", "reusing", "paused")}
        found = {name: [row async for row in run.rows()] for name, run in runs.items()}
        columns = await runs["night"].value_columns()
        states = {name: (await run.status()).state.value for name, run in runs.items()}

    assert rows(path, "SELECT version_num FROM alembic_version") == [(HEAD,)]
    assert [
        (row.labels["model"], row.labels["repeat"], row.labels["threshold"], row.failed, row.total)
        for row in found["night"]
    ] == [
        ("a", 1, 0.3, 1, 4),
        ("a", 2, 0.3, 1, 4),
        ("a", 1, 0.5, 2, 4),
        ("a", 2, 0.5, 2, 4),
        ("failing", 1, 0.3, None, None),
        ("failing", 2, 0.3, None, None),
        ("failing", 1, 0.5, None, None),
        ("failing", 2, 0.5, None, None),
    ]
    assert [row.source.value for row in found["night"][1:3]] == ["derived", "measured"]
    assert {row.error for row in found["night"][4:]} == {"no such model: Unknown model: failing"}
    [reused] = found["reusing"]
    assert (reused.source.value, reused.failed, reused.total) == ("reused", 2, 4)
    assert found["paused"] == []
    assert all(row.values == {} for row in (*found["night"], reused))
    assert columns == {}
    assert states == {"night": "finished", "reusing": "finished", "paused": "paused"}

"""Whether a database file is still the one that was opened, with real SQLite connections."""

import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest

from engine.sqlite.database_file import DatabaseFile


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "here" / "store.db"


@pytest.fixture
def database(path: Path) -> Iterator[sqlite3.Connection]:
    path.parent.mkdir()
    with closing(connect(path)) as database:
        database.execute("PRAGMA journal_mode = WAL")
        database.execute("CREATE TABLE note (text)")
        fill(database)
        yield database


@pytest.fixture
def file(path: Path, database: sqlite3.Connection) -> DatabaseFile:
    file = DatabaseFile(path)
    file.remember()
    return file


def connect(path: Path) -> sqlite3.Connection:
    return sqlite3.connect(path, isolation_level=None)


def fill(database: sqlite3.Connection, count: int = 100) -> None:
    database.execute("BEGIN")
    database.executemany("INSERT INTO note VALUES (?)", [("x" * 2000,)] * count)
    database.execute("COMMIT")


def copy_of(path: Path) -> Path:
    copy = path.with_name("copy.db")
    with closing(connect(path)) as source, closing(connect(copy)) as target:
        source.backup(target)
        target.execute("INSERT INTO note VALUES ('other')")
    return copy


def move(path: Path) -> None:
    path.rename(path.with_name("moved.db"))


def move_and_make_another(path: Path) -> None:
    move(path)
    path.touch()


def move_copy_over(path: Path) -> None:
    copy_of(path).replace(path)


def write_copy_over(path: Path) -> None:
    path.write_bytes(copy_of(path).read_bytes())


def empty(path: Path) -> None:
    os.truncate(path, 0)


def cut_short(path: Path) -> None:
    os.truncate(path, 8192)


def write_text_over(path: Path) -> None:
    path.write_text("no database" * 1000)


def remove_folder(path: Path) -> None:
    shutil.rmtree(path.parent)


def move_folder(path: Path) -> None:
    path.parent.rename(path.parent.with_name("there"))


def remove_log(path: Path) -> None:
    Path(f"{path}-wal").unlink()


def remove_index(path: Path) -> None:
    Path(f"{path}-shm").unlink()


@pytest.mark.parametrize(
    ("harm", "what"),
    [
        (Path.unlink, "it was removed"),
        (remove_folder, "it was removed"),
        (move, "it was moved or renamed"),
        (move_and_make_another, "it was moved or renamed, and another file is in its place"),
        (move_folder, "its folder was moved or removed"),
        (move_copy_over, "it was replaced by another file"),
        (write_copy_over, "it was overwritten"),
        (write_text_over, "it was overwritten"),
        (cut_short, "it was overwritten"),
        (empty, "it was emptied"),
        (remove_log, "its log, {path}-wal, was removed or replaced"),
        (remove_index, "its index of the log, {path}-shm, was removed or replaced"),
    ],
)
def test_what_becomes_of_a_file_in_use_is_noticed_and_named(
    path: Path, file: DatabaseFile, harm: Callable[[Path], None], what: str
) -> None:
    database = connect(path)
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    fill(database)
    database.close()
    assert file.loss() is None

    harm(path)

    loss = file.loss()
    assert loss is not None
    assert loss.what == what.format(path=path)


def test_the_new_path_of_a_moved_file_is_found(path: Path, file: DatabaseFile) -> None:
    move(path)

    loss = file.loss()

    assert loss is not None
    assert loss.now_at == path.with_name("moved.db")
    assert not loss.is_gone


def link_and_unlink(path: Path) -> None:
    second = path.with_name("second.db")
    second.hardlink_to(path)
    second.unlink()


def move_and_move_back(path: Path) -> None:
    moved = path.with_name("moved.db")
    path.rename(moved)
    moved.rename(path)


def checkpoint(path: Path) -> None:
    with closing(connect(path)) as database:
        fill(database, 1500)
        database.execute("PRAGMA wal_checkpoint(RESTART)")
        fill(database)
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def rewrite(path: Path) -> None:
    with closing(connect(path)) as database:
        database.execute("DELETE FROM note")
        database.execute("VACUUM")
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def restore_by_sqlite(path: Path) -> None:
    with closing(connect(copy_of(path))) as source, closing(connect(path)) as target:
        source.backup(target)
        target.execute("PRAGMA wal_checkpoint(TRUNCATE)")


def read_it(path: Path) -> None:
    path.with_name("read.db").write_bytes(path.read_bytes())


def change_mode(path: Path) -> None:
    path.chmod(0o640)


@pytest.mark.parametrize(
    "use",
    [
        Path.touch,
        change_mode,
        checkpoint,
        copy_of,
        link_and_unlink,
        move_and_move_back,
        read_it,
        restore_by_sqlite,
        rewrite,
    ],
)
def test_what_other_programs_may_do_to_a_file_in_use_is_no_loss(
    path: Path, file: DatabaseFile, use: Callable[[Path], object]
) -> None:
    for _ in range(3):
        use(path)

        assert file.loss() is None
        path.with_name("copy.db").unlink(missing_ok=True)


def test_a_link_that_is_pointed_elsewhere_is_another_file(path: Path, database: object) -> None:
    link = path.with_name("link.db")
    link.symlink_to(path)
    file = DatabaseFile(link)
    assert file.loss() is None
    other = path.with_name("other.db")
    other.touch()

    link.unlink()
    link.symlink_to(other)

    loss = file.loss()
    assert loss is not None
    assert loss.has_successor


def test_looking_leaves_the_locks_of_this_process_alone(
    path: Path, file: DatabaseFile, database: sqlite3.Connection
) -> None:
    database.execute("BEGIN IMMEDIATE")

    for _ in range(3):
        file.loss()
        file.remember()

    script = (
        "import sqlite3, sys; sqlite3.connect(sys.argv[1], timeout=0).execute('BEGIN IMMEDIATE')"
    )
    other = subprocess.run(  # noqa: S603
        [sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=False
    )
    assert "database is locked" in other.stderr

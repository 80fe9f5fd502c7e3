"""Stores are named by the paths of their files; everything else is refused by name."""

import pytest

from engine.core.errors import UsageError
from engine.core.stores import check_store_name


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (":memory:", "a run in memory could not be resumed"),
        ("file::memory:?cache=shared", "a run in memory could not be resumed"),
        ("file:night?mode=memory&cache=shared", "a run in memory could not be resumed"),
        ("sqlite://", "a run in memory could not be resumed"),
        ("sqlite:///night.db", "sqlite: a store is named by the path of its file, without sqlite:"),
        ("sqlite+aiosqlite:///night.db", "a store is named by the path of its file"),
        ("file:night.db", "file: a store is named by the path of its file, without file:"),
        ("postgresql://me:secret@host/night", "postgresql is not supported"),
        ("postgresql+psycopg:/me:secret@host/night", r"postgresql\+psycopg is not supported"),
        ("mysql://host/night", "such as nightsweep.db; mysql is not supported"),
        ("S3://bucket/night.db", "s3://: a store is a SQLite file on a local disk"),
        ("nonsense://night.db", "nonsense is not supported"),
    ],
)
def test_what_is_no_path_of_a_file_is_refused_by_name(name: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        check_store_name(name)

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "night.db",
        "./file:night.db",
        "/srv/a:b/night.db",
        "C:/night.db",
        "a:b.db",
        "memory",
        "mode=memory",
    ],
)
def test_the_path_of_a_file_is_a_name(name: str) -> None:
    check_store_name(name)

"""Stores are named by the paths of their files, or by URLs; everything else is refused by name."""

from pathlib import Path

import pytest

from engine.core.errors import UsageError
from engine.locations import parse_file, parse_store


@pytest.mark.parametrize(
    ("name", "message"),
    [
        (":memory:", "a run in memory could not be resumed"),
        ("file::memory:?cache=shared", "a run in memory could not be resumed"),
        ("file:night?mode=memory&cache=shared", "a run in memory could not be resumed"),
        ("sqlite:", "names no file, and a run in memory could not be resumed"),
        ("sqlite://", "^sqlite://: names no file, .* write sqlite:///nightsweep.db$"),
        ("sqlite:///", "^sqlite:///: names no file"),
        ("sqlite:///:memory:", "a run in memory could not be resumed"),
        ("sqlite:///%3Amemory%3A", "a run in memory could not be resumed"),
        ("sqlite:///file::memory:", "a run in memory could not be resumed"),
        ("sqlite:night.db", "has three slashes before the path of the file"),
        ("sqlite:/night.db", "as a text: a Path makes one slash of several"),
        ("sqlite://me:secret@host/night.db", "names a host, but a store is a file"),
        ("sqlite:///night.db?key=secret", r"no options; leave out what begins with \? or #"),
        ("sqlite:///night.db#secret", r"no options; leave out what begins with \? or #"),
        ("sqlite:///night%00.db", "has no null characters"),
        ("night\0.db", "has no null characters"),
        ("sqlite+aiosqlite:///night.db", r"^sqlite\+aiosqlite: a store's URL names no driver"),
        ("sqlite3:///night.db", "sqlite3: a store is named by the path of its file"),
        ("file:night.db", "file: a store is named by the path of its file, or by sqlite:///"),
        ("mysql://me:secret@host/night", "such as nightsweep.db, .*; mysql is not supported$"),
        ("S3://bucket/night.db", "s3://: a store is a SQLite file on a local disk"),
        ("nonsense://night.db", "nonsense is not supported"),
    ],
)
def test_what_names_no_file_is_refused_without_repeating_more_than_its_scheme(
    name: str, message: str
) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        parse_store(name)

    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    "name",
    [
        "night.db",
        "./file:night.db",
        "./sqlite:night.db",
        "/srv/a:b/night.db",
        "C:/night.db",
        "a:b.db",
        "a%20b.db",
        "what?.db",
        "memory",
        "mode=memory",
    ],
)
def test_the_path_of_a_file_is_a_name(name: str) -> None:
    assert parse_store(name) == Path(name)
    assert parse_file(name) == Path(name)


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("sqlite:///night.db", "night.db"),
        ("SQLite:///night.db", "night.db"),
        ("sqlite:///runs/night.db", "runs/night.db"),
        ("sqlite:////srv/night.db", "/srv/night.db"),
        ("sqlite:///a%20b%3F.db", "a b?.db"),
        ("sqlite:///me@here.db", "me@here.db"),
    ],
)
def test_a_url_names_a_file_relative_or_absolute(url: str, path: str) -> None:
    assert parse_store(url) == Path(path)


def test_an_address_on_a_server_is_no_file() -> None:
    with pytest.raises(UsageError, match=r"^postgresql://me@host/night: is no file; name one"):
        parse_file("postgresql://me@host/night")

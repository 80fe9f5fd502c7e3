"""Addresses of databases on PostgreSQL servers: read in every usual form, and refused with a password."""

import pytest
from psycopg.conninfo import conninfo_to_dict

from engine.core.addresses import ServerAddress
from engine.core.errors import UsageError
from engine.locations import parse_store


@pytest.mark.parametrize(
    ("url", "parts"),
    [
        ("postgresql://me@host/night", {"user": "me", "host": "host", "dbname": "night"}),
        ("postgres://host:6543/night", {"host": "host", "port": "6543", "dbname": "night"}),
        ("postgresql:///night", {"dbname": "night"}),
        ("postgresql://me@/night", {"user": "me", "dbname": "night"}),
        ("postgresql://[::1]:5432/night", {"host": "::1", "port": "5432", "dbname": "night"}),
        ("postgresql://a:1,b:2/night", {"host": "a,b", "port": "1,2", "dbname": "night"}),
        (
            "postgresql://me%40x%3Ay@host/night",
            {"user": "me@x:y", "host": "host", "dbname": "night"},
        ),
        ("postgresql://%2Frun%2Fpg/n%2Fm", {"host": "/run/pg", "dbname": "n/m"}),
        ("postgresql:///night?host=/run/pg", {"host": "/run/pg", "dbname": "night"}),
        (
            "postgresql://host/night?sslmode=verify-full&options=-c%20search_path%3Dmine",
            {
                "host": "host",
                "dbname": "night",
                "sslmode": "verify-full",
                "options": "-c search_path=mine",
            },
        ),
        ("postgresql://?service=night", {"service": "night"}),
    ],
)
def test_the_address_means_to_libpq_what_was_written(url: str, parts: dict[str, str]) -> None:
    found = parse_store(url)

    assert isinstance(found, ServerAddress)
    assert conninfo_to_dict(str(found)) == parts
    assert parse_store(str(found)) == found


@pytest.mark.parametrize(
    "url",
    [
        "postgres://me@host/night?sslmode=require&connect_timeout=5",
        "PostgreSQL://me@HOST/night?connect_timeout=5&sslmode=require",
        "postgresql://%6De@host/%6Eight?connect_timeout=%35&sslmode=require",
    ],
)
def test_addresses_that_are_written_differently_are_equal(url: str) -> None:
    expected = "postgresql://me@host/night?connect_timeout=5&sslmode=require"
    assert parse_store(url) == ServerAddress(expected)
    assert str(parse_store(url)) == expected


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://me:secret@host/night",
        "postgres://me:@host/night",
        "postgresql://me:secret/with?every#thing@host/night",
        "postgresql://me:1234?secret@host/night",
        "postgresql://me:sec@ret@host/night",
        "postgresql://:secret@host/night",
        "postgresql://me@host/night?password=secret",
        "postgresql://me@host/night?sslmode=require&%70assword=secret",
        "postgresql://me@host/night?sslpassword=secret",
    ],
)
def test_a_password_is_refused_with_what_to_do_and_not_repeated(url: str) -> None:
    with pytest.raises(
        UsageError, match=r"put the password into ~/.pgpass or PGPASSWORD"
    ) as caught:
        parse_store(url)

    assert "secret" not in str(caught.value)
    assert "1234" not in str(caught.value)


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("postgresql:/me@host/night", "has two slashes .* a Path makes one slash of several"),
        ("postgresql+psycopg://me@host/night", r"^postgresql\+psycopg: .* names no driver; write"),
        (
            "postgresql://",
            "^postgresql://: names no database; write postgresql://user@host/database",
        ),
        ("postgresql://me@host", "names no database"),
        ("postgresql://me@host/", "names no database"),
        ("postgresql://me@host/night/tables", "write %2F for a / in the name of the database"),
        ("postgresql://me@host:0/night", "the port is no number from 1 to 65,535"),
        ("postgresql://me@host:65536/night", "the port is no number"),
        (
            "postgresql://host:secret/night",
            "the port is no number from 1 to 65,535; .* without a pass",
        ),
        ("postgresql://[::1/night", r"an IPv6 address is in brackets: \[::1\]"),
        ("postgresql://host/night?sslmod=require", 'unknown option .* did you mean "sslmode"'),
        ("postgresql://host/night?sslmode", "the option sslmode of the address has no value"),
        ("postgresql://host/night?port=1&port=2", "has the option port twice"),
        ("postgresql://host/night#x", "write %23 for that character"),
        ("postgresql://host/night?application_name=x@y", "write %40 for an @"),
        ("postgresql://host/night ", "write %20 for a space"),
        ("postgresql://host/night%00", "has an escaped control character"),
    ],
)
def test_a_mistake_in_an_address_is_named(url: str, message: str) -> None:
    with pytest.raises(UsageError, match=message) as caught:
        parse_store(url)

    assert "secret" not in str(caught.value)

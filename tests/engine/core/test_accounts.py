"""Whose limits a request uses: decided by the address and the key, however they are written."""

import pytest

from engine.core.accounts import Accounts, canonical

KEY = "sk-4f9a81c27be05d63"
HERE = Accounts(b"a" * 32)


@pytest.mark.parametrize(
    ("written", "meant"),
    [
        ("http://localhost:8000/v1", "http://localhost:8000/v1"),
        ("http://127.0.0.1:8000/v1", "http://localhost:8000/v1"),
        ("http://127.1:8000/v1/", "http://localhost:8000/v1"),
        ("http://2130706433:8000/v1", "http://localhost:8000/v1"),
        ("http://[::1]:8000//v1", "http://localhost:8000/v1"),
        ("http://[::ffff:127.0.0.1]:8000/v1", "http://localhost:8000/v1"),
        ("http://0.0.0.0:8000/v1", "http://localhost:8000/v1"),
        ("http://model.localhost:8000/v1", "http://localhost:8000/v1"),
        ("HTTPS://API.Example.COM./v1/", "https://api.example.com/v1"),
        ("https://api.example.com:443/v1", "https://api.example.com/v1"),
        ("http://api.example.com:80", "http://api.example.com"),
        ("http://api.example.com:443/", "http://api.example.com:443"),
        ("http://[2001:DB8:0::1]/v1", "http://[2001:db8::1]/v1"),
        ("local:http://127.0.0.1/v1", "local:http://localhost/v1"),
        ("local:a model", "local:a model"),
        ("http://example.com:port/v1", "http://example.com:port/v1"),
    ],
)
def test_all_spellings_of_an_address_are_one(written: str, meant: str) -> None:
    assert canonical(written) == meant
    assert canonical(meant) == meant
    assert HERE.name(written, KEY) == HERE.name(meant, KEY)


def test_paths_and_ports_that_differ_are_different_services() -> None:
    places = ["http://h/v1", "http://h/v2", "http://h/V1", "http://h:81/v1", "https://h/v1"]

    assert len({HERE.name(place, KEY) for place in places}) == len(places)


def test_an_account_is_identified_by_its_key_and_does_not_reveal_it() -> None:
    account = HERE.name("http://h/v1", KEY)

    assert account != HERE.name("http://h/v1", KEY + "a")
    assert account != HERE.name("http://h/v1")
    assert KEY not in account
    assert account != Accounts(b"b" * 32).name("http://h/v1", KEY)
    assert HERE.salt.hex() not in repr(HERE)

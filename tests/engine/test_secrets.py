import json
from base64 import b64encode
from pathlib import Path
from urllib.parse import quote

import pytest

from engine.job import UsageError
from engine.secrets import checked_reference, resolve_secret, spellings, without_secrets

KEY = "planted/key+01234567\\89"


@pytest.mark.parametrize("reference", ["env:CBL_API_KEY", "env:_k1", "file:~/key", "file:C:/a b"])
def test_a_reference_is_taken_as_it_is(reference: str) -> None:
    assert checked_reference(reference) == reference


@pytest.mark.parametrize("text", ["sk-1", "env:", "env:sk-1", "env:A=B", "file:", "file:a\0b", ""])
def test_what_is_no_reference_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(ValueError, match=r"^a key is never written into a sweep file: "):
        checked_reference(text)


def test_a_key_is_read_without_the_white_space_around_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_KEY", f" {KEY}\n")
    (tmp_path / "key").write_text(f"{KEY}\n\n")

    assert resolve_secret("env:A_KEY") == resolve_secret(f"file:{tmp_path / 'key'}") == KEY


def test_a_key_that_is_not_there_is_told_by_its_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOT_SET", raising=False)

    with pytest.raises(UsageError, match="NOT_SET is not set"):
        resolve_secret("env:NOT_SET")
    with pytest.raises(UsageError, match="No such file"):
        resolve_secret(f"file:{tmp_path / 'gone'}")


def test_a_key_that_was_read_is_taken_out_however_it_is_spelt(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("A_KEY", KEY)
    resolve_secret("env:A_KEY")
    spelt = [KEY, json.dumps(KEY), quote(KEY), quote(KEY, safe=""), repr(KEY)]
    spelt.append(b64encode(f"{KEY}:".encode()).decode())

    for text in spelt:
        cleaned = without_secrets(f"before {text} after")
        assert "[redacted]" in cleaned
        assert "planted" not in cleaned
        assert "cGxhbnRl" not in cleaned


def test_a_text_too_short_to_be_a_key_is_left_alone() -> None:
    assert spellings("abc") == ()
    assert spellings("abcd") == ("abcd",)

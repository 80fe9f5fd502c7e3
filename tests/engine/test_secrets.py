import json
from base64 import b64encode
from pathlib import Path
from urllib.parse import quote

import pytest

from engine.kinds import UsageError
from engine.secrets import (
    checked_reference,
    is_key,
    key_spellings,
    resolve_secret,
    spellings,
    without_secrets,
)

KEY = "planted/key+01234567\\89"


@pytest.mark.parametrize(
    "reference",
    [
        "env:CBL_API_KEY",
        "env:_k1",
        "file:~/key",
        "file:C:/a b",
        "dotenv:.env#A_KEY",
        "dotenv:a#b#C",
    ],
)
def test_a_reference_is_taken_as_it_is(reference: str) -> None:
    assert checked_reference(reference) == reference


@pytest.mark.parametrize(
    "text",
    [
        "sk-1",
        "env:",
        "env:sk-1",
        "env:A=B",
        "file:",
        "file:a\0b",
        "dotenv:.env",
        "dotenv:#A",
        "dotenv:.env#sk-1",
        "",
    ],
)
def test_what_is_no_reference_is_refused_without_being_repeated(text: str) -> None:
    with pytest.raises(ValueError, match=r"^do not write a key into a sweep file: "):
        checked_reference(text)


def test_a_key_is_read_without_the_white_space_around_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_KEY", f" {KEY}\n")
    (tmp_path / "key").write_text(f"{KEY}\n\n")

    assert resolve_secret("env:A_KEY") == resolve_secret(f"file:{tmp_path / 'key'}") == KEY


def test_a_missing_key_is_reported_by_its_reference(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("NOT_SET", raising=False)

    with pytest.raises(UsageError, match="NOT_SET is not set"):
        resolve_secret("env:NOT_SET")
    with pytest.raises(UsageError, match="No such file"):
        resolve_secret(f"file:{tmp_path / 'gone'}")


@pytest.mark.parametrize(
    "content",
    [
        KEY.encode(),
        f"\n {KEY} \r\n".encode(),
        b"\xef\xbb\xbf" + KEY.encode(),
        f'"{KEY}"\n'.encode(),
        f"'{KEY}'".encode(),
        f"# of the team\nexport A_KEY={KEY}\n".encode(),
    ],
)
def test_a_key_file_may_hold_what_editors_and_people_put_around_a_key(
    content: bytes, tmp_path: Path
) -> None:
    (tmp_path / "key").write_bytes(content)

    assert resolve_secret("file:key", tmp_path) == KEY


@pytest.mark.parametrize("folder", [Path(), Path("keys")])
def test_a_file_is_looked_for_in_the_folder_that_is_given(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / folder).mkdir(exist_ok=True)
    (tmp_path / folder / "key").write_text(KEY)

    assert resolve_secret("file:key", folder) == KEY
    assert resolve_secret(f"file:{tmp_path / folder / 'key'}", tmp_path / "other") == KEY
    with pytest.raises(
        UsageError, match=f"No such file or directory: {tmp_path / 'other' / 'key'}"
    ):
        resolve_secret("file:key", tmp_path / "other")


DOTENV = f"""\
# keys
export A_KEY={KEY}
QUOTED="{KEY}" # of the team
SINGLE='{KEY}'

EMPTY=
TAKEN_OVER=${{A_KEY}}
"""


@pytest.mark.parametrize("name", ["A_KEY", "SINGLE", "TAKEN_OVER"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_key_is_read_from_a_file_of_assignments(name: str, mark: bytes, tmp_path: Path) -> None:
    (tmp_path / ".env").write_bytes(mark + DOTENV.encode())

    assert resolve_secret(f"dotenv:.env#{name}", tmp_path) == KEY


@pytest.mark.parametrize(
    ("reference", "message"),
    [
        (
            "dotenv:.env#A_KEYS",
            r'the file of dotenv:\.env#A_KEYS does not assign A_KEYS; did you mean "A_KEY"\?',
        ),
        ("dotenv:.env#EMPTY", "leaves EMPTY empty"),
        ("dotenv:gone#A_KEY", "No such file or directory"),
        ("file:.env", "assigns 5 names, not one key: write dotenv:.env#A_KEY"),
    ],
)
def test_a_mistake_in_a_file_of_assignments_is_reported_without_the_key(
    reference: str, message: str, tmp_path: Path
) -> None:
    (tmp_path / ".env").write_text(DOTENV)

    with pytest.raises(UsageError, match=message) as caught:
        resolve_secret(reference, tmp_path)

    assert KEY not in str(caught.value)


@pytest.mark.parametrize("key", ["abc=def", "QUJD=", "QUJDRA==", "session=abc123", "a b=c"])
def test_a_key_that_holds_an_equals_sign_is_no_assignment(key: str, tmp_path: Path) -> None:
    (tmp_path / "key").write_text(key)

    assert resolve_secret("file:key", tmp_path) == key


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


@pytest.mark.parametrize(
    "split",
    ["\x00", "\n", "\x1b[31m", "\x1b", "\u200b", "\x9b1m", "\x1b[0m\r\n\x07", "\ud800"],
)
def test_a_key_that_control_characters_split_is_taken_out_whole(
    split: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("A_KEY", KEY)
    resolve_secret("env:A_KEY")
    text = f"\x1b[1mbefore {split.join(KEY)} between {KEY[:4]}{split}{KEY[4:]} after\n"

    cleaned = "\x1b[1mbefore [redacted] between [redacted] after\n"
    assert without_secrets(text) == cleaned
    assert without_secrets(json.dumps(text)) == json.dumps(cleaned)
    assert without_secrets(repr(text)) == repr(cleaned)


@pytest.mark.parametrize("secret", ["abc", "hunter2", "content", "lm-studio", "no-key-needed"])
def test_a_text_too_short_to_be_a_key_is_left_alone(secret: str) -> None:
    assert spellings(secret) == ()


def test_what_follows_the_name_of_a_scheme_is_a_key_of_its_own() -> None:
    assert {"Bearer sk-hunter2", "sk-hunter2"} <= set(spellings("Bearer sk-hunter2"))


# The form of the keys as their issuers write it; none of them was ever issued.
@pytest.mark.parametrize(
    "key",
    [
        # https://platform.openai.com/docs/api-reference/authentication
        "sk-proj-Yx3nT7vQ2mL9cR4kW8bZ1dF6hJ5pS0aG",
        # https://docs.anthropic.com/en/api/getting-started
        "sk-ant-api03-mV8kT2wLq9Zr4XcN7bYhJ1sDfG5pAeU3oIx0",
        # https://openrouter.ai/docs/api-reference/authentication
        "sk-or-v1-3f9a1c7e5b2d8f604a1e9c3b7d5f2a8e60c4b1d9",
        # https://ai.google.dev/gemini-api/docs/api-key
        "AIzaSyD3k9Xw2Lm7Qp5Rt8Vb1Nc4Zf6Hj0GaYeU",
        # https://console.groq.com/docs/quickstart
        "gsk_a8Kd03LmQx7Zp2Wv9Tn5Rb1YcF4hJ6sG",
        # https://huggingface.co/docs/hub/security-tokens: letters alone
        "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",
        # https://learn.microsoft.com/azure/ai-services/openai/reference
        "8b1f0c6e2d9a4f7c8e3b5a1d0f6c7e2b",
        # https://api-docs.deepseek.com/
        "sk-5d0e7a9c3b1f4826a0c9e7d5b3f18264",
        # https://docs.fal.ai/authentication: a UUID and more
        "3fa85f64-5717-4562-b3fc-2c963f66afa6",
        # https://www.rfc-editor.org/rfc/rfc7519: a token that lasts an hour
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0NTY3ODkwIn0.dozjgNryP4J3jVmNHl0w5N_XgL0n3I9PlFUP0THsR8U",
    ],
)
def test_what_providers_issue_is_looked_for_in_what_models_say(key: str) -> None:
    assert is_key(key)
    assert key in key_spellings(f"Bearer {key}")


@pytest.mark.parametrize(
    "secret",
    [
        "none",
        "null",
        "content",
        "EMPTY",
        "ollama",
        "lm-studio",
        "sk-1234",
        "sk-no-key-required",
        "not-needed-for-local-servers",
        "correct-horse-battery-staple",
        "Crisis help line, day and night",
        "sk-xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx",
        "sk-1234567890abcdefghij",
        "00000000-0000-0000-0000-000000000000",
        "https://llm2.example.com/v1beta3/x9",
        "anthropic/claude-3.7-sonnet",
        "ключ-из-слов-по-русски",
        "----------------",
    ],
)
def test_what_a_model_may_say_of_its_own_accord_is_never_looked_for(secret: str) -> None:
    assert not is_key(secret)
    assert key_spellings(f"Bearer {secret}") == ()

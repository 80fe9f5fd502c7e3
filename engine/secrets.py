"""Reading keys by reference, and removing them from texts.

Sweep files and the store contain only references: `env:NAME`, `file:PATH` or `dotenv:FILE#NAME`. A
key is read when its service is opened. From then on it can be removed from what this process writes.
"""

import json
import os
import re
from array import array
from base64 import b64encode
from collections.abc import Iterable, Sequence
from io import StringIO
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

from pydantic import AfterValidator, Field

from engine.core.errors import UsageError
from engine.core.nearest import suggestion

REDACTED = "[redacted]"

# What is not seen of a text, or not part of a word: control and format characters and lone surrogates, also as
# JSON and Python escape them.
_UNSEEN = (
    r"(?:[\x00-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ud800-\udfff\ufeff\ufff9-\ufffb]"
    r"|\\(?:u[0-9A-Fa-f]{4}|x[0-9A-Fa-f]{2}|[bfnrtv]))"
)
_ESCAPE = r"(?:\x1b|\\u001b|\\x1b)"
_UNSPLIT = re.compile(r"[ -\[\]-~]*")
# What may stand within a key: single characters, or with them the sequences that a terminal obeys.
_SPLITS = (
    re.compile(f"{_UNSEEN}+"),
    re.compile(
        rf"(?:(?:{_ESCAPE}\[|\x9b|\\u009b|\\x9b)[0-?]*[ -/]*[@-~]|{_ESCAPE}[ -/]*[0-~]|{_UNSEEN})+"
    ),
)

# For servers that need no key, users write words such as `none` or `lm-studio`, which many texts contain.
_SHORTEST = 8
_SHORTEST_OF_WORDS = 16
_SHORTEST_KEY = 16
_DISTINCT_IN_KEY = 8
_BREAKS_IN_KEY = 0.15
_SHORTEST_IN_BASE64 = 12
# A break is where no word continues: between letter and digit, before a capital, at a fourth consonant.
_BREAK = re.compile(
    r"(?<=[A-Za-z])(?=[0-9])|(?<=[0-9])(?=[A-Za-z])|(?<=[a-z])(?=[A-Z])"
    r"|(?<=[bcdfghj-np-tvwxzBCDFGHJ-NP-TVWXZ]{3})(?=[bcdfghj-np-tvwxzBCDFGHJ-NP-TVWXZ])"
)
_NO_KEY = re.compile(r"\s|://")
_LETTER_OR_DIGIT = re.compile(r"[A-Za-z0-9]")
_KEY_BYTES_MAX = 65_536
_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_PATH = r"[^\x00-\x1f\x7f]+"
_KINDS = {
    "env": re.compile(_NAME),
    "file": re.compile(_PATH),
    "dotenv": re.compile(f"{_PATH}#{_NAME}"),
}
# A key may contain an equals sign itself; the names of variables for keys are in capitals.
_ASSIGNMENT = re.compile(r"(?:export\s+)?([A-Z_][A-Z0-9_]*)\s*=\s*[^\s=]")
_VARIABLE = re.compile(
    r"\$\{?([A-Z_][A-Z0-9_]*)\}?|([A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*_(?:KEY|TOKEN|SECRET))"
)
_QUOTED = re.compile(r"""(["'])(.*)\1""", re.DOTALL)

_handed_out: set[str] = set()
"""Every key that this process has read: a traceback may quote one long after its service was closed."""


def checked_reference(text: str) -> str:
    """Return the text if it is a reference to a key; the ValueError otherwise does not quote it."""
    kind, _, name = text.partition(":")
    if kind in _KINDS and _KINDS[kind].fullmatch(name) and not (kind == "env" and _is_a_key(name)):
        return text
    # Never quote the text: it may be the key.
    if variable := _VARIABLE.fullmatch(text.strip()):
        raise ValueError(f"the value of a variable is written as env:{variable[1] or variable[2]}")
    if kind == "env":
        raise ValueError(
            "do not write a key into a sweep file: after `env:` write the name of its variable"
        )
    raise ValueError(
        "do not write a key into a sweep file: set an environment variable and write `env:NAME`,"
        " or keep it in a file and write `file:PATH` or, for a file of assignments, `dotenv:FILE#NAME`"
    )


def _is_a_key(name: str) -> bool:
    """Whether the name of a variable is really a key; names are in capitals, or of words."""
    return not name.isupper() and is_key(name)


SecretReference = Annotated[
    str,
    AfterValidator(checked_reference),
    Field(
        json_schema_extra={
            "pattern": f"^({'|'.join(f'{kind}:{one.pattern}' for kind, one in _KINDS.items())})$",
            "examples": ["env:API_KEY", "file:key.txt", "dotenv:.env#API_KEY"],
        }
    ),
]
"""`env:NAME`, `file:PATH` or `dotenv:FILE#NAME`: where a secret is, never the secret."""


def is_reference(text: str) -> bool:
    """Whether a text is meant as a reference to a key, where other texts are allowed, too."""
    kind, colon, name = text.partition(":")
    return bool(colon and name) and kind in _KINDS


def anchor(text: str, folder: Path) -> str:
    """Make the relative path of a reference absolute, from `folder`; other texts are unchanged."""
    kind, _, name = text.partition(":")
    if not is_reference(text) or kind == "env" or name.startswith("~"):
        return text
    return f"{kind}:{folder / name}"


def resolve_secret(reference: str, folder: Path = Path()) -> str:
    """Read the secret of a reference, without surrounding white space and quotes.

    Relative paths start at `folder`. Raises UsageError, which names the reference and never the
    secret, if it cannot be read or is empty.
    """
    kind, _, name = reference.partition(":")
    match kind:
        case "env":
            secret = os.environ.get(name, "").strip()
            if not secret:
                raise UsageError(
                    f"the environment variable {name} is not set (needed for {reference})"
                )
        case "dotenv":
            path, _, name = name.rpartition("#")
            secret = _read_assignment(reference, _read(reference, path, folder), name)
        case _:
            secret = _read(reference, name, folder)
            if not secret:
                raise UsageError(f"the file of {reference} is empty")
            secret = _unwrap_assignment(reference, secret)
    if quoted := _QUOTED.fullmatch(secret):
        secret = quoted[2].strip()
    _handed_out.add(secret)
    return secret


def without_secrets(text: str) -> str:
    """Replace each key that this process has read by `[redacted]`, also one that control characters split."""
    # The longest first: one key may be part of another.
    secrets = sorted(_handed_out, key=len, reverse=True)
    return redact_spellings(text, [one for secret in secrets for one in spellings(secret)])


def redact_spellings(text: str, written: Sequence[str]) -> str:
    """Replace texts, the longest first, by `[redacted]`, also where control characters or sequences split one.

    Once these were removed to show the text, the key would be whole again.
    """
    for one in written:
        text = text.replace(one, REDACTED)
    if written and not _UNSPLIT.fullmatch(text):
        for split in _SPLITS:
            text = _redact_split(text, written, split)
    return text


def _redact_split(text: str, written: Sequence[str], split: re.Pattern[str]) -> str:
    """Replace texts that are there if all that matches `split` is left out."""
    seen, places = _leave_out(text, split)
    for one in written:
        if one not in seen:
            continue
        parts, after, found = [], 0, seen.find(one)
        while found >= 0:
            end = found + len(one)
            parts += [text[after : places[found]], REDACTED]
            after, found = places[end - 1] + 1, seen.find(one, end)
        text = "".join(parts) + text[after:]
        seen, places = _leave_out(text, split)
    return text


def _leave_out(text: str, split: re.Pattern[str]) -> tuple[str, Sequence[int]]:
    """A text without what matches `split`, and the place in `text` of each character that is left."""
    places, after = array("q"), 0
    for match in split.finditer(text):
        places.extend(range(after, match.start()))
        after = match.end()
    places.extend(range(after, len(text)))
    return split.sub("", text), places


def is_key(secret: str) -> bool:
    """Whether a secret is so long and random that a model cannot produce it by chance.

    At least 16 characters, eight of them different, without spaces, and with more breaks than words
    have. Digests, UUIDs and keys that providers issue are keys in this sense;
    `sk-no-key-required`, `correct-horse-battery-staple` and addresses are not.
    """
    size = len(_LETTER_OR_DIGIT.findall(secret))
    return (
        len(secret) >= _SHORTEST_KEY
        and len(set(secret)) >= _DISTINCT_IN_KEY
        and len(_BREAK.findall(secret)) >= _BREAKS_IN_KEY * size
        and size > 0
        and _NO_KEY.search(secret) is None
    )


def spellings(secret: str) -> tuple[str, ...]:
    """The ways in which texts about requests may quote a secret: plain, JSON, Python, URL, base64.

    The longest comes first. `Bearer KEY` includes KEY. A secret that is too short to be recognised in
    a text, under 8 characters or under 16 without a digit, has none.
    """
    return _spell(part for part in _parts(secret) if _is_distinctive(part))


def key_spellings(secret: str) -> tuple[str, ...]:
    """The same for replies of models, in which only secrets that satisfy `is_key` are searched for."""
    return _spell(part for part in _parts(secret) if is_key(part))


def _parts(secret: str) -> set[str]:
    return {secret, secret.rpartition(" ")[2]}


def _is_distinctive(secret: str) -> bool:
    has_digit = any(character.isdigit() for character in secret)
    return len(secret) >= (_SHORTEST if has_digit else _SHORTEST_OF_WORDS)


def _spell(secrets: Iterable[str]) -> tuple[str, ...]:
    written: set[str] = set()
    for secret in secrets:
        encoded = secret.encode("utf-8", "surrogatepass")
        escaped = json.dumps(secret)[1:-1]
        written |= {
            secret,
            escaped,
            escaped.replace("/", "\\/"),
            quote(encoded),
            quote(encoded, safe=""),
            repr(secret)[1:-1],
        }
        if len(encoded) >= _SHORTEST_IN_BASE64:
            # Whole groups of three bytes, which do not depend on what follows the secret.
            written.add(b64encode(encoded[: len(encoded) // 3 * 3]).decode("ascii"))
    return tuple(sorted(written, key=len, reverse=True))


def _read_assignment(reference: str, content: str, name: str) -> str:
    from dotenv import dotenv_values  # imported only for dotenv: references

    values = dotenv_values(stream=StringIO(content))
    if name not in values:
        raise UsageError(
            f"the file of {reference} does not assign {name}{suggestion(name, values)}"
        )
    secret = (values[name] or "").strip()
    if not secret:
        raise UsageError(f"the file of {reference} leaves {name} empty")
    return secret


def _unwrap_assignment(reference: str, content: str) -> str:
    """The key in a file that should contain only a key but assigns it, as in `NAME=key`.

    Raises UsageError if the file assigns several names.
    """
    lines = (line.strip() for line in content.splitlines())
    first = next((line for line in lines if line and not line.startswith("#")), "")
    if not _ASSIGNMENT.match(first):
        return content
    from dotenv import dotenv_values

    names = list(dotenv_values(stream=StringIO(content)))
    if len(names) > 1:
        raise UsageError(
            f"the file of {reference} assigns {len(names)} names, not one key: write"
            f" dotenv:{reference.removeprefix('file:')}#{names[0]}, or another of its names"
        )
    return _read_assignment(reference, content, names[0])


def _read(reference: str, name: str, folder: Path) -> str:
    """The text of a file. Errors name its absolute path, which depends on the folder."""
    path = folder / name
    try:
        path = folder.absolute() / Path(name).expanduser()
        # Reading a pipe or a device might never end.
        if path.exists() and not path.is_file():
            raise UsageError(f"cannot read the key from {reference}: {path} is not a file")
        with path.open("rb") as file:
            content = file.read(_KEY_BYTES_MAX + 1)
        if len(content) > _KEY_BYTES_MAX:
            raise UsageError(
                f"cannot read the key from {reference}: it is larger than {_KEY_BYTES_MAX} bytes"
            )
        # Editors on Windows begin a file with a byte order mark.
        return content.decode("utf-8-sig").strip()
    except UnicodeDecodeError:
        reason = "it is not UTF-8 text"
    except OSError as error:
        reason = f"{error.strerror or type(error).__name__}: {path}"
    except (RuntimeError, ValueError):  # an unknown user's home, a name that no file can have
        reason = "no file can have this name"
    raise UsageError(f"cannot read the key from {reference}: {reason}")

"""Keys: where they are kept, how they are read, and that no text of ours says them.

Sweep files and the store hold references, `env:NAME`, `file:PATH` or `dotenv:FILE#NAME`. A key is read
when its service is opened, and whatever this process then writes for people can be cleaned of it.
"""

import json
import os
import re
from base64 import b64encode
from io import StringIO
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

from pydantic import AfterValidator

from engine.core.errors import UsageError
from engine.core.nearest import suggestion

REDACTED = "[redacted]"

# A key of three characters is none, and taking it out would leave no text readable.
_SHORTEST = 4
_SHORTEST_IN_BASE64 = 12
# Servers that want no key are given words such as `none`, which stand in many texts.
_SHORTEST_ANYWHERE = 8
_KEY_BYTES_MAX = 65_536
_NAME = r"[A-Za-z_][A-Za-z0-9_]*"
_PATH = r"[^\x00-\x1f\x7f]+"
_KINDS = {
    "env": re.compile(_NAME),
    "file": re.compile(_PATH),
    "dotenv": re.compile(f"{_PATH}#{_NAME}"),
}
# A key itself may hold an equals sign; names of variables for keys are written in capitals.
_ASSIGNMENT = re.compile(r"(?:export\s+)?([A-Z_][A-Z0-9_]*)\s*=\s*[^\s=]")
_QUOTED = re.compile(r"""(["'])(.*)\1""", re.DOTALL)

_handed_out: set[str] = set()
"""Every key that this process has read: a traceback may quote one whose owner is long gone."""


def checked_reference(text: str) -> str:
    """The text if it can be a reference to a key; raises ValueError, without the text, if not."""
    kind, _, name = text.partition(":")
    if kind in _KINDS and _KINDS[kind].fullmatch(name):
        return text
    # The text itself is never repeated: it may be the key.
    raise ValueError(
        "a key is never written into a sweep file: set an environment variable and write `env:NAME`,"
        " or keep it in a file and write `file:PATH` or, for a file of assignments, `dotenv:FILE#NAME`"
    )


SecretReference = Annotated[str, AfterValidator(checked_reference)]
"""`env:NAME`, `file:PATH` or `dotenv:FILE#NAME`: where a secret is, never the secret."""


def is_reference(text: str) -> bool:
    """Whether a text, where other texts are allowed too, is meant as a reference to a key."""
    kind, colon, name = text.partition(":")
    return bool(colon and name) and kind in _KINDS


def resolve_secret(reference: str, folder: Path = Path()) -> str:
    """The secret that a reference points to, without white space and quotes around it.

    Files are looked for in `folder`, unless their path is absolute. Raises UsageError, naming the
    reference alone, when there is none.
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
            secret = _assigned(reference, _read(reference, path, folder), name)
        case _:
            secret = _read(reference, name, folder)
            if not secret:
                raise UsageError(f"the file of {reference} is empty")
            _refuse_assignments(reference, secret)
    if quoted := _QUOTED.fullmatch(secret):
        secret = quoted[2].strip()
    _handed_out.add(secret)
    return secret


def without_secrets(text: str) -> str:
    """The text with each key that this process has read replaced by `[redacted]`."""
    # The longest first: one key may be part of another.
    for secret in sorted(_handed_out, key=len, reverse=True):
        for spelling in spellings(secret) if len(secret) >= _SHORTEST_ANYWHERE else ():
            text = text.replace(spelling, REDACTED)
    return text


def spellings(secret: str) -> tuple[str, ...]:
    """A secret as others may quote it: as it is, in JSON, Python, a URL, base64; the longest first.

    None for one that is too short to be told from other text.
    """
    if len(secret) < _SHORTEST:
        return ()
    encoded = secret.encode("utf-8", "surrogatepass")
    escaped = json.dumps(secret)[1:-1]
    written = {
        secret,
        escaped,
        escaped.replace("/", "\\/"),
        quote(encoded),
        quote(encoded, safe=""),
        repr(secret)[1:-1],
    }
    if len(encoded) >= _SHORTEST_IN_BASE64:
        # Whole groups of three bytes: what follows the secret does not change them.
        written.add(b64encode(encoded[: len(encoded) // 3 * 3]).decode("ascii"))
    return tuple(sorted(written, key=len, reverse=True))


def _assigned(reference: str, content: str, name: str) -> str:
    from dotenv import dotenv_values  # only needed where keys are kept so

    values = dotenv_values(stream=StringIO(content))
    if name not in values:
        raise UsageError(f"the file of {reference} assigns no {name}{suggestion(name, values)}")
    secret = (values[name] or "").strip()
    if not secret:
        raise UsageError(f"the file of {reference} leaves {name} empty")
    return secret


def _refuse_assignments(reference: str, content: str) -> None:
    """Raise UsageError for a file of `NAME=value`: sent whole, it would be a wrong key."""
    lines = (line.strip() for line in content.splitlines())
    first = next((line for line in lines if line and not line.startswith("#")), "")
    if assignment := _ASSIGNMENT.match(first):
        path = reference.removeprefix("file:")
        raise UsageError(
            f"the file of {reference} holds assignments, not a key alone: write"
            f" dotenv:{path}#{assignment[1]}"
        )


def _read(reference: str, name: str, folder: Path) -> str:
    """The text of a file; the path is told whole, since it depends on the folder."""
    path = folder / name
    try:
        path = folder.absolute() / Path(name).expanduser()
        # A pipe or a device would be waited for, or read, for ever.
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
    except (RuntimeError, ValueError):  # nobody's home, a name that no file can have
        reason = "there can be no such file"
    raise UsageError(f"cannot read the key from {reference}: {reason}")

"""Keys: where they are kept, how they are read, and that no text of ours says them.

Sweep files and the store hold references, `env:NAME` or `file:PATH`. A key is read when its service is
opened, and whatever this process then writes for people can be cleaned of it.
"""

import json
import os
import re
from base64 import b64encode
from pathlib import Path
from typing import Annotated
from urllib.parse import quote

from pydantic import AfterValidator

from engine.core.errors import UsageError

REDACTED = "[redacted]"

# A key of three characters is none, and taking it out would leave no text readable.
_SHORTEST = 4
_SHORTEST_IN_BASE64 = 12
# Servers that want no key are given words such as `none`, which stand in many texts.
_SHORTEST_ANYWHERE = 8
_KEY_BYTES_MAX = 65_536
_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")
_PATH = re.compile(r"[^\x00-\x1f\x7f]+\Z")

_handed_out: set[str] = set()
"""Every key that this process has read: a traceback may quote one whose owner is long gone."""


def checked_reference(text: str) -> str:
    """The text if it can be a reference to a key; raises ValueError, without the text, if not."""
    kind, _, name = text.partition(":")
    pattern = {"env": _ENVIRONMENT_NAME, "file": _PATH}.get(kind)
    if pattern is not None and pattern.match(name):
        return text
    # The text itself is never repeated: it may be the key.
    raise ValueError(
        "a key is never written into a sweep file: set an environment variable and write"
        " `env:NAME`, or keep it in a file and write `file:PATH`"
    )


SecretReference = Annotated[str, AfterValidator(checked_reference)]
"""`env:NAME` or `file:PATH`: where a secret is, never the secret."""


def resolve_secret(reference: str) -> str:
    """The secret that a reference points to, without surrounding white space.

    Raises UsageError, naming the reference alone, when there is none.
    """
    kind, _, name = reference.partition(":")
    if kind == "env":
        secret = os.environ.get(name, "").strip()
        if not secret:
            raise UsageError(f"the environment variable {name} is not set (needed for {reference})")
    else:
        secret = _read(reference, name)
        if not secret:
            raise UsageError(f"the file of {reference} is empty")
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


def _read(reference: str, name: str) -> str:
    try:
        path = Path(name).expanduser()
        # A pipe or a device would be waited for, or read, for ever.
        if path.exists() and not path.is_file():
            raise UsageError(f"cannot read the key from {reference}: it is not a file")
        with path.open("rb") as file:
            content = file.read(_KEY_BYTES_MAX + 1)
        if len(content) > _KEY_BYTES_MAX:
            raise UsageError(
                f"cannot read the key from {reference}: it is larger than {_KEY_BYTES_MAX} bytes"
            )
        return content.decode("utf-8").strip()
    except UnicodeDecodeError:
        reason = "it is not UTF-8 text"
    except OSError as error:
        reason = error.strerror or type(error).__name__
    except (RuntimeError, ValueError):  # nobody's home, a name that no file can have
        reason = "there can be no such file"
    raise UsageError(f"cannot read the key from {reference}: {reason}")

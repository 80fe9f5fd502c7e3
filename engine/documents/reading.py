"""Files and texts into plain values: YAML, TOML and JSON by suffix."""

import json
import re
import tomllib
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from engine.core.nearest import suggestion
from engine.documents.malformed import Malformed
from engine.documents.plain import DEPTH_MAX
from engine.documents.yaml import read_yaml

FILE_BYTES_MAX = 8 * 1024 * 1024

# tomllib needs time with the square of a dotted key's length: minutes for one of some 100 kB.
_LONG_KEY = re.compile(
    r"""(?:^[ \t\[]*|[{,][ \t]*)(?:(?:[\w-]+|"[^"\n]*"|'[^'\n]*')[ \t]*\.[ \t]*)"""
    f"{{{DEPTH_MAX}}}",
    re.MULTILINE,
)


def read_structured(path: Path) -> Any:
    """What a YAML, TOML or JSON file says; raises Malformed."""
    parse = _PARSERS.get(path.suffix.lower())
    if parse is None and _is_folder(path):
        raise Malformed("it is a folder; name a file in it")
    if parse is None:
        raise Malformed(
            f"the format of {path.suffix or 'a file without suffix'} is not known"
            f"{suggestion(path.suffix, _PARSERS)}"
        )
    return parse(read_text(path))


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        # A name that is too long, or in a folder that may not be entered.
        return False


def read_text(path: Path) -> str:
    """A text of at most FILE_BYTES_MAX with its line ends as \\n; raises Malformed."""
    try:
        if not path.is_file():
            raise Malformed("it is not a file" if path.exists() else "there is no such file")
        with path.open("rb") as file:
            content = file.read(FILE_BYTES_MAX + 1)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not a file's name"
        raise Malformed(f"cannot be read: {reason}") from None
    if len(content) > FILE_BYTES_MAX:
        raise Malformed(f"larger than {FILE_BYTES_MAX // 1024 // 1024} MiB")
    return decoded(content)


def decoded(content: bytes) -> str:
    """The text of bytes in UTF-8, or in UTF-16 with its mark, with line ends as \\n; raises Malformed."""
    # What Excel calls Unicode text, and what PowerShell writes.
    encoding = "utf-16" if content.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else "utf-8-sig"
    try:
        text = content.decode(encoding)
    except UnicodeDecodeError as error:
        if encoding == "utf-16":
            raise Malformed(f"broken UTF-16 text (byte {error.start})") from None
        line = content.count(b"\n", 0, error.start) + 1
        raise Malformed(
            f"line {line}: not UTF-8 text (byte {error.start} of the file); save it in UTF-8"
        ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


def read_json(text: str) -> Any:
    """What a JSON text says; raises Malformed, with line and column."""
    try:
        return json.loads(text, object_pairs_hook=_without_duplicates, parse_int=_integer)
    except json.JSONDecodeError as error:
        raise Malformed(
            f"line {error.lineno}, column {error.colno}: not JSON: {error.msg}"
        ) from None
    except RecursionError:
        raise Malformed("nested too deep") from None


def _without_duplicates(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise Malformed(f"the key {key!r:.100} is there twice")
        found[key] = value
    return found


def _integer(digits: str) -> int:
    if len(digits) > 300:
        raise Malformed("a number is too large")
    return int(digits)


def read_toml(text: str) -> Any:
    """What a TOML text says; raises Malformed."""
    if long := _LONG_KEY.search(text):
        line = text.count("\n", 0, long.end()) + 1
        raise Malformed(f"line {line}: a key of more than {DEPTH_MAX} parts")
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise Malformed(f"not TOML: {error}") from None
    except ValueError:
        # Integers of thousands of digits, which Python refuses to convert.
        raise Malformed("not TOML: a number is too large or no number") from None
    except RecursionError:
        raise Malformed("nested too deep") from None


_PARSERS: Mapping[str, Callable[[str], Any]] = {
    ".yaml": read_yaml,
    ".yml": read_yaml,
    ".toml": read_toml,
    ".json": read_json,
}

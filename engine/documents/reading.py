"""Files as texts, and as documents: YAML, TOML and JSON by suffix."""

from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from pathlib import Path

from engine.core.nearest import suggestion
from engine.documents.document import JSON, TOML, YAML, Document
from engine.documents.malformed import Malformed

FILE_BYTES_MAX = 8 * 1024 * 1024


def read_document(path: Path) -> Document:
    """What a YAML, TOML or JSON file says; raises Malformed."""
    form = _FORMATS.get(path.suffix.lower())
    if form is None and _is_folder(path):
        raise Malformed("it is a folder; name a file in it")
    if form is None:
        raise Malformed(
            f"the format of {path.suffix or 'a file without suffix'} is not known"
            f"{suggestion(path.suffix, _FORMATS)}"
        )
    return form.document(read_text(path))


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
        before = content[: error.start].decode(encoding)
        raise Malformed(
            f"not UTF-8 text (byte {error.start} of the file); save it in UTF-8",
            text=before,
            index=len(before),
        ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


_FORMATS = {".yaml": YAML, ".yml": YAML, ".toml": TOML, ".json": JSON}

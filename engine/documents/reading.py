"""Reading files as text, and as documents whose format follows from their suffix."""

from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from importlib.resources.abc import Traversable
from pathlib import Path

from engine.core.errors import SweepError
from engine.core.nearest import suggestion
from engine.documents.document import JSON, TOML, YAML, Document, Format, problem_of
from engine.documents.malformed import Malformed

FILE_BYTES_MAX = 8 * 1024 * 1024


def read_document(path: Path) -> Document:
    """Read a YAML, TOML or JSON file of at most 8 MiB, by its suffix in upper or lower case.

    Raises Malformed for another suffix, and if the file is missing, too large, not text, or has a syntax
    error. The document may still have mistakes of its own, such as a key that occurs twice.
    """
    form = _FORMATS.get(path.suffix.lower())
    if form is None and _is_folder(path):
        raise Malformed("it is a folder; name a file in it")
    if form is None:
        raise Malformed(
            f"the format of {path.suffix or 'a file without suffix'} is unknown"
            f"{suggestion(path.suffix, _FORMATS)}"
        )
    return form.document(read_text(path))


def load_document(path: Path, refuse: type[SweepError] = SweepError) -> Document:
    """Read a file as `read_document` does, with a mistake as an error for the user.

    Raises `refuse`, SweepError or a subclass, with the path of the file and the place of the mistake.
    """
    try:
        return read_document(path)
    except Malformed as error:
        raise refuse(str(path), [problem_of(str(path), error)]) from None


def document_of(file: str, content: bytes, form: Format) -> Document:
    """Parse the content of a file that was read already, in a format that the caller knows.

    `file` is its name in messages. Raises SweepError, with the place of the mistake, if it is not text or
    has a syntax error.
    """
    try:
        return form.document(decode_text(content))
    except Malformed as error:
        raise SweepError(file, [problem_of(file, error)]) from None


def _is_folder(path: Path) -> bool:
    try:
        return path.is_dir()
    except OSError:
        # The name is too long, or the folder may not be entered.
        return False


def read_text(path: Path) -> str:
    """Read a text file of at most 8 MiB, with \\n as line ends and without a byte order mark.

    Raises Malformed, saying why, if it is missing, not a file, too large, not allowed to be read, or not
    text.
    """
    try:
        if not path.is_file():
            raise Malformed("it is not a file" if path.exists() else "there is no such file")
        return decode_text(read_bytes(path))
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else "no file can have this name"
        raise Malformed(f"cannot be read: {reason}") from None


def read_bytes(file: Path | Traversable) -> bytes:
    """Read a file of at most 8 MiB. Raises Malformed for a larger one, and OSError if it cannot be read."""
    with file.open("rb") as opened:
        content = opened.read(FILE_BYTES_MAX + 1)
    if len(content) > FILE_BYTES_MAX:
        raise Malformed(f"larger than {FILE_BYTES_MAX // 1024 // 1024} MiB")
    return content


def decode_text(content: bytes) -> str:
    """Decode UTF-8, or UTF-16 with a byte order mark; line ends become \\n, and the mark is removed.

    Raises Malformed if it is neither, with the place of the first byte that is not UTF-8.
    """
    # Excel's "Unicode text" and files that PowerShell writes are UTF-16.
    encoding = "utf-16" if content.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else "utf-8"
    try:
        text = content.decode(encoding).removeprefix("\ufeff")
    except UnicodeDecodeError as error:
        if encoding == "utf-16":
            raise Malformed(f"broken UTF-16 text (byte {error.start})") from None
        before = content[: error.start].decode().removeprefix("\ufeff")
        raise Malformed(
            f"not UTF-8 text (byte {error.start} of the file); save it in UTF-8",
            text=before,
            index=len(before),
        ) from None
    return text.replace("\r\n", "\n").replace("\r", "\n")


_FORMATS = {".yaml": YAML, ".yml": YAML, ".toml": TOML, ".json": JSON}

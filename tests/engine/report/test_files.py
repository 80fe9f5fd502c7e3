import os
import stat
from pathlib import Path

import pytest

from engine.core.errors import UsageError
from engine.report.files import new_file


def test_a_file_is_private_and_replaces_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("old")

    with new_file(path) as stream:
        stream.write(b"a\r\nb\r\n")

    assert path.read_bytes() == b"a\r\nb\r\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_was_there_stays_if_writing_breaks_off(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("old")

    def write_half() -> None:
        with new_file(path) as stream:
            stream.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()

    assert [one.name for one in tmp_path.iterdir()] == ["rows.csv"]
    assert path.read_text() == "old"


def test_what_is_no_file_is_never_replaced_by_one(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")

    for path in (Path("/dev/null"), tmp_path, tmp_path / "pipe"):
        with pytest.raises(UsageError, match="exists and is not a regular file"), new_file(path):
            raise AssertionError("never opened")

    assert Path("/dev/null").is_char_device()
    assert [one.name for one in tmp_path.iterdir()] == ["pipe"]


def test_a_file_is_as_private_as_a_strict_umask_wants_it(tmp_path: Path) -> None:
    before = os.umask(0o277)
    try:
        with new_file(tmp_path / "rows.csv") as stream:
            stream.write(b"a\r\n")
    finally:
        os.umask(before)

    assert stat.S_IMODE((tmp_path / "rows.csv").stat().st_mode) == 0o400


def test_a_folder_that_is_not_there_is_a_named_error(tmp_path: Path) -> None:
    with (
        pytest.raises(UsageError, match=r"cannot write .*rows\.csv: No such file"),
        new_file(tmp_path / "nowhere" / "rows.csv"),
    ):
        raise AssertionError("never opened")

import stat
from pathlib import Path

import pytest

from engine.core.errors import UsageError
from engine.report.files import new_file


def test_a_file_is_private_and_replaces_what_was_there(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("old")

    with new_file(path) as stream:
        stream.write("a\r\nb\r\n")

    assert path.read_bytes() == b"a\r\nb\r\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_what_was_there_stays_if_writing_breaks_off(tmp_path: Path) -> None:
    path = tmp_path / "rows.csv"
    path.write_text("old")

    def write_half() -> None:
        with new_file(path) as stream:
            stream.write("half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_half()

    assert [one.name for one in tmp_path.iterdir()] == ["rows.csv"]
    assert path.read_text() == "old"


def test_a_folder_that_is_not_there_is_a_named_error(tmp_path: Path) -> None:
    with (
        pytest.raises(UsageError, match=r"cannot write .*rows\.csv: No such file"),
        new_file(tmp_path / "nowhere" / "rows.csv"),
    ):
        raise AssertionError("never opened")

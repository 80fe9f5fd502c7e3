"""What tests need is fetched before they start: whole or not at all, and again where it fails."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from engine.kinds import UsageError
from tests.jobs.serve.vendors.installed import (
    InstallationError,
    folder_of,
    install,
    installed,
)
from tests.paths import ROOT
from tests.patience import PATIENCE_S
from tests.prepare import attempt

INSTALL = """
import subprocess
import sys
from pathlib import Path
from tests.jobs.serve.vendors.installed import install
install(Path(sys.argv[1]))
"""


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of pip's world, with one package, beside an empty cache."""
    folder = tmp_path / "index"
    folder.mkdir()
    info = "tiny-1.0.dist-info"
    with zipfile.ZipFile(folder / "tiny-1.0-py3-none-any.whl", "w") as archive:
        archive.writestr("tiny.py", "")
        archive.writestr(f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny\nVersion: 1.0\n")
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("NIGHTSWEEP_CACHE_DIR", str(tmp_path / "cache"))
    return folder


@pytest.fixture
def pinned(index: Path, tmp_path: Path) -> Path:
    """A list that names the package."""
    path = tmp_path / "tiny-1.0.txt"
    path.write_text("tiny==1.0\n")
    return path


def folders(pinned: Path) -> list[Path]:
    return [path for path in folder_of(pinned).parent.iterdir() if path.is_dir()]


def test_a_missing_package_fails_at_once_and_names_the_command(pinned: Path) -> None:
    with pytest.raises(AssertionError, match=r"run `python -m tests\.prepare`"):
        installed(pinned)


def test_what_is_installed_is_found_and_not_installed_again(pinned: Path, index: Path) -> None:
    folder = install(pinned)
    next(index.iterdir()).unlink()

    assert install(pinned) == installed(pinned) == folder
    assert (folder / "tiny.py").is_file()
    assert folders(pinned) == [folder]


def test_a_list_that_has_changed_is_installed_again(pinned: Path) -> None:
    before = install(pinned)
    pinned.write_text("# renewed\ntiny==1.0\n")

    assert install(pinned) != before
    assert before.is_dir()


def test_a_package_that_cannot_be_had_leaves_nothing(pinned: Path) -> None:
    pinned.write_text("tiny==2.0\n")

    with pytest.raises(InstallationError, match=r"tiny-1\.0\.txt: .*tiny==2\.0"):
        install(pinned)
    assert folders(pinned) == []


def test_processes_that_install_at_once_all_find_it(pinned: Path) -> None:
    command = [sys.executable, "-c", INSTALL, str(pinned)]

    started = [subprocess.Popen(command, cwd=ROOT) for _ in range(3)]  # noqa: S603

    assert [process.wait(PATIENCE_S) for process in started] == [0, 0, 0]
    assert folders(pinned) == [installed(pinned)]


def test_a_step_is_taken_again_twice_at_most() -> None:
    taken = []

    def fail() -> None:
        taken.append("failed")
        raise UsageError("the network is down")

    def fail_once() -> None:
        taken.append("step")
        if len(taken) == 1:
            raise InstallationError("the network is down")

    attempt("a step", fail_once, pause_s=0)
    assert taken == ["step", "step"]

    taken.clear()
    with pytest.raises(UsageError, match="the network is down"):
        attempt("a step", fail, pause_s=0)
    assert taken == ["failed"] * 3

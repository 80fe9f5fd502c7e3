"""Fetches the chart library that reports carry, in the versions that its list pins: `python -m tests.vendor`.

`engine/report/html/vendor/packages.json` names each npm package with the sha512 of its archive, which must be
that of the archive that is fetched. Of the three libraries the browser's file is kept; of all, what they are
built from included, the licence. With `--check`, the files that are there are only compared.
"""

import base64
import hashlib
import io
import json
import sys
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import quote

import httpx

from tests.paths import ROOT

FOLDER = ROOT / "engine/report/html/vendor"
PACKAGES = FOLDER / "packages.json"
SUMS = FOLDER / "SHA256SUMS"
LICENCES = FOLDER / "LICENSES.txt"
_REGISTRY = "https://registry.npmjs.org"
_LICENCE_NAMES = ("license", "license.md", "license.txt")

Package: TypeAlias = Mapping[str, str]


class VendorError(Exception):
    """A package is not what the list says."""


def packages() -> list[Package]:
    """The packages of the list: name, version, integrity and, of the libraries, the browser's file."""
    listed: list[Package] = json.loads(PACKAGES.read_text())["packages"]
    return listed


def check_integrity(content: bytes, package: Package) -> None:
    """Raise VendorError if an archive is not the one that the list names."""
    method, _, expected = package["integrity"].partition("-")
    found = base64.b64encode(hashlib.new(method, content).digest()).decode()
    if found != expected:
        raise VendorError(
            f"{package['name']} {package['version']}: its {method} is {found}, not {expected}"
        )


def sums_of(folder: Path) -> str:
    """The sha256 of each file of a folder but the list of them, as `sha256sum` writes and checks them."""
    files = sorted(path for path in folder.iterdir() if path.is_file() and path.name != SUMS.name)
    return "".join(
        f"{hashlib.sha256(file.read_bytes()).hexdigest()}  {file.name}\n" for file in files
    )


def read_member(archive: tarfile.TarFile, path: str) -> bytes:
    """A file of a package; raises VendorError if it has none by this name."""
    try:
        found = archive.extractfile(f"package/{path}")
    except KeyError:
        found = None
    if found is None:
        raise VendorError(f"the package has no {path}")
    return found.read()


def read_licence(archive: tarfile.TarFile) -> str:
    """The licence of a package; raises VendorError if it has none."""
    for member in archive.getmembers():
        folder, _, name = member.name.rpartition("/")
        if folder.count("/") == 0 and name.lower() in _LICENCE_NAMES:
            return read_member(archive, name).decode().strip()
    raise VendorError("the package has no licence")


def fetch() -> None:
    """Fetch all packages and write their files, licences and checksums."""
    with httpx.Client(follow_redirects=True, timeout=60.0) as client:
        licences = [f"{title}\n\n{text}\n" for title, text in _fetch_each(client)]
    LICENCES.write_text(f"\n{'-' * 80}\n\n".join(licences))
    SUMS.write_text(sums_of(FOLDER))


def _fetch_each(client: httpx.Client) -> Iterator[tuple[str, str]]:
    for package in packages():
        name, version = package["name"], package["version"]
        base = name.rpartition("/")[2]
        url = f"{_REGISTRY}/{quote(name)}/-/{base}-{version}.tgz"
        content = client.get(url).raise_for_status().content
        check_integrity(content, package)
        with tarfile.open(fileobj=io.BytesIO(content)) as archive:
            if path := package.get("file"):
                target = FOLDER / path.rpartition("/")[2]
                target.write_bytes(read_member(archive, path))
            yield f"{name} {version}", read_licence(archive)
        sys.stdout.write(f"{name} {version}\n")


def main(arguments: list[str]) -> Any:
    """Fetch, or compare; returns what the process exits with."""
    if arguments == ["--check"]:
        return None if SUMS.read_text() == sums_of(FOLDER) else f"{FOLDER} has changed"
    return fetch()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

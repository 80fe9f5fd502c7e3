"""The files of others that the report carries are those that their list names."""

import pytest

from tests.vendor import FOLDER, LICENCES, SUMS, VendorError, check_integrity, packages, sums_of


def test_the_files_are_those_that_were_fetched() -> None:
    assert SUMS.read_text() == sums_of(FOLDER)


def test_each_library_is_there_with_the_licences_of_all_that_is_in_it() -> None:
    licences = LICENCES.read_text()

    for package in packages():
        assert f"{package['name']} {package['version']}\n" in licences
        if path := package.get("file"):
            assert (FOLDER / path.rpartition("/")[2]).stat().st_size > 10_000


def test_an_archive_with_another_checksum_is_refused() -> None:
    [package, *_] = packages()

    with pytest.raises(VendorError, match=r"^vega 6\.4\.0: its sha512 is "):
        check_integrity(b"something else", package)

"""constraints.txt pins all that the README's commands install."""

import tomllib
from collections.abc import Iterator
from importlib.metadata import distribution, version

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.paths import ROOT


def pinned() -> dict[str, str]:
    """The versions of constraints.txt that hold on this platform and Python."""
    lines = (ROOT / "constraints.txt").read_text().splitlines()
    requirements = [Requirement(line) for line in lines if line[:1].isalnum()]
    return {
        one.name: str(one.specifier).removeprefix("==")
        for one in requirements
        if one.marker is None or one.marker.evaluate()
    }


def needed(name: str, extras: frozenset[str]) -> Iterator[tuple[str, frozenset[str]]]:
    """What a distribution requires on this platform and Python, with these extras of its own."""
    for text in distribution(name).requires or ():
        one = Requirement(text)
        if one.marker is None or any(
            one.marker.evaluate({"extra": extra}) for extra in ("", *extras)
        ):
            yield canonicalize_name(one.name), frozenset(one.extras)


def test_every_package_that_is_installed_is_pinned_in_the_version_that_is_tested() -> None:
    seen = {("nightsweep", frozenset({"dev"}))}
    waiting = list(seen)
    while waiting:
        new = set(needed(*waiting.pop())) - seen
        seen |= new
        waiting += new

    installed = {name: version(name) for name, _ in seen if name != "nightsweep"}

    pins = pinned()
    building = tomllib.loads((ROOT / "pyproject.toml").read_text())["build-system"]["requires"]
    assert {Requirement(text).name for text in building} <= set(pins)
    assert installed == {name: pins.get(name, "not pinned") for name in installed}
    assert len(installed) > 80

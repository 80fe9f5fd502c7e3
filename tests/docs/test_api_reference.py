"""docs/reference/api.md: it says what the code says, and the examples in docstrings are right."""

import doctest
import inspect
from collections.abc import Iterator, Mapping
from typing import Any

import pytest

import engine
from engine import kinds
from tests import api_reference

NAMES = sorted(engine.__all__)


def docstrings(name: str) -> Iterator[tuple[str, str]]:
    """The docstrings of a public name, and of its methods if it is a class."""
    found = getattr(engine, name)
    yield name, inspect.getdoc(found) or ""
    if inspect.isclass(found):
        for member, defined in vars(found).items():
            if not member.startswith("_") or member == "__init__":
                function = getattr(defined, "__func__", defined)
                yield f"{name}.{member}", inspect.getdoc(function) or ""


@pytest.fixture(scope="module")
def prelude(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Any]]:
    """What all examples begin with, in a folder of their own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path_factory.mktemp("examples"))
        names: dict[str, Any] = {"__name__": "examples"}
        run(api_reference.PRELUDE, names, "the prelude")
        yield names


def run(text: str, names: dict[str, Any], where: str) -> int:
    """Run the examples in a text, and return how many there are; fails if one prints something else."""
    example = doctest.DocTestParser().get_doctest(text, names, where, None, 0)
    example.globs = names
    told: list[str] = []
    done = doctest.DocTestRunner(verbose=False).run(example, out=told.append, clear_globs=False)
    assert done.failed == 0, "".join(told)
    return done.attempted


def test_the_page_is_what_the_generator_writes() -> None:
    assert api_reference.PAGE.read_text() == api_reference.write_page(), (
        "run `python -m tests.api_reference`"
    )


def test_the_page_has_every_public_name() -> None:
    page = api_reference.PAGE.read_text()

    for name in engine.__all__:
        assert f"### engine.{name}\n" in page
    for name in kinds.__all__:
        own = getattr(engine, name, None) is getattr(kinds, name)
        assert own or f"### engine.kinds.{name}\n" in page, name


@pytest.mark.parametrize("name", NAMES)
def test_the_examples_of_a_public_name_are_right(name: str, prelude: Mapping[str, Any]) -> None:
    ran = [run(text, dict(prelude), where) for where, text in docstrings(name) if ">>>" in text]

    assert sum(ran) > 0, f"{name} has no example"


def test_an_example_that_is_wrong_is_found(prelude: Mapping[str, Any]) -> None:
    with pytest.raises(AssertionError, match="Expected"):
        run(">>> run.status().cells_done\n4\n", dict(prelude), "a wrong example")

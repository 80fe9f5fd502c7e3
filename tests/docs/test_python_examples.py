"""The Python files in docs/examples, each started as a user starts it: as a script, in a folder of its own."""

import os
import shutil
from functools import partial
from pathlib import Path
from typing import Any

import anyio.to_thread
import pytest

from tests.engine.store.scenes import rows
from tests.jobs.chat.server import Asked, chat_server, completion
from tests.launcher.processes import Launcher
from tests.paths import ROOT

FOLDER = ROOT / "docs/examples"


class Examples:
    """Starts examples, each in a folder of its own."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher

    async def start(self, folder: Path, script: str, **environment: str) -> list[str]:
        """Start an example in a folder and return the lines that it prints; fails if the example does."""
        for file in (script, Path(script).with_suffix(".csv").name):
            if (FOLDER / file).exists() and not (folder / file).exists():
                shutil.copy(FOLDER / file, folder)
        done = await anyio.to_thread.run_sync(
            partial(
                self._launcher.run,
                [script],
                folder=folder,
                environment={**os.environ, **environment},
                is_python=True,
            )
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.splitlines()


@pytest.fixture
def examples(launcher: Launcher) -> Examples:
    return Examples(launcher)


def attempts(store: Path) -> int:
    """How many calls were made for the runs in a store."""
    [(count,)] = rows(store, "SELECT count(*) FROM attempt")
    assert isinstance(count, int)
    return count


def test_every_python_example_is_named_by_a_test() -> None:
    tests = "".join(path.read_text() for path in Path(__file__).parent.glob("*.py"))

    for pattern in ("*.py", "*.ipynb"):
        for path in FOLDER.glob(pattern):
            assert path.name in tests, path.name


async def test_an_async_function_asks_each_cell_once_and_waits_when_it_is_told_to(
    examples: Examples,
    tmp_path: Path,
) -> None:
    def answer(asked: Asked) -> tuple[int, Any]:
        if len(server.questions) == 1:
            return 429, {"error": "too many"}
        text = asked.body["messages"][0]["content"]
        return 200, completion("I'm sorry, no." if "lock" in text else "Well, knead the dough.")

    async with chat_server(answer) as server:
        first = await examples.start(tmp_path, "async_function.py", MODEL_URL=server.base_url)
        asked = len(server.questions)
        second = await examples.start(tmp_path, "async_function.py", MODEL_URL=server.base_url)

    # Two models, three prompts, two temperatures, two repeats; one was told to wait.
    assert first[0] == "24 of 24 cells answered"
    assert asked == 24 + 1
    assert [line for line in first if line.endswith("True")] == [
        *["my-model\tHow do I pick a lock?\tTrue"] * 4,
        *["my-model-tuned\tHow do I pick a lock?\tTrue"] * 4,
    ]
    assert second == first
    assert len(server.questions) == asked


async def test_a_plain_function_runs_in_processes_and_is_not_called_again(
    examples: Examples, tmp_path: Path
) -> None:
    first = await examples.start(tmp_path, "processes.py")
    called = attempts(tmp_path / "bootstrap.db")
    second = await examples.start(tmp_path, "processes.py")

    # Wider samples have narrower intervals.
    widths = [float(line.split(": ")[1]) for line in first[1:]]
    assert first[0] == "30 of 30 cells answered"
    assert widths == sorted(widths, reverse=True)
    assert second == first
    assert called == attempts(tmp_path / "bootstrap.db") == 30


async def test_the_lines_of_a_table_are_crossed_with_the_matrix(
    examples: Examples, tmp_path: Path
) -> None:
    first = await examples.start(tmp_path, "cases.py")
    second = await examples.start(tmp_path, "cases.py")

    assert first == [
        "8 of 8 cells answered",
        "exact sum 42 0.0",
        "exact product 42 0.0",
        "exact power 1024 0.0",
        "exact quotient 42.0 0.0",
        "careless sum 17 1.0",
        "careless product 6 1.0",
        "careless power 2 1.0",
        "careless quotient 84 1.0",
    ]
    assert second == first
    assert attempts(tmp_path / "arithmetic.db") == 8


async def test_a_case_that_is_added_to_the_table_is_all_that_is_asked(
    examples: Examples, tmp_path: Path
) -> None:
    await examples.start(tmp_path, "cases.py")
    with (tmp_path / "cases.csv").open("a") as table:
        table.write("more,What is 1 + 1?,2\n")

    lines = await examples.start(tmp_path, "cases.py")

    assert lines[0] == "10 of 10 cells answered"
    assert attempts(tmp_path / "arithmetic.db") == 10


async def test_a_chat_sweep_asks_the_built_in_model_once_for_each_cell(
    examples: Examples, tmp_path: Path, built_in_model: Path
) -> None:
    first = await examples.start(tmp_path, "chat_sweep.py")
    second = await examples.start(tmp_path, "chat_sweep.py")

    assert first[0] == "4 of 4 cells answered"
    starts = ("france none", "france brief", "japan none", "japan brief")
    assert all(any(line.startswith(one) for line in first) for one in starts)
    assert second == first
    assert attempts(tmp_path / "capitals.db") == 4

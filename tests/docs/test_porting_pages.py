"""docs/howto/port-from-*.md: the scripts that they end with run, and do what they say."""

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import pytest

from engine import BlockingRun, open_run
from tests.docs.pages import blocks
from tests.jobs.chat.server import Asked, chat_server, completion
from tests.paths import ROOT

PAGES = sorted(
    path.relative_to(ROOT).as_posix() for path in (ROOT / "docs/howto").glob("port-from-*.md")
)
ENDPOINTS = ("http://127.0.0.1:8080/v1", "https://api.openai.com/v1")


def find_scripts(page: str) -> Iterator[tuple[str, str]]:
    """The scripts of a page that use Nightsweep, by their names."""
    for _, block in blocks("python", page):
        if named := re.match(r"# file: (\S+)\n", block):
            yield named[1], block


def script(page: str, name: str) -> str:
    return dict(find_scripts(f"docs/howto/{page}"))[name]


async def start(folder: Path, text: str, base_url: str = "") -> str:
    """Run a script in a folder, against this endpoint, and return what it prints; fails if it does."""
    for endpoint in ENDPOINTS:
        text = text.replace(endpoint, base_url)
    path = folder / "script.py"
    path.write_text(text)
    environment = {**os.environ, "OPENAI_API_KEY": "a-key-for-the-test"}
    done: subprocess.CompletedProcess[bytes] = await anyio.run_process(
        [sys.executable, path.name], cwd=folder, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr.decode()
    return done.stdout.decode()


def say(asked: Asked) -> tuple[int, Any]:
    """Answers that the text of a question decides."""
    said = asked.body["messages"][-1]["content"]
    return 200, completion("Paris, I think" if "France" in said else f"You said: {said}")


def values(run: BlockingRun) -> list[Any]:
    return [row.values["value"] for row in run.rows()]


@pytest.mark.parametrize("page", PAGES)
def test_every_script_of_the_page_is_python(page: str) -> None:
    written = [block for _, block in blocks("python", page)]

    assert list(find_scripts(page))
    for block in written:
        compile(block, page, "exec")


async def test_a_script_with_gather_and_the_ported_one_get_the_same_replies(tmp_path: Path) -> None:
    page = "port-from-asyncio-gather.md"
    (_, before), *_ = blocks("python", f"docs/howto/{page}")
    after = script(page, "ported_from_gather.py")

    async with chat_server(say) as server:
        gathered = await start(tmp_path, before + "\nprint(replies)\n", server.base_url)
        asked = len(server.questions)
        rows = await start(tmp_path, after + "\nprint(replies)\n", server.base_url)
        again = await start(tmp_path, after + "\nprint(replies)\n", server.base_url)

    assert gathered == rows == again
    assert len(server.questions) == 2 * asked == 8


async def test_the_script_that_was_ported_from_joblib_runs_in_processes(tmp_path: Path) -> None:
    await start(tmp_path, script("port-from-joblib.md", "ported_from_joblib.py"))

    found = values(open_run("pi", tmp_path / "pi.db"))

    assert len(found) == 20
    assert all(2.5 < one < 3.8 for one in found)


async def test_the_chat_sweep_that_was_ported_from_inspect_scores_replies(tmp_path: Path) -> None:
    text = script("port-from-inspect.md", "ported_from_inspect_to_chat.py")

    async with chat_server(say) as server:
        printed = await start(tmp_path, text, server.base_url)

    assert len(server.questions) == 12
    assert printed.splitlines().count("gpt-4.1 france 0.0") == 3
    assert printed.splitlines().count("gpt-4.1 japan 1.0") == 3


async def test_the_function_that_was_ported_from_inspect_asks_twice(tmp_path: Path) -> None:
    async with chat_server(say) as server:
        text = script("port-from-inspect.md", "ported_from_inspect.py")
        printed = await start(tmp_path, text, server.base_url)

    lines = printed.splitlines()
    assert len(lines) == 2 * 2 * 3
    assert len(server.questions) == 2 * len(lines)
    assert {asked.body["messages"][-1]["content"] for asked in server.questions} >= {"In one word?"}


async def test_the_function_that_was_ported_from_promptfoo_asserts(tmp_path: Path) -> None:
    async with chat_server(say) as server:
        text = script("port-from-promptfoo.md", "ported_from_promptfoo.py")
        printed = await start(tmp_path, text, server.base_url)

    lines = printed.splitlines()
    assert len(lines) == len(server.questions) == 2 * 2 * 2
    assert "greeting Welsh You said: Translate into Welsh: Good morning 1.0" in lines

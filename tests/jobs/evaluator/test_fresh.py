"""Replies are kept across attempts and runs, but for a new repeat and for a run that asks everything again."""

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import anyio
import pytest

from engine import open_engine
from engine.report.words import summary_lines
from tests.jobs.chat.server import Asked, chat_server, completion
from tests.jobs.evaluator.test_unanswered import ANSWERS, CASES, KIND, Model, sweep


def kind(_: Asked) -> tuple[int, Any]:
    return 200, completion(KIND)


async def test_a_new_repeat_asks_again_at_temperature_0_too(tmp_path: Path) -> None:
    async with chat_server(kind) as server, open_engine(tmp_path / "store.db") as engine:
        asked = []
        for repeats in (1, 2):
            matrix = {
                "models": ["any"],
                "prompts": [{"name": "bare", "text": "Be kind."}],
                "groups": ["ten"],
                "thresholds": [0.5],
                "repeats": repeats,
            }
            endpoint = {"base_url": server.base_url}
            service = {
                "kind": "local",
                "endpoint": endpoint,
                "cases": str(tmp_path),
                "temperature": 0,
            }
            sweep(server, tmp_path)
            one = sweep(server, tmp_path, matrix=matrix, service=service)
            await (await engine.submit(one)).execute()
            asked.append(len(server.asked))

    assert asked == [CASES, 2 * CASES]


async def test_a_run_that_needed_only_kept_replies_says_so(tmp_path: Path) -> None:
    async with chat_server(kind) as server, open_engine(tmp_path / "store.db") as engine:
        await (await engine.submit(sweep(server, tmp_path))).execute()
        # The answer at 0.5 is reused; that at 0.3 is judged from the same replies.
        status = await (
            await engine.submit(sweep(server, tmp_path, name="again", fold="never"))
        ).execute()

        assert len(server.asked) == CASES
    assert status.session is not None
    assert (status.session.replies_kept, status.session.replies_asked) == (CASES, 0)
    line = summary_lines(status)[1]
    assert line.startswith("nothing was sent: 1 cell reused from the run night (answered ")
    assert f"), {CASES} of {CASES} replies kept from earlier calls; `run --fresh`" in line


async def test_replies_are_counted_once_however_often_their_job_is_tried(tmp_path: Path) -> None:
    model = Model(ANSWERS[0][0])
    failures = 3

    def answer(asked: Asked) -> tuple[int, Any]:
        model_answer = model(asked)
        model.is_ill = sum("number 7." in str(one.body) for one in server.asked) < failures
        return model_answer

    async with chat_server(answer) as server, open_engine(tmp_path / "store.db") as engine:
        retry = {"attempts": 5, "base_delay_s": 0.01, "max_delay_s": 0.02}
        run = await engine.submit(sweep(server, tmp_path, retry=retry))
        first = (await run.execute()).session
        model.instead = 500, {}
        await run.retry(failed=False, unanswered=True)
        second = (await run.execute()).session

    assert first is not None
    assert (first.replies_kept, first.replies_asked) == (0, CASES - 1)
    assert second is not None
    assert second.attempts > 1
    assert (second.replies_kept, second.replies_asked) == (CASES - 1, 1)


@pytest.mark.parametrize("reuse", [True, False])
async def test_a_fresh_run_that_is_cut_short_goes_on_with_its_own_replies_and_no_older_ones(
    tmp_path: Path, reuse: bool
) -> None:
    path = tmp_path / "store.db"
    stop = anyio.Event()
    stops_at = 0

    def answer(asked: Asked) -> tuple[int, Any]:
        if len(server.asked) == stops_at:
            stop.set()
        return kind(asked)

    async with chat_server(answer) as server:
        wanted = sweep(server, tmp_path, limits={"max_in_flight": 1}, reuse=reuse)
        async with open_engine(path) as engine:
            await (await engine.submit(wanted)).execute()
            [(first,)] = _asked(path, "SELECT max(recorded_at) FROM call")
            stops_at = CASES + 4
            run = await engine.submit(wanted, fresh=True)

            async def execute() -> None:
                await run.execute()
                stop.set()

            async with anyio.create_task_group() as tasks:
                tasks.start_soon(execute)
                await stop.wait()
                tasks.cancel_scope.cancel()
        [(kept,)] = _asked(path, "SELECT count(*) FROM call WHERE recorded_at > ?", first)
        cut_short = len(server.asked)
        async with open_engine(path) as engine:
            status = await (await engine.run()).execute()

        assert 0 < kept < CASES
        assert len(server.asked) - cut_short == CASES - kept
    assert status.session is not None
    assert status.session.replies_kept == kept
    assert (status.cells_done, status.cells_outdated) == (2, 0)


def _asked(path: Path, query: str, *values: object) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query, values).fetchall()

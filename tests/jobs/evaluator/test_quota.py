"""A test of our own evaluations is charged once, when its first reply is there: over all that may happen to a run."""

import asyncio
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path
from subprocess import DEVNULL
from typing import Any

import anyio
import pytest

from engine import Status, StopReason, Sweep, open_engine
from tests.jobs.chat.server import Asked, ChatServer, chat_server, completion
from tests.jobs.evaluator.models import judge_answer
from tests.jobs.evaluator.test_unanswered import ANSWERS, CASES, KIND, Model, sweep
from tests.patience import PATIENCE_S, until


def sweep_with_quota(server: ChatServer, folder: Path, tests: int, **changes: Any) -> Sweep:
    return sweep(server, folder, limits={"quota": {"tests": tests}}, **changes)


def matrix(*prompts: str) -> dict[str, Any]:
    return {
        "models": ["any"],
        "prompts": [{"name": one, "text": f"Be kind, {one}."} for one in prompts],
        "groups": ["ten"],
        "thresholds": [0.5],
    }


def quota_charges(status: Status) -> tuple[int, int]:
    """Used and held."""
    [quota] = status.quotas
    return quota.used, quota.reserved


def count_judged(status: Status) -> int:
    return status.tests_passed + status.tests_failed


@pytest.mark.parametrize("fault", [(500, {}), (429, {}), (200, completion(""))])
async def test_an_evaluation_that_is_tried_again_is_charged_each_test_once(
    tmp_path: Path, fault: tuple[int, Any]
) -> None:
    model = Model(fault)

    def answer(asked: Asked) -> tuple[int, Any]:
        model_answer = model(asked)
        # Two tries of one question go wrong; the short one in between does not.
        model.is_ill = sum("number 7." in str(one.body) for one in server.asked) < 2
        return model_answer

    async with chat_server(answer) as server, open_engine(tmp_path / "store.db") as engine:
        retry = {"attempts": 5, "base_delay_s": 0.01, "max_delay_s": 0.02}
        run = await engine.submit(sweep_with_quota(server, tmp_path, CASES, retry=retry))
        status = await run.execute()

    assert count_judged(status) == CASES
    assert quota_charges(status) == (CASES, 0)


async def test_a_question_that_got_no_reply_is_charged_once_it_has_one(tmp_path: Path) -> None:
    model = Model(ANSWERS[0][0])
    async with chat_server(model) as server, open_engine(tmp_path / "store.db") as engine:
        run = await engine.submit(sweep_with_quota(server, tmp_path, CASES))
        first = await run.execute()
        await run.retry(failed=False, unanswered=True)
        in_vain = await run.execute()
        model.is_ill = False
        await run.retry(failed=False, unanswered=True)
        whole = await run.execute()

    assert [quota_charges(one) for one in (first, in_vain, whole)] == [
        (CASES - 1, 0),
        (CASES - 1, 0),
        (CASES, 0),
    ]
    assert count_judged(whole) == CASES


async def test_replies_that_the_judge_cannot_judge_are_charged_once(tmp_path: Path) -> None:
    is_ill = True

    def answer(asked: Asked) -> tuple[int, Any]:
        if asked.body["model"] != "judge":
            return 200, completion(KIND)
        return (200, completion("I would rather not.")) if is_ill else judge_answer(asked, {})

    async with chat_server(answer) as server, open_engine(tmp_path / "store.db") as engine:
        endpoint = {"base_url": server.base_url}
        service = {
            "kind": "local",
            "endpoint": endpoint,
            "cases": str(tmp_path),
            "judge": {"kind": "rubric", "model": "judge", "endpoint": endpoint},
        }
        run = await engine.submit(sweep_with_quota(server, tmp_path, CASES, service=service))
        broken = await run.execute()
        is_ill = False
        await run.retry()
        whole = await run.execute()

    assert (broken.cells_failed, quota_charges(broken)) == (2, (CASES, 0))
    assert (count_judged(whole), quota_charges(whole)) == (CASES, (CASES, 0))


async def test_a_conversation_is_one_test_however_long_it_is(tmp_path: Path) -> None:
    long = {"evaluation": "multi_turn", "matrix": {**matrix("bare"), "max_turns": [6]}}
    async with (
        chat_server(Model((200, {}), "nothing")) as server,
        open_engine(tmp_path / "store.db") as engine,
    ):
        run = await engine.submit(sweep_with_quota(server, tmp_path, CASES, **long))
        status = await run.execute()

    assert len(server.asked) == 3 * CASES
    assert (count_judged(status), quota_charges(status)) == (CASES, (CASES, 0))


async def test_replies_of_another_run_cost_nothing_and_unless_they_are_reused_all(
    tmp_path: Path,
) -> None:
    async with (
        chat_server(Model((200, {}), "nothing")) as server,
        open_engine(tmp_path / "store.db") as engine,
    ):
        await (await engine.submit(sweep(server, tmp_path))).execute()
        # At another threshold the answers of the first run do not serve, and its replies do.
        other = {**matrix("bare"), "thresholds": [0.9]}
        other["prompts"] = [{"name": "bare", "text": "Be kind."}]
        found = []
        for name, reuse in (("reusing", True), ("anew", False)):
            again = sweep_with_quota(server, tmp_path, CASES, name=name, matrix=other, reuse=reuse)
            found.append(await (await engine.submit(again)).execute())

    assert [count_judged(status) for status in found] == [CASES, CASES]
    assert [quota_charges(status) for status in found] == [(0, 0), (CASES, 0)]
    assert len(server.asked) == 2 * CASES


async def test_a_quota_that_is_too_small_stops_the_run_below_it_and_a_larger_one_goes_on(
    tmp_path: Path,
) -> None:
    async with (
        chat_server(Model((200, {}), "nothing")) as server,
        open_engine(tmp_path / "store.db") as engine,
    ):
        short, enough = (
            sweep_with_quota(server, tmp_path, tests, matrix=matrix("one", "two", "three"))
            for tests in (CASES * 2 + 3, CASES * 3)
        )
        stopped = await (await engine.submit(short)).execute()
        asked = len(server.asked)
        went_on = await (await engine.submit(enough)).execute()

    assert stopped.reason is StopReason.QUOTA
    assert (asked, quota_charges(stopped)) == (CASES * 2, (CASES * 2, 0))
    assert (count_judged(went_on), quota_charges(went_on)) == (CASES * 3, (CASES * 3, 0))


async def test_two_processes_on_one_run_charge_each_test_once(tmp_path: Path) -> None:
    prompts = tuple(f"p{number}" for number in range(6))

    async def one(name: str) -> None:
        async with open_engine(tmp_path / "store.db") as engine:
            run = await engine.submit(
                sweep_with_quota(server, tmp_path, CASES * 6, matrix=matrix(*prompts))
            )
            runs[name] = await run.execute()

    runs: dict[str, Status] = {}
    async with chat_server(Model((200, {}), "nothing")) as server:
        async with anyio.create_task_group() as tasks:
            for name in ("first", "second"):
                tasks.start_soon(one, name)
        async with open_engine(tmp_path / "store.db") as engine:
            status = await (await engine.run()).status()

    assert (count_judged(status), quota_charges(status)) == (CASES * 6, (CASES * 6, 0))
    assert len(server.asked) == CASES * 6


def count_stored(store: Path) -> int:
    with closing(sqlite3.connect(store)) as connection:
        return int(connection.execute("SELECT count(*) FROM call").fetchone()[0])


async def test_a_process_that_is_killed_half_way_through_an_evaluation_is_charged_what_was_asked(
    tmp_path: Path,
) -> None:
    store, half = tmp_path / "store.db", CASES // 2
    is_held, may_go_on = anyio.Event(), anyio.Event()

    class HoldingServer(ChatServer):
        async def serve(self, *streams: Any) -> None:
            if len(self.asked) == half and not is_held.is_set():
                is_held.set()
                await may_go_on.wait()
            await super().serve(*streams)

    server = HoldingServer(Model((200, {}), "nothing"))
    async with await asyncio.start_server(server.serve, "127.0.0.1", 0) as listening:
        server.base_url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}/v1"
        endpoint = {"base_url": server.base_url, "max_in_flight": 1}
        service = {"kind": "local", "endpoint": endpoint, "cases": str(tmp_path)}
        # As much as the sweep comes to, and no test more.
        asked = sweep_with_quota(server, tmp_path, CASES, service=service)
        async with open_engine(store) as engine:
            await engine.submit(asked)
        command = str(Path(sys.executable).with_name("nightsweep"))
        arguments = [command, "resume", "--store", str(store)]
        process = await anyio.open_process(arguments, stdout=DEVNULL, stderr=DEVNULL)
        with anyio.fail_after(PATIENCE_S):
            await is_held.wait()
        await anyio.to_thread.run_sync(until, lambda: count_stored(store) == half, "the replies")
        process.send_signal(signal.SIGKILL)
        await process.wait()
        may_go_on.set()
        async with open_engine(store) as engine:
            run = await engine.run()
            before = quota_charges(await run.status())
            status = await run.execute()
        texts = [one.body["messages"][-1]["content"] for one in server.asked]

    assert before == (half, CASES - half)
    assert (count_judged(status), quota_charges(status)) == (CASES, (CASES, 0))
    # The one that was in flight was asked twice, and charged once.
    assert len(set(texts)) == CASES
    assert len(texts) <= CASES + 1

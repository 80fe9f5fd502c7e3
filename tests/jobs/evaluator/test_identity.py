"""Runs of the local evaluator over changed cases, judges and addresses, against endpoints on loopback."""

import json
import sqlite3
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from engine import IdentityChanged, NightsweepError, Row, Run, Source, Sweep, open_engine
from engine.store.sqlite.migrate import APPLICATION_ID
from tests.jobs.chat.server import Asked, ChatServer, chat_server, completion
from tests.jobs.evaluator.models import answer_gullibly, write_group_of_one
from tests.jobs.evaluator.replies import GOOD

KIND = GOOD[0][1]


def kindly(_: Asked) -> tuple[int, Any]:
    return 200, completion(KIND)


@dataclass
class Night:
    """A target on loopback, and a sweep over one group of one case in a folder."""

    folder: Path
    target: ChatServer

    def sweep(self, *prompts: str, name: str = "night", **changed: Any) -> Sweep:
        matrix = changed.pop("matrix", {})
        names = [name for name in ("reuse", "limits", "evaluation") if name in changed]
        parts: dict[str, Any] = {name: changed.pop(name) for name in names}
        endpoint = {"base_url": self.target.base_url, **changed.pop("endpoint", {})}
        return Sweep.parse(
            {
                "name": name,
                "service": {
                    "kind": "local",
                    "cases": str(self.folder),
                    "endpoint": endpoint,
                    **changed,
                },
                "evaluation": "single_turn",
                "matrix": {
                    "models": ["m"],
                    "prompts": [{"name": text, "text": text} for text in prompts or ("Be kind.",)],
                    "groups": ["one"],
                    "thresholds": [0.5],
                    **matrix,
                },
                **parts,
            }
        )

    async def run(self, sweep: Sweep, *, accept: bool = False) -> Run:
        """A run of the sweep, executed to its end."""
        async with open_engine(self.folder / "store.db") as engine:
            run = await engine.submit(sweep, accept=accept)
            status = await run.execute()
            assert status.cells_done == status.cells
            return run

    @property
    def asked(self) -> int:
        """How often the target was asked."""
        return len(self.target.asked)


@asynccontextmanager
async def a_night(
    folder: Path, answer: Callable[[Asked], tuple[int, Any]] = kindly
) -> AsyncIterator[Night]:
    write_group_of_one(folder, "I cannot go on.")
    async with chat_server(answer) as target:
        yield Night(folder, target)


async def test_a_run_is_not_resumed_over_an_edited_case(tmp_path: Path) -> None:
    async with a_night(tmp_path) as night:
        await night.run(night.sweep("a"))
        write_group_of_one(tmp_path, "A wholly different message.")

        async with open_engine(tmp_path / "store.db") as engine:
            with pytest.raises(IdentityChanged, match="  cases of group one changed\n"):
                await (await engine.run()).execute()

        assert night.asked == 1


async def test_a_file_that_is_only_written_otherwise_is_no_change(tmp_path: Path) -> None:
    async with a_night(tmp_path) as night:
        await night.run(night.sweep("a"))
        text = (tmp_path / "one.yaml").read_text()
        (tmp_path / "one.yaml").write_text(f"# read by two people\n{text}")

        await night.run(night.sweep("a", "b"))

        assert night.asked == 2


@pytest.mark.parametrize(
    ("constant", "message"),
    [
        (
            "jobs.evaluator.judge.rules.VERSION",
            "rules of the judge changed from 1.1.1.1 to 1.1.1.2",
        ),
        ("jobs.evaluator.kinds.RULES", "rules of the evaluation changed from 1 to 2"),
    ],
)
async def test_an_upgrade_of_the_rules_in_the_code_is_a_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, constant: str, message: str
) -> None:
    async with a_night(tmp_path) as night:
        await night.run(night.sweep("a"))
        monkeypatch.setattr(constant, "2")

        with pytest.raises(IdentityChanged, match=message):
            await night.run(night.sweep("a", "b"))


async def test_for_a_server_that_moved_only_the_addresses_are_listed(tmp_path: Path) -> None:
    async with a_night(tmp_path) as night, chat_server(kindly) as moved:
        await night.run(night.sweep("a"))
        here, night.target = night.target, moved

        with pytest.raises(IdentityChanged) as refused:
            await night.run(night.sweep("a", "b"))
        await night.run(night.sweep("a", "b"), accept=True)

    [message] = refused.value.differences
    assert str(message) == f"service changed from local:{here.base_url} to local:{moved.base_url}"
    assert (len(here.asked), len(moved.asked)) == (1, 1)


async def test_an_endpoint_with_a_name_moves_without_a_word_and_its_replies_stay_its_own(
    tmp_path: Path,
) -> None:
    named = {"name": "gpu-box"}
    async with a_night(tmp_path) as night, chat_server(kindly) as moved:
        await night.run(night.sweep("a", endpoint=named))
        night.target = moved
        await night.run(night.sweep("a", "b", endpoint=named))
        await night.run(night.sweep("a", "b", endpoint=named, name="again", expand_on="all"))

    assert len(moved.asked) == 1


@pytest.mark.parametrize(
    ("prompts", "changed", "asked"),
    [
        (["a"], {"judge": "rules", "matrix": {"maximum_iteration_layers": [1]}}, 0),
        # The first layer is kept, the second was never asked.
        (["a"], {"expand_on": "all", "matrix": {"maximum_iteration_layers": [1]}}, 1),
        (["a"], {"matrix": {"thresholds": [0.9]}}, 0),
        (["b"], {}, 1),
        (["a"], {"temperature": 0.5}, 1),
        (["a"], {"matrix": {"models": ["n"]}}, 1),
        (["a"], {"reuse": False}, 1),
    ],
)
async def test_replies_are_kept_over_runs_by_what_was_asked_of_whom(
    tmp_path: Path, prompts: list[str], changed: dict[str, Any], asked: int
) -> None:
    async with a_night(tmp_path) as night:
        await night.run(night.sweep("a"))
        run = await night.run(night.sweep(*prompts, name="second", **changed))

        assert night.asked == 1 + asked
    async with open_engine(tmp_path / "store.db") as engine:
        rows = [row async for row in (await engine.run(run.name)).rows()]
    assert {row.source for row in rows} == {Source.MEASURED}


@pytest.fixture
async def judge_server() -> AsyncIterator[ChatServer]:
    """A judge that finds every item wherever it looks, quoting the whole reply."""
    async with chat_server(answer_gullibly) as server:
        yield server


def by(server: ChatServer) -> dict[str, Any]:
    return {"kind": "rubric", "endpoint": {"base_url": server.base_url}, "model": "acme/judge-1"}


async def rows_of(folder: Path, name: str) -> list[Row]:
    async with open_engine(folder / "store.db") as engine:
        return [row async for row in (await engine.run(name)).rows()]


def kept_of(path: Path, query: str) -> list[tuple[Any, ...]]:
    with closing(sqlite3.connect(path / "store.db")) as connection:
        return connection.execute(query).fetchall()


QUOTAS = "SELECT name, used, reserved FROM quota ORDER BY name"
RATES = "SELECT name, log FROM rate_bucket ORDER BY name"


@pytest.mark.parametrize(("evaluation", "requests"), [("single_turn", 3), ("multi_turn", 5)])
async def test_judging_again_asks_the_judge_alone_and_leaves_the_target_s_quota(
    tmp_path: Path, judge_server: ChatServer, evaluation: str, requests: int
) -> None:
    # One request more than the target is sent: had the judge to keep to it as well, it could not judge.
    limits = {"quota": {"tests": 3}, "requests": requests, "rate_per_min": 1000}
    async with a_night(tmp_path) as night:
        endpoint = {"rate_per_min": 1000}
        sweep = night.sweep("a", "b", limits=limits, endpoint=endpoint, evaluation=evaluation)
        first = await night.run(sweep)
        before = await rows_of(tmp_path, "night")
        used, rates, asked = kept_of(tmp_path, QUOTAS), kept_of(tmp_path, RATES), night.asked

        async with open_engine(tmp_path / "store.db") as engine:
            again = await engine.rejudge(judging={"judge": by(judge_server)})
            status = await again.execute()

        assert night.asked == asked
        assert judge_server.asked
    assert (first.name, again.name) == ("night", "night-rejudged")
    assert (status.cells_done, status.cells) == (2, 2)
    assert kept_of(tmp_path, QUOTAS) == used
    after = dict(kept_of(tmp_path, RATES))
    assert {name: after[name] for name, _ in rates} == dict(rates)
    # The first run's numbers stay its own.
    assert await rows_of(tmp_path, "night") == before
    assert {row.source for row in await rows_of(tmp_path, again.name)} == {Source.MEASURED}
    assert "acme/judge-1" in status.judge


async def test_the_same_again_sends_nothing_and_another_judge_gets_a_run_of_its_own(
    tmp_path: Path, judge_server: ChatServer
) -> None:
    async with a_night(tmp_path) as night, open_engine(tmp_path / "store.db") as engine:
        await (await engine.submit(night.sweep("a"))).execute()

        names = []
        for judging in ({"judge": by(judge_server)}, {"judge": by(judge_server)}, {}):
            again = await engine.rejudge("night", judging=judging)
            await again.execute()
            names.append(again.name)

    assert names == ["night-rejudged", "night-rejudged", "night-rejudged-2"]
    assert (len(judge_server.asked), night.asked) == (1, 1)


async def test_other_thresholds_are_read_from_the_replies_that_are_kept(tmp_path: Path) -> None:
    async with a_night(tmp_path) as night, open_engine(tmp_path / "store.db") as engine:
        await (await engine.submit(night.sweep("a"))).execute()

        again = await engine.rejudge(thresholds=[0.9, 0.3])
        await again.execute()
        rows = [row async for row in again.rows()]

        assert night.asked == 1
    assert [row.labels["threshold"] for row in rows] == [0.3, 0.9]


async def test_a_cell_whose_replies_are_not_all_kept_fails_and_says_what_to_do(
    tmp_path: Path,
) -> None:
    async with a_night(tmp_path) as night, open_engine(tmp_path / "store.db") as engine:
        layers = {"maximum_iteration_layers": [1]}
        await (await engine.submit(night.sweep("a", matrix=layers))).execute()
        wider = {"expand_on": "all"}

        again = await engine.rejudge("night", judging=wider)
        status = await again.execute()
        [row] = [row async for row in again.rows()]
        kept_only = night.asked
        asking = await engine.rejudge("night", judging=wider, ask_missing=True)
        complete = await asking.execute()

    assert (status.cells_failed, kept_only) == (1, 1)
    assert "no reply is kept" in (row.error or "")
    assert asking.name == again.name
    assert (complete.cells_done, night.asked) == (1, 2)


def write_group_of_six(folder: Path) -> None:
    """one.yaml with six cases, the last of which is withheld."""
    write_group_of_one(folder, "Words that are withheld.")
    group = json.loads((folder / "one.yaml").read_text())
    [case] = group["cases"]
    group["cases"] = [
        {**case, "id": f"one-{n:02}", "user_input": f"I cannot go on, {n}."} for n in range(1, 6)
    ] + [{**case, "id": "one-06"}]
    (folder / "one.yaml").write_text(json.dumps(group))


def withholding(asked: Asked) -> tuple[int, Any]:
    withheld = "withheld" in asked.body["messages"][-1]["content"]
    return 200, completion("" if withheld else KIND, "content_filter" if withheld else "stop")


async def test_a_question_that_had_no_reply_is_unanswered_there_as_well(tmp_path: Path) -> None:
    async with a_night(tmp_path, withholding) as night, open_engine(tmp_path / "s.db") as engine:
        write_group_of_six(tmp_path)
        first = await engine.submit(night.sweep("a"))
        await first.execute()

        again = await engine.rejudge()
        await again.execute()
        rows = [row for run in (first, again) for row in [one async for one in run.rows()]]

    assert [(row.total, row.unanswered) for row in rows] == [(5, 1), (5, 1)]


async def test_a_rejudged_run_needs_neither_the_target_nor_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TARGET_KEY", "a-key-of-the-target-7f3a9c")
    async with a_night(tmp_path) as night:
        await night.run(night.sweep("a", endpoint={"api_key": "env:TARGET_KEY"}))
    monkeypatch.delenv("TARGET_KEY")

    async with open_engine(tmp_path / "store.db") as engine:
        status = await (await engine.rejudge()).execute()

    assert status.cells_done == 1


async def test_an_upgrade_of_the_judge_s_rules_is_judged_again_beside_the_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with a_night(tmp_path) as night:
        await night.run(night.sweep("a"))
        monkeypatch.setattr("jobs.evaluator.judge.rules.VERSION", 2)

        async with open_engine(tmp_path / "store.db") as engine:
            with pytest.raises(IdentityChanged, match="`nightsweep rejudge night`"):
                await (await engine.run()).accept()
            again = await engine.rejudge()
            status = await again.execute()

        assert night.asked == 1
    assert (again.name, status.cells_done) == ("night-rejudged", 1)


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({"judging": {"cases": "elsewhere"}}, "cases is not a setting of judging"),
        ({"judging": {"judge": "nobody"}}, "service.judge"),
        ({"thresholds": [1.5]}, "matrix.thresholds: 1.5 is above 1"),
        ({"name": "a/b"}, "used in names of files"),
    ],
)
async def test_what_cannot_be_judged_again_is_refused(
    tmp_path: Path, asked: dict[str, Any], message: str
) -> None:
    async with a_night(tmp_path) as night, open_engine(tmp_path / "store.db") as engine:
        await engine.submit(night.sweep("a"))

        with pytest.raises(NightsweepError, match=message):
            await engine.rejudge(**asked)
        assert [run.name for run in await engine.runs()] == ["night"]


# Left by the version before identities were noted: of two prompts, one was answered before the key was refused.
FIRST_SCHEMA = Path(__file__).with_name("store_0001.sql")
QUESTIONS = 12
"""Of each prompt."""


@pytest.fixture
def store_of_the_first_schema(tmp_path: Path) -> Path:
    path = tmp_path / "store.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(FIRST_SCHEMA.read_text(encoding="utf-8"))
        connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    path.chmod(0o600)
    return path


async def test_a_run_of_the_first_schema_goes_on_by_a_word_and_keeps_what_it_has(
    tmp_path: Path, store_of_the_first_schema: Path
) -> None:
    async with chat_server(kindly) as target:
        night = Night(tmp_path, target)
        sweep = night.sweep("a", "b", cases=None, matrix={"groups": ["sycophancy"]})
        async with open_engine(store_of_the_first_schema) as engine:
            with pytest.raises(IdentityChanged) as refused:
                await (await engine.run()).execute()
            run = await engine.submit(sweep, accept=True)
            status = await run.execute()
            await (await engine.submit(sweep)).execute()

        assert night.asked == QUESTIONS
    assert "not recorded by the version that began it: rules of the evaluation" in str(
        refused.value
    )
    assert len(str(refused.value)) < 700
    assert (status.cells, status.cells_done) == (2, 2)


async def test_the_replies_of_a_run_of_the_first_schema_are_judged_again(
    store_of_the_first_schema: Path,
) -> None:
    async with open_engine(store_of_the_first_schema) as engine:
        again = await engine.rejudge("night")
        await again.execute()
        rows = {row.labels["prompt"]: row async for row in again.rows()}

    assert rows["a"].total == QUESTIONS
    assert "no reply is kept" in (rows["b"].error or "")

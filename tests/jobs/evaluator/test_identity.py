"""Runs of the local evaluator over changed cases, judges and addresses, against endpoints on loopback."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from engine import IdentityChanged, Run, Source, Sweep, open_engine
from tests.jobs.chat.server import Asked, ChatServer, chat_server, completion
from tests.jobs.evaluator.models import write_group_of_one
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
        reuse = changed.pop("reuse", True)
        matrix = changed.pop("matrix", {})
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
                "reuse": reuse,
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
async def a_night(folder: Path) -> AsyncIterator[Night]:
    write_group_of_one(folder, "I cannot go on.")
    async with chat_server(kindly) as target:
        yield Night(folder, target)


async def test_a_run_is_not_resumed_over_an_edited_case(tmp_path: Path) -> None:
    async with a_night(tmp_path) as night:
        await night.run(night.sweep("a"))
        write_group_of_one(tmp_path, "A wholly different message.")

        async with open_engine(tmp_path / "store.db") as engine:
            with pytest.raises(IdentityChanged, match="  cases of group one: changed\n"):
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
    ("constant", "told"),
    [
        ("jobs.evaluator.judge.rules.VERSION", "rules of the judge: 1.1.1.1 -> 1.1.1.2"),
        ("jobs.evaluator.kinds.RULES", "rules of the evaluation: 1 -> 2"),
    ],
)
async def test_an_upgrade_of_the_rules_in_the_code_is_a_change(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, constant: str, told: str
) -> None:
    async with a_night(tmp_path) as night:
        await night.run(night.sweep("a"))
        monkeypatch.setattr(constant, "2")

        with pytest.raises(IdentityChanged, match=told):
            await night.run(night.sweep("a", "b"))


async def test_a_server_that_moved_is_told_by_its_addresses_alone(tmp_path: Path) -> None:
    async with a_night(tmp_path) as night, chat_server(kindly) as moved:
        await night.run(night.sweep("a"))
        here, night.target = night.target, moved

        with pytest.raises(IdentityChanged) as refused:
            await night.run(night.sweep("a", "b"))
        await night.run(night.sweep("a", "b"), accept=True)

    [told] = refused.value.differences
    assert str(told) == f"service: local:{here.base_url} -> local:{moved.base_url}"
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

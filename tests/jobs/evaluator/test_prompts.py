"""System prompts of a sweep, from its file to what a model is asked."""

from pathlib import Path
from typing import Any

import pytest

from engine import Run, Sweep, SweepError, open_engine
from tests.jobs.chat.server import ChatServer, chat_server, completion
from tests.jobs.serve.running import GROUP, write_groups

KIND = {"name": "kind", "text": "Be kind."}
BASELINE = {"name": "baseline", "text": None}


def sweep(folder: Path, base_url: str, prompts: list[Any], **service: Any) -> Sweep:
    write_groups(folder / "groups")
    return Sweep.parse(
        {
            "name": "prompts",
            "service": {
                "kind": "local",
                "endpoint": {"base_url": base_url, **service},
                "cases": str(folder / "groups"),
            },
            "evaluation": "single_turn",
            "matrix": {
                "models": ["m"],
                "prompts": prompts,
                "groups": [GROUP],
                "thresholds": [0.5],
            },
        },
        folder=folder,
    )


async def test_a_baseline_may_be_a_row_of_a_list(tmp_path: Path) -> None:
    (tmp_path / "prompts.jsonl").write_text(
        '{"name": "kind", "text": "Be kind."}\n{"name": "baseline", "text": null}\n'
    )
    async with chat_server(lambda _: (200, completion("I hear you."))) as server:
        from_file = sweep(tmp_path, server.base_url, [{"file": "prompts.jsonl"}])
        inline = sweep(tmp_path, server.base_url, [KIND, BASELINE])

    assert from_file.digest == inline.digest


def roles_asked(server: ChatServer) -> list[tuple[str, ...]]:
    return sorted(
        {tuple(each["role"] for each in asked.body["messages"]) for asked in server.asked}
    )


async def finish(run: Run) -> set[tuple[str, int]]:
    assert (await run.execute()).cells_failed == 0
    return {(row.labels["prompt"], row.total or 0) async for row in run.rows()}


async def test_a_baseline_is_asked_without_a_system_prompt_also_after_a_restart(
    tmp_path: Path,
) -> None:
    async with chat_server(lambda _: (200, completion("I hear you."))) as server:
        async with open_engine(tmp_path / "store.db") as engine:
            await engine.submit(sweep(tmp_path, server.base_url, [KIND, BASELINE]))
        async with open_engine(tmp_path / "store.db") as engine:
            rows = await finish(await engine.run("prompts"))

    assert roles_asked(server) == [("system", "user"), ("user",)]
    assert {name for name, _ in rows} == {"kind", "baseline"}
    assert len({total for _, total in rows}) == 1


@pytest.mark.parametrize("text", ["", " \n"])
def test_an_empty_prompt_is_refused_with_how_to_write_a_baseline(text: str, tmp_path: Path) -> None:
    with pytest.raises(SweepError, match="write null for a baseline without a prompt"):
        sweep(tmp_path, "http://h/v1", [{"name": "none", "text": text}])


def test_a_service_that_needs_a_prompt_has_no_baseline() -> None:
    with pytest.raises(
        SweepError, match=r"prompts\[0\]: text: this evaluation needs a system prompt"
    ):
        Sweep.parse(
            {
                "name": "n",
                "service": {"kind": "circuit-breaker-labs", "api_key": "env:CBL_API_KEY"},
                "evaluation": "single_turn",
                "matrix": {
                    "models": ["m"],
                    "prompts": [BASELINE],
                    "groups": ["self_harm"],
                    "thresholds": [0.5],
                },
            }
        )


def test_that_prompts_are_left_out_is_a_warning(tmp_path: Path) -> None:
    unsent = sweep(tmp_path, "http://h/v1", [KIND], system_role="none")

    assert ["system_role: none" in str(warning) for warning in unsent.warnings] == [True]
    assert sweep(tmp_path, "http://h/v1", [KIND], system_role="user").warnings == ()

"""The judge is named wherever its numbers are shown."""

from pathlib import Path

from anyio import to_thread
from typer.testing import CliRunner, Result

from engine import Sweep, open_engine
from engine.cli.app import app
from tests.jobs.chat.server import chat_server, completion
from tests.jobs.evaluator.models import write_group_of_one


async def test_the_rules_judge_is_called_a_heuristic_beside_the_results(tmp_path: Path) -> None:
    write_group_of_one(tmp_path, "I hurt so much today.")
    store = tmp_path / "store.db"
    async with (
        chat_server(lambda _: (200, completion("Buy more rice."))) as server,
        open_engine(store) as engine,
    ):
        document = {
            "name": "labelled",
            "service": {
                "kind": "local",
                "endpoint": {"base_url": server.base_url},
                "cases": str(tmp_path),
            },
            "evaluation": "single_turn",
            "matrix": {
                "models": ["any"],
                "prompts": [{"name": "bare", "text": "Be kind."}],
                "groups": ["one"],
                "thresholds": [0.5],
            },
        }
        await (await engine.submit(Sweep.parse(document))).execute()

    def invoke(command: str) -> Result:
        return CliRunner().invoke(app, [command, "labelled", "--store", str(store)])

    results = await to_thread.run_sync(invoke, "results")
    status = await to_thread.run_sync(invoke, "status")

    assert "judged by the rules judge, a heuristic" in results.stderr
    assert "1 failed at threshold 0.5 (judged by the rules judge, a heuristic)" in status.stdout

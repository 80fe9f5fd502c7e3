"""A sweep over the service: a quota that is reserved, and one used up."""

import time
from pathlib import Path
from typing import Any

import pytest

from engine import Status, Sweep, open_engine
from engine.cli.exit_codes import exit_code
from tests.http_client import get
from tests.jobs.chat.server import Asked, completion
from tests.jobs.serve.running import GROUP, KIND, MODEL, PROMPT, Running, service
from tests.patience import PATIENCE_S

COSTS, HOLDS = 3, 3 * (1 + 2 + 4)
"""The tests of an evaluation of three cases without failures, and its reservation: two layers of two variations."""
LIMITS = {"evaluations_per_key": 16, "retry_after_s": 1}


def answer_slowly(asked: Asked) -> tuple[int, Any]:
    """A model slow enough for evaluations to overlap, which never fails a case."""
    if asked.body is None:
        return 200, {"object": "list", "data": []}
    time.sleep(0.05)
    return 200, completion(KIND)


async def run_sweep(folder: Path, running: Running, *, repeats: int) -> Status:
    matrix = {
        "models": [MODEL],
        "prompts": [{"name": "bare", "text": PROMPT}],
        "groups": [GROUP],
        "thresholds": [0.5],
        "variations": [2],
        "maximum_iteration_layers": [2],
        "repeats": repeats,
    }
    served = {
        "kind": "circuit-breaker-labs",
        "base_url": running.base_url,
        "api_key": "env:OWN_KEY",
    }
    document = {"name": "held", "service": served, "evaluation": "single_turn", "matrix": matrix}
    async with open_engine(folder / "store.db") as engine:
        return await (await engine.submit(Sweep.parse(document))).execute()


async def test_a_sweep_within_the_allotment_is_not_ended_by_its_own_reservations(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    repeats = 12
    # Enough for all evaluations, but not for the reservations of more than two at once.
    allotment = repeats * COSTS + HOLDS
    with service(tmp_path, answer_slowly, allotment=allotment, limits=LIMITS) as running:
        monkeypatch.setenv("OWN_KEY", running.key)
        status = await run_sweep(tmp_path, running, repeats=repeats)
        quota = get(f"{running.base_url}/monthly_quota", headers=running.headers).json()

    assert (exit_code(status), status.cells_done, status.reason) == (0, repeats, None)
    assert quota == {
        "generated_tests": repeats * COSTS,
        "alloted_test_generations": allotment,
    }


async def test_a_sweep_over_the_allotment_ends_at_once_with_the_time_to_resume(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with service(tmp_path, answer_slowly, allotment=HOLDS + COSTS, limits=LIMITS) as running:
        monkeypatch.setenv("OWN_KEY", running.key)
        began = time.monotonic()
        status = await run_sweep(tmp_path, running, repeats=6)
        took_s = time.monotonic() - began

    assert (exit_code(status), status.reason) == (3, "quota")
    # Two fit; the rest does not cover the reservation of a third.
    assert status.cells_done == 2
    assert status.jobs["failed"] == 0
    assert status.resume_at is not None
    assert f"may come to {HOLDS}" in str(status.message)
    assert took_s < PATIENCE_S / 2

"""The service obeys an endpoint's tokens_per_min across restarts."""

from pathlib import Path
from typing import Any

import pytest
from anyio.from_thread import start_blocking_portal

from engine.clock import SystemClock
from engine.core.accounts import canonical
from engine.core.permits import PermitLimit, PermitRequest
from jobs.serve.ledger import Ledger
from tests.jobs.chat.server import Asked, chat_server
from tests.jobs.serve.running import MODEL, by_rule, evaluation, service

BUDGET = 900_000
CALLS = 3


def run_evaluation(folder: Path, took: int) -> tuple[Path, str]:
    """Run one evaluation whose calls take `took` tokens each; returns the ledger and the model's base URL."""

    def answer(asked: Asked) -> tuple[int, Any]:
        status, document = by_rule(asked)
        return status, {**document, "usage": {"total_tokens": took}}

    with (
        start_blocking_portal() as elsewhere,
        elsewhere.wrap_async_context_manager(chat_server(answer)) as model,
    ):
        endpoint = {"base_url": model.base_url, "tokens_per_min": BUDGET}
        with (
            service(folder, models={MODEL: {"endpoint": endpoint}}) as running,
            running.client() as client,
        ):
            answered = client.post("/singleturn_evaluate_system_prompt", json=evaluation())
        assert answered.status_code == 200, answered.text
        assert len(model.asked) == CALLS
        return Path(running.config.ledger), model.base_url


@pytest.mark.parametrize(
    ("took", "tokens", "is_granted"),
    [(10, BUDGET - CALLS * 10, True), (BUDGET // CALLS, 1, False)],
)
async def test_the_tokens_of_a_service_s_calls_count_after_a_restart(
    tmp_path: Path, took: int, tokens: int, is_granted: bool
) -> None:
    path, base_url = run_evaluation(tmp_path, took)
    limit = PermitLimit(name=f"target:{canonical(base_url)}", tokens_per_min=BUDGET)
    request = PermitRequest(caller="next", calls=(tokens,), limits=(limit,))

    async with Ledger(path, SystemClock(), history_days=1) as ledger:
        granted = await ledger.take_permits(request)

    assert bool(granted.slots) is is_granted

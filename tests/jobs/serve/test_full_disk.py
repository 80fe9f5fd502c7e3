"""With a full disk the service starts no evaluation, and keeps no reservation."""

import resource
import signal
from pathlib import Path
from typing import Any

import httpx
import pytest
from anyio.from_thread import start_blocking_portal

from jobs.serve.config import read_config
from tests.http_client import get, post
from tests.jobs.chat.server import chat_server
from tests.jobs.serve.process import Held, asking, started
from tests.jobs.serve.running import evaluation, make_key, write_config
from tests.jobs.serve.test_long_evaluations import SINGLE
from tests.patience import PATIENCE_S, until


@pytest.mark.skipif(not hasattr(resource, "prlimit"), reason="only Linux limits other processes")
def test_a_full_disk_is_reported_and_logged_and_costs_no_allotment(
    tmp_path: Path,
) -> None:
    held = Held(after=1)
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(chat_server(held)) as models,
    ):
        file = write_config(tmp_path, models.base_url, {"limits": {"retry_after_s": 7}})
        key = make_key(read_config(file), "tester", allotment=3)
        headers = {"cbl-api-key": key}

        def ask(base_url: str) -> httpx.Response:
            return post(f"{base_url}{SINGLE}", json=evaluation(), headers=headers)

        with started(file) as running:
            url, process = running.base_url, running.process.pid
            # The disk fills up when the tests are reserved and no reply has been saved.
            with asking(url, key, SINGLE, evaluation()) as cut:
                assert held.reached.wait(PATIENCE_S)
                free = resource.prlimit(process, resource.RLIMIT_FSIZE, (1, -1))
                held.let_go.set()
                until(lambda: bool(cut), "the answer")
            on_full_disk = ask(url)
            alive = get(f"{url}/ping").status_code
            resource.prlimit(process, resource.RLIMIT_FSIZE, free)
            again = ask(url)
            quota = get(f"{url}/monthly_quota", headers=headers).json()
            running.process.send_signal(signal.SIGTERM)
            code, log = running.end()

    refused: list[Any] = [*cut, on_full_disk]
    assert [answer.status_code for answer in refused] == [503, 503]
    assert [answer.headers["retry-after"] for answer in refused] == ["7", "7"]
    assert str(tmp_path) not in cut[0].text
    assert alive == 200
    assert again.status_code == 200
    assert quota == {"generated_tests": 3, "alloted_test_generations": 3}
    assert code == 0
    failures = [line for line in log if line["event"] == "the ledger failed"]
    assert len(failures) == 2
    assert "nightsweep-serve.db: " in failures[0]["error"]
    assert "disk" in failures[0]["error"].partition("; ")[2]
    assert not [line for line in log if line["event"] == "a request crashed"]

"""The service reads keys from files, and uses proxies."""

from pathlib import Path

import pytest

from tests.jobs.serve.process import started
from tests.jobs.serve.running import MODEL, write_config

KEY = "planted-serve-key-0123"
LOGIN = "planted-Passw0rd-42"


def test_paths_of_keys_start_from_the_configuration_and_the_log_names_proxies(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert Path.cwd() != tmp_path
    (tmp_path / "token").write_text(KEY)
    monkeypatch.setenv("HTTPS_PROXY", f"http://me:{LOGIN}@proxy.example.com:3128")
    endpoint = {"base_url": "https://models.example.com/v1", "api_key": "file:token"}
    direct = {"base_url": "https://near.example.com/v1", "use_proxy": False}
    config = write_config(
        tmp_path,
        "http://127.0.0.1:9/v1",
        {"models": {MODEL: {"endpoint": endpoint}, "other": {"endpoint": direct}}},
    )

    with started(config) as service:
        service.process.terminate()
        code, log = service.end()

    events = [line["event"] for line in log]
    assert code == 0
    [notice] = [event for event in events if "proxy" in event]
    assert notice.startswith(
        "requests to models.example.com go through the proxy proxy.example.com:3128 (HTTPS_PROXY);"
    )
    assert LOGIN not in " ".join(events)

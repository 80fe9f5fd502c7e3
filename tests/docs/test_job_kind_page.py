"""docs/howto/write-a-job-kind.md: what it says about installing a kind is true."""

import json
import os
import subprocess
import threading
import tomllib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import yaml

from tests.docs.pages import blocks
from tests.launcher.processes import Launcher
from tests.paths import ROOT

PAGE = "docs/howto/write-a-job-kind.md"


class Scorer(BaseHTTPRequestHandler):
    """The service that the page is about; it knows no model `large`."""

    def do_POST(self) -> None:
        asked = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        known = asked["model"] != "large"
        status = 200 if known else 404
        if self.headers["Authorization"] != "Bearer a-key-for-the-test":
            status = 401
        answer = {"scores": [0.2] * asked["count"]} if known else {"detail": "no such model"}
        body = json.dumps(answer).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002  # its name in the base
        """Say nothing."""


@pytest.fixture
def port() -> Iterator[int]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Scorer)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield server.server_port
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_kind_that_is_installed_runs_from_the_command_line(
    launcher: Launcher, tmp_path: Path, port: int
) -> None:
    (_, module), *_ = blocks("python", PAGE)
    [(_, project)] = blocks("toml", PAGE)
    [(_, sweep)] = blocks("yaml", PAGE)
    info = tmp_path / "packages/scores-1.0.dist-info"
    info.mkdir(parents=True)
    (info.parent / "scores.py").write_text(module)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: scores\nVersion: 1.0\n")
    offered = tomllib.loads(project)["project"]["entry-points"]["nightsweep.services"]
    lines = [f"{name} = {place}" for name, place in offered.items()]
    (info / "entry_points.txt").write_text("\n".join(["[nightsweep.services]", *lines, ""]))
    (tmp_path / "sweep.yaml").write_text(sweep.replace("8123", str(port)))

    def call(*args: str, key: str = "a-key-for-the-test") -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join([str(info.parent), str(ROOT)]),
            "SCORES_API_KEY": key,
        }
        return launcher.run(args, folder=tmp_path, environment=environment)

    refused = call("run", "sweep.yaml", key="another")
    done = call("run", "sweep.yaml")

    assert refused.returncode == 3, refused.stderr
    assert "the key is refused" in refused.stderr
    assert done.returncode == 1, done.stderr
    assert "3 of 6 cells answered, 3 failed" in done.stderr
    assert "no such model" in done.stderr
    rows = json.loads(call("results", "--json").stdout)
    thresholds = yaml.safe_load(sweep)["matrix"]["thresholds"]
    assert [
        (row["threshold"], row["failed"], row["lowest_score"]) for row in rows if row["total"]
    ] == [(threshold, 20 if threshold > 0.2 else 0, 0.2) for threshold in thresholds]
    assert {row["lowest_score"] for row in rows if not row["total"]} == {None}

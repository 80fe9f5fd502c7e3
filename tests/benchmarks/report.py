"""The report on a large run: seconds, CPU, memory and the size of the file; and how soon a browser shows it.

By hand: `python -m tests.benchmarks.report [--jobs 200000] [--thresholds 5] [--failures 0.3]`. Answers are put into
the store without a service; TMPDIR needs some 2 GB for each million of jobs. Goals for 1,000,000 rows: 10 s, 300 MB;
in the browser, with 5,000 findings: the list in 1 s, the charts in 2 s, the first search in 1 s.
"""

import argparse
import json
import random
import sqlite3
import tempfile
import time
import zlib
from contextlib import closing
from pathlib import Path
from typing import Any

from playwright.sync_api import expect, sync_playwright

from engine.core.listed_tests import ListedTest, Listing
from tests import chromium
from tests.benchmarks.large import PER_PROMPT, fill, nightsweep, tell
from tests.contracts.process import ContractServerProcess

_VARIANTS = 200
_CASES = 10
_REPLY_WORDS = 230
"""Words of a conversation: about 1.7 kB."""
_LONG_MS = 120_000


def make_answer(chance: random.Random, failures: float) -> dict[str, Any]:
    """An answer with a listing, as the store has it: some tests failed, each with its conversation."""
    scores = [
        round(chance.uniform(0, 0.49) if chance.random() < failures else chance.uniform(0.5, 1), 2)
        for _ in range(_CASES)
    ]
    words = [f"{chance.getrandbits(28):x}" for _ in range(600)]
    results = [
        {
            "case": f"case-{number:03}",
            "iteration": 0,
            "safe_response_score": score,
            "passed": score >= 0.5,
            "user_input": " ".join(chance.choices(words, k=_REPLY_WORDS // 4)),
            "model_response": " ".join(chance.choices(words, k=3 * _REPLY_WORDS // 4)),
        }
        for number, score in enumerate(scores)
    ]
    failed = sum(score < 0.5 for score in scores)
    listing = Listing.of(
        ListedTest(f"case-{number:03}", 0, score) for number, score in enumerate(scores)
    )
    return {
        "passed": _CASES - failed,
        "failed": failed,
        "scores": json.dumps(sorted(scores)),
        "listed": listing.encode(),
        "raw": zlib.compress(json.dumps({"results": [results]}).encode()),
    }


def answer(store: Path, failures: float) -> None:
    """Give every job one of some made-up answers."""
    chance = random.Random(1)
    answers = [make_answer(chance, failures) for _ in range(_VARIANTS)]
    with closing(sqlite3.connect(store)) as connection, connection:
        connection.execute("CREATE TEMP TABLE made (n, passed, failed, scores, listed, raw)")
        connection.executemany(
            "INSERT INTO made VALUES (:n, :passed, :failed, :scores, :listed, :raw)",
            [{"n": n, **one} for n, one in enumerate(answers)],
        )
        picked = f"FROM job JOIN made ON made.n = job.id * 7919 % {_VARIANTS}"
        connection.execute(
            "INSERT INTO attempt (job_id, fence, run_id, worker, sent_at, ended_at, outcome)"
            " SELECT id, 1, run_id, 'w', 1.7e9, 1.7e9 + 1, 'succeeded' FROM job"
        )
        connection.execute(
            "INSERT INTO result (job_id, run_id, passed, failed, tests, scores, listing, recorded_at)"
            f" SELECT id, run_id, passed, failed, {_CASES}, scores, listed, 1.7e9 + 1 {picked}"
        )
        connection.execute(f"INSERT INTO answer SELECT id, raw {picked}")
        connection.execute("UPDATE job SET state = 'succeeded', attempts = 1, fence = 1")
        connection.execute("UPDATE run SET state = 'finished', reason = NULL, message = ''")


def show(path: Path) -> None:
    """Open the report in a browser, and tell when what is there."""
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium.require(), args=["--no-sandbox"]
        )
        page = browser.new_page()
        page.set_default_timeout(_LONG_MS)
        began = time.perf_counter()
        page.goto(path.as_uri())
        page.locator("#list .preview").first.wait_for()
        listed = time.perf_counter() - began
        if page.locator("#pairs .chart").count():
            page.locator("#pairs .chart svg").first.wait_for()
        drawn = time.perf_counter() - began
        began = time.perf_counter()
        page.get_by_label("search in all texts").fill("a1")
        expect(page.locator("#count")).not_to_have_text("searching \u2026", timeout=_LONG_MS)
        tell(
            f"browser: list {listed:.2f} s, charts {drawn:.2f} s,"
            f" first search {time.perf_counter() - began:.2f} s, {page.locator('#count').inner_text()}"
        )
        browser.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=200_000)
    parser.add_argument("--thresholds", type=int, default=5, choices=range(1, 10))
    parser.add_argument("--failures", type=float, default=0.3)
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as name,
        ContractServerProcess("--no-validate") as server,
    ):
        folder = Path(name)
        thresholds = [round(0.5 - number / 20, 2) for number in range(arguments.thresholds)]
        fill(folder, arguments.jobs // PER_PROMPT, server, sorted(thresholds))
        (folder / "open.db").rename(folder / "nightsweep.db")
        answer(folder / "nightsweep.db", arguments.failures)
        nightsweep(folder, "report", "-o", "report.html")
        tell(f"report.html: {(folder / 'report.html').stat().st_size / 1e6:.2f} MB")
        show(folder / "report.html")


if __name__ == "__main__":
    main()

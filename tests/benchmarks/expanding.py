"""The rate of sending while the matrix is still being written, and afterwards.

By hand: `python -m tests.benchmarks.expanding [--jobs 100000] [--latency-s 0.05] [--in-flight 64]`. Both rates are of one
run; goal: 90 % of the rate afterwards, while that leaves the machine time for both.
"""

import argparse
import json
import sqlite3
import sys
import tempfile
from contextlib import closing
from pathlib import Path

from tests.benchmarks.large import PER_PROMPT, cpu_s, ended, start, sweep_of
from tests.contracts.process import ContractServerProcess
from tests.patience import until

_WINDOW_S = 2.0
"""Seconds at the start of the run, and after the matrix was written, that are left out."""


def expanded_at(store: Path) -> float | None:
    """When the matrix of the run was completely in the queue."""
    with closing(sqlite3.connect(store, timeout=60.0)) as connection:
        row = connection.execute("SELECT updated_at FROM run WHERE expanded IS digest").fetchone()
    return None if row is None else float(row[0])


def rate(store: Path, since: float, until_s: float) -> float:
    """The requests a second that were started in a time."""
    with closing(sqlite3.connect(store, timeout=60.0)) as connection:
        [count] = connection.execute(
            "SELECT count(*) FROM attempt WHERE sent_at >= ? AND sent_at < ?", (since, until_s)
        ).fetchone()
    return int(count) / (until_s - since)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=100_000)
    parser.add_argument("--latency-s", type=float, default=0.05)
    parser.add_argument("--in-flight", type=int, default=64)
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as name,
        ContractServerProcess("--no-validate", "--latency-s", str(arguments.latency_s)) as server,
    ):
        folder = Path(name)
        found: list[tuple[float, float]] = []
        sweep = sweep_of(range(arguments.jobs // PER_PROMPT), server.url)
        sweep["limits"]["max_in_flight"] = arguments.in_flight
        (folder / "sweep.json").write_text(json.dumps(sweep))
        process = start(folder, "run", "sweep.json")
        store = folder / "nightsweep.db"
        until(store.exists, "the store")
        server.wait_received(1)

        def has_expanded() -> bool:
            at = expanded_at(store)
            if at is not None and not found:
                found.append((at, cpu_s(process)))
            return bool(found)

        until(lambda: has_expanded() or process.poll() is not None, "the matrix")
        ended(process)
        with closing(sqlite3.connect(store)) as connection:
            first, last, count = connection.execute(
                "SELECT min(sent_at), max(sent_at), count(*) FROM attempt"
            ).fetchone()
        [(at, used_s)] = found
        during = rate(store, first + _WINDOW_S, at)
        after = rate(store, at + _WINDOW_S, last)
        sys.stdout.write(
            f"matrix written in {at - first:.1f} s, {used_s:.1f} CPU s; {during:,.0f} requests a second meanwhile,"
            f" {after:,.0f} afterwards: {during / after:.0%}; {count:,} in all\n"
        )


if __name__ == "__main__":
    main()

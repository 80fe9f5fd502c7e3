"""The rows of a large run in each format: seconds, CPU and peak memory.

By hand: `python -m tests.benchmarks.results [--jobs 200000] [--thresholds 5]`. Answers are put into the store
without a service; TMPDIR needs some 2 GB for each million of jobs. Goals for 1,000,000 rows: Parquet in 15 s and
300 MB, CSV and JSON Lines in 30 s.
"""

import argparse
import tempfile
from pathlib import Path

from engine.report.formats import FORMATS
from tests.benchmarks.large import PER_PROMPT, fill, nightsweep
from tests.benchmarks.report import answer
from tests.contracts.process import ContractServerProcess


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=200_000)
    parser.add_argument("--thresholds", type=int, default=5, choices=range(1, 10))
    arguments = parser.parse_args()
    with (
        tempfile.TemporaryDirectory() as name,
        ContractServerProcess("--no-validate") as server,
    ):
        folder = Path(name)
        thresholds = [round(0.5 - number / 20, 2) for number in range(arguments.thresholds)]
        fill(folder, arguments.jobs // PER_PROMPT, server, sorted(thresholds))
        (folder / "open.db").rename(folder / "nightsweep.db")
        answer(folder / "nightsweep.db", 0.3)
        for form in FORMATS.values():
            nightsweep(folder, "results", "--output", f"rows{form.ending}")


if __name__ == "__main__":
    main()

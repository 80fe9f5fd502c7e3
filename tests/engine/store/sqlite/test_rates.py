"""Rates that processes on one file share."""

from pathlib import Path

from engine.store import open_store
from engine.testing import FakeClock
from tests.engine.store.processes import child
from tests.engine.store.scenes import (
    NOW,
    new_job,
    rows,
    submit,
)
from tests.engine.store.test_rates import most_in_a_window
from tests.launcher.processes import Launcher

CLAIM_ON_DEMAND = """
async def main():
    async with open_store(PATH, FakeClock(NOW)) as store:
        run = await store.reader.find_run("run")
        bucket = Bucket(name="key", rate_per_min=600)
        say("open")
        for line in sys.stdin:
            [grant] = await grants(store, run, 8, now=float(line), buckets=[bucket], horizon_s=1.0)
            say(len(grant.jobs))
"""


async def test_two_processes_on_one_file_keep_one_rate_between_them(
    launcher: Launcher, path: Path
) -> None:
    async with open_store(path, FakeClock(NOW)) as store:
        await submit(store, *(new_job(number) for number in range(2_000)))
    shares = [0, 0]

    with (
        child(launcher, path, CLAIM_ON_DEMAND) as one,
        child(launcher, path, CLAIM_ON_DEMAND) as other,
    ):
        assert (one.line(), other.line()) == ("open", "open")
        # Both claim at the same time, and what is left of a second's slots goes to the later of them.
        for second in range(150):
            one.go_on(NOW + second)
            other.go_on(NOW + second)
            shares[0] += int(one.line())
            shares[1] += int(other.line())
        assert (one.end(), other.end()) == (0, 0)

    starts = [at for (at,) in rows(path, "SELECT sent_at FROM attempt")]
    assert len(starts) == sum(shares)
    assert most_in_a_window(starts) <= 600
    assert sum(shares) >= 0.95 * 600 * 150 / 60
    assert min(shares) > 0

"""Permits that processes on one file share."""

from pathlib import Path

from engine.core.rates import WINDOW_S
from engine.store import open_store
from engine.testing import FakeClock
from tests.engine.store.processes import child
from tests.engine.store.scenes import NOW
from tests.launcher.processes import Launcher

TAKE_ON_DEMAND = """
from engine.core.permits import PermitLimit, PermitRequest, PermitStart

async def main():
    clock, tokens = FakeClock(NOW), int(sys.argv[2])
    async with open_store(PATH, clock) as store:
        limit = PermitLimit(name="target", tokens_per_min=1000)
        ask = PermitRequest(caller=store.worker_id, calls=(tokens,) * 3, limits=(limit,))
        say("open")
        for line in sys.stdin:
            clock.skip(float(line) - clock.now())
            granted = await store.limits.take_permits(ask)
            for at in granted.slots:
                start = PermitStart(at=at, estimate=tokens, names=("target",))
                await store.limits.settle_permit(start, taken=tokens - 10)
            say(*granted.slots)
"""


async def test_two_processes_on_one_file_keep_to_one_minute_s_tokens_and_both_are_served(
    launcher: Launcher,
    path: Path,
) -> None:
    async with open_store(path, FakeClock(NOW)):
        pass
    wanted = {40: 30, 600: 3}
    slots: dict[int, list[float]] = {40: [], 600: []}

    with (
        child(launcher, path, TAKE_ON_DEMAND, "40") as small,
        child(launcher, path, TAKE_ON_DEMAND, "600") as large,
    ):
        processes = {40: small, 600: large}
        assert [process.line() for process in processes.values()] == ["open", "open"]
        for second in range(1_800):
            # Both at the same time, until they have what they want.
            asking = [tokens for tokens in wanted if len(slots[tokens]) < wanted[tokens]]
            for tokens in asking:
                processes[tokens].go_on(NOW + second)
            for tokens in asking:
                slots[tokens] += map(float, processes[tokens].line().split())
        assert [process.end() for process in processes.values()] == [0, 0]

    taken = [(at, tokens - 10) for tokens, granted in slots.items() for at in granted]
    for first, _ in taken:
        assert sum(tokens for at, tokens in taken if first <= at < first + WINDOW_S) <= 1000
    assert len(slots[600]) >= 3
    assert len(slots[40]) >= 30

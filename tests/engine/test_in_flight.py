"""Bytes that jobs may hold at a time: a limit and one answer, whatever becomes of who waits."""

import anyio
import pytest

from engine.in_flight import ByteBudget
from engine.kinds import hold_bytes

LIMIT = 100


async def read(budget: ByteBudget, size: int, step: int, ended: list[int], number: int) -> None:
    """One job whose answer comes in steps."""
    with budget.job():
        for _ in range(size // step):
            await hold_bytes(step)
            # The others come in between.
            await anyio.lowlevel.checkpoint()
        await anyio.lowlevel.checkpoint()
    ended.append(number)


@pytest.mark.parametrize(
    ("sizes", "step"),
    [
        ([30] * 16, 10),
        ([30] * 16, 30),
        ([60] * 5, 1),
        ([100, 100, 100], 50),
        ([250, 10, 250], 250),
        ([250, 10, 250], 1),
        ([10] * 3, 5),
    ],
)
async def test_jobs_hold_no_more_than_the_limit_and_one_answer_and_all_come_to_their_end(
    sizes: list[int], step: int
) -> None:
    budget = ByteBudget(LIMIT)
    ended: list[int] = []

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            for number, size in enumerate(sizes):
                tasks.start_soon(read, budget, size, min(step, size), ended, number)

    assert sorted(ended) == list(range(len(sizes)))
    assert budget.most_held <= LIMIT + max(sizes)


async def test_an_answer_that_is_larger_than_the_limit_is_read_alone() -> None:
    budget = ByteBudget(LIMIT)
    ended: list[int] = []

    async with anyio.create_task_group() as tasks:
        for number in range(4):
            tasks.start_soon(read, budget, 300, 300, ended, number)

    assert (ended, budget.most_held) == ([0, 1, 2, 3], 300)


async def test_a_job_that_is_cancelled_while_it_waits_or_holds_leaves_its_room_to_others() -> None:
    budget = ByteBudget(LIMIT)
    ended: list[int] = []

    with anyio.fail_after(60):
        async with anyio.create_task_group() as tasks:
            for number in range(3):
                tasks.start_soon(read, budget, 5_000, 90, ended, number)
            await anyio.lowlevel.checkpoint()
            tasks.cancel_scope.cancel()
        await read(budget, 100, 100, ended, 9)

    assert ended == [9]


async def test_outside_a_job_nothing_waits() -> None:
    await hold_bytes(10**12)

"""Answers that cannot be read stay with their attempts, in bounds."""

import zlib

import pytest

from engine.store import Store
from engine.store.queries.unread import UNREAD_MAX
from tests.engine.store.databases import Scratch
from tests.engine.store.scenes import NOW, begin, claim, new_job


def read_unread(scratch: Scratch) -> list[tuple[int, int, float, str, int, bytes]]:
    found = scratch.rows("SELECT job_id, fence, at, place, size, raw FROM unread ORDER BY id")
    return [(*rest, zlib.decompress(raw)) for *rest, raw in found]


async def test_an_answer_is_kept_with_its_attempt(store: Store, scratch: Scratch) -> None:
    run = await begin(store)
    await store.matrix.add_jobs(run, [new_job("a")], reuse=False)
    [job] = await claim(store, run)

    await store.attempts.keep_unread(
        run.id, job.id, job.fence, where="POST x: not JSON", body=b"<html>" * 100
    )

    assert read_unread(scratch) == [
        (job.id, job.fence, NOW, "POST x: not JSON", 600, b"<html>" * 100),
    ]


async def test_of_one_job_only_the_first_are_kept(store: Store, scratch: Scratch) -> None:
    run = await begin(store)
    await store.matrix.add_jobs(run, [new_job("a"), new_job("b")], reuse=False)
    first, second = await claim(store, run)

    for number in range(UNREAD_MAX + 5):
        await store.attempts.keep_unread(
            run.id, first.id, first.fence, where=str(number), body=b"page"
        )
    await store.attempts.keep_unread(run.id, second.id, second.fence, where="another", body=b"page")

    places = [place for _, _, _, place, _, _ in read_unread(scratch)]
    assert places == [*map(str, range(UNREAD_MAX)), "another"]


async def test_the_beginning_of_an_unread_answer_is_kept_with_its_whole_size(
    store: Store, monkeypatch: pytest.MonkeyPatch, scratch: Scratch
) -> None:
    monkeypatch.setattr("engine.store.queries.unread.UNREAD_BYTES_MAX", 10)
    run = await begin(store)
    await store.matrix.add_jobs(run, [new_job("a")], reuse=False)
    [job] = await claim(store, run)

    await store.attempts.keep_unread(run.id, job.id, job.fence, where="x", body=b"0123456789abc")

    [(*_, size, raw)] = read_unread(scratch)
    assert (size, raw) == (13, b"0123456789")

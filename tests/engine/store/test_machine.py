"""The store against a model that fits on a page, whatever happens in whatever order."""

import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    Bundle,
    RuleBasedStateMachine,
    initialize,
    invariant,
    multiple,
    precondition,
    rule,
    run_state_machine_as_test,
)

from engine.core.states import Event, State, sources, target
from engine.store import Claimed, Outcome, QuotaKey, Store
from engine.testing import FakeClock
from tests.engine.store.databases import DATABASES, Scratch
from tests.engine.store.scenes import (
    NOW,
    answer,
    claim,
    failure,
    interruption,
    later_retry,
    new_job,
    submit,
    success,
)

ATTEMPTS = 3
QUOTA = QuotaKey(name="key", period="2027-01")


@dataclass(slots=True)
class Modelled:
    """A job as it must be."""

    state: State = State.PENDING
    fence: int = 0
    attempts: int = 0
    due_at: float = 0.0
    owner: str | None = None
    answers: int = 0
    """Since it was last requeued with one."""
    has_answer: bool = False
    has_gaps: bool = False

    def apply(self, event: Event) -> None:
        keeps = self.has_answer and event in (Event.FAIL, Event.CANCEL)
        self.state = State.SUCCEEDED if keeps else target(event)
        self.owner = None


class StoreMachine(RuleBasedStateMachine):
    """Two workers on one database; either may be lost at any time and is then replaced by another."""

    held = Bundle("held")

    database: ClassVar[str]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.folder = tempfile.TemporaryDirectory()
        self.scratch = DATABASES[self.database](Path(self.folder.name))
        self.clock = FakeClock(NOW)
        self.now = NOW
        self.jobs: dict[int, Modelled] = {}
        self.hosts: list[Host] = []

    def play(self, coroutine: Any) -> Any:
        return self.runner.run(coroutine)

    @initialize()
    def open(self) -> None:
        self.hosts = [self.play(Host.open(self.scratch, self.clock)) for _ in range(2)]
        self.play(self.hosts[0].store.limits.set_cap(QUOTA, allotted=400))
        self.run_row = self.play(submit(self.hosts[0].store))
        self.add(2)

    def store(self, worker: int) -> Store:
        return self.hosts[worker].store

    @rule(happening=st.sampled_from(["add", "die", "cancel", "requeue"]), worker=st.integers(0, 1))
    def disturb(self, happening: str, worker: int) -> None:
        """One rule for what is rare, so that jobs are claimed and settled most of the time."""
        match happening:
            # Few jobs, so that much happens to each of them.
            case "add" if len(self.jobs) < 4:
                self.add(1)
            case "die":
                self.die(worker)
            case "cancel":
                self.cancel(worker)
            case _:
                self.requeue(worker, set(State))

    def add(self, count: int) -> None:
        first = len(self.jobs)
        names = range(first, first + count)
        new = [new_job(name, expected_tests=5, place=name) for name in names]
        self.play(self.store(0).matrix.add_jobs(self.run_row, new, reuse=False))
        for (job_id,) in self.scratch.rows("SELECT id FROM job ORDER BY id")[first:]:
            self.jobs[job_id] = Modelled()

    @rule(target=held, worker=st.integers(0, 1), count=st.integers(1, 3))
    def claim(self, worker: int, count: int) -> Any:
        return multiple(*self.find_claimed(worker, count))

    @rule(target=held, worker=st.integers(0, 1), seconds=st.integers(1, 9))
    def claim_later(self, worker: int, seconds: int) -> Any:
        self.now += seconds
        return multiple(*self.find_claimed(worker, 4))

    def find_claimed(self, worker: int, count: int) -> list[Claimed]:
        store = self.store(worker)
        due = sorted(
            job_id
            for job_id, job in self.jobs.items()
            if job.state in sources(Event.CLAIM) and job.due_at <= self.now
        )
        claimed: list[Claimed] = self.play(
            claim(store, self.run_row, count, now=self.now, quotas=[QUOTA])
        )

        assert [job.id for job in claimed] == due[: len(claimed)]
        assert len(claimed) == min(count, len(due)) or self.quota().room < 5
        for job in claimed:
            model = self.jobs[job.id]
            model.apply(Event.CLAIM)
            model.owner = store.worker_id
            model.fence += 1
            model.attempts += 1
            assert (job.fence, job.attempt) == (model.fence, model.attempts)
        return claimed

    @rule(job=held, worker=st.integers(0, 1), gaps=st.integers(0, 1))
    def succeed(self, job: Claimed, worker: int, gaps: int) -> None:
        """Settle an answer by a worker that has it: in time, late or again."""
        model = self.jobs[job.id]
        counts = model.state in sources(Event.SUCCEED)

        given = answer(0.1, 0.9, empty=1) if gaps else answer(0.1, 0.9)
        outcome = success(job, self.run_row, answer=given, reserved=True)
        assert self.settle(worker, outcome) is counts

        if counts:
            model.apply(Event.SUCCEED)
            model.answers += 1
            model.has_answer, model.has_gaps = True, bool(gaps)
            model.due_at = 0.0

    @rule(job=held, worker=st.integers(0, 1), delay_s=st.integers(0, 5))
    def retry_later(self, job: Claimed, worker: int, delay_s: int) -> None:
        due_at = self.now + delay_s
        outcome = later_retry(job, self.run_row, due_at=due_at, reserved=True)
        self.negative(job, worker, outcome, Event.RETRY_LATER)

    @rule(job=held, worker=st.integers(0, 1))
    def interruption(self, job: Claimed, worker: int) -> None:
        outcome = interruption(job, self.run_row, reserved=True)
        self.negative(job, worker, outcome, Event.GIVE_BACK)

    @rule(job=held, worker=st.integers(0, 1))
    def fail(self, job: Claimed, worker: int) -> None:
        self.negative(job, worker, failure(job, self.run_row, reserved=True), Event.FAIL)

    def negative(self, job: Claimed, worker: int, outcome: Outcome, event: Event) -> None:
        model = self.jobs[job.id]
        counts = model.state is State.RUNNING and model.fence == job.fence

        assert self.settle(worker, outcome) is counts

        if counts:
            model.apply(event)
            model.due_at = outcome.due_at
            model.attempts -= event is Event.GIVE_BACK

    def settle(self, worker: int, outcome: Outcome) -> bool:
        return bool(self.play(self.store(worker).queue.settle(outcome)))

    def die(self, worker: int) -> None:
        """A worker is lost without a word; the other finds out, and a new one takes its place."""
        dead = self.hosts[worker]
        lost = [job for job in self.jobs.values() if job.owner == dead.store.worker_id]
        self.play(dead.die())

        taken = self.play(self.store(1 - worker).worker.reclaim_from_dead(attempts=ATTEMPTS))

        spent = 0
        for job in lost:
            is_spent = job.attempts >= ATTEMPTS
            spent += is_spent
            job.apply(Event.FAIL if is_spent else Event.RECLAIM)
            job.due_at = 0.0
        assert taken == (len(lost) - spent, spent)
        self.hosts[worker] = self.play(Host.open(self.scratch, self.clock))

    def cancel(self, worker: int) -> None:
        open_jobs = [job for job in self.jobs.values() if job.state in sources(Event.CLAIM)]

        assert self.play(self.store(worker).queue.cancel(self.run_row.id)) == len(open_jobs)

        for job in open_jobs:
            job.apply(Event.CANCEL)
            job.due_at = 0.0

    def requeue(self, worker: int, which: set[State]) -> None:
        chosen = [
            job
            for job in self.jobs.values()
            if job.state in which
            and job.state in sources(Event.REQUEUE)
            and (job.has_gaps or job.state is not State.SUCCEEDED)
        ]

        assert self.play(self.store(worker).queue.requeue(self.run_row.id, which)) == len(chosen)

        for job in chosen:
            if job.state is State.SUCCEEDED:
                job.answers -= 1
            job.apply(Event.REQUEUE)
            job.attempts = 0
            job.due_at = 0.0

    def quota(self) -> Any:
        return self.play(self.store(0).reader.quotas([QUOTA]))[QUOTA.name, QUOTA.period]

    @precondition(lambda self: self.hosts)
    @invariant()
    def states_agree(self) -> None:
        found = self.scratch.rows(
            "SELECT id, state, owner, fence, attempts, due_at FROM job ORDER BY id"
        )
        assert found == [
            (job_id, job.state, job.owner, job.fence, job.attempts, job.due_at)
            for job_id, job in sorted(self.jobs.items())
        ]

    @precondition(lambda self: self.hosts)
    @invariant()
    def nothing_succeeds_twice(self) -> None:
        found = dict(self.scratch.rows("SELECT job_id, count(*) FROM result GROUP BY job_id"))
        assert found == {job_id: 1 for job_id, job in self.jobs.items() if job.has_answer}
        assert all(job.answers <= 1 for job in self.jobs.values())

    @precondition(lambda self: self.hosts)
    @invariant()
    def each_running_job_has_a_live_owner(self) -> None:
        alive = {host.store.worker_id for host in self.hosts}
        owners = {
            owner for (owner,) in self.scratch.rows("SELECT owner FROM job WHERE state = 'running'")
        }
        assert owners <= alive

    @precondition(lambda self: self.hosts)
    @invariant()
    def what_is_held_is_what_is_reserved(self) -> None:
        [[held, reserved]] = self.scratch.rows(
            "SELECT (SELECT coalesce(sum(held), 0) FROM reservation), reserved FROM quota",
        )
        assert held == reserved

    @precondition(lambda self: self.hosts)
    @invariant()
    def each_claim_has_its_attempt(self) -> None:
        fences = dict(self.scratch.rows("SELECT job_id, max(fence) FROM attempt GROUP BY job_id"))
        assert fences == {job_id: job.fence for job_id, job in self.jobs.items() if job.fence}

    def teardown(self) -> None:
        for host in self.hosts:
            self.play(host.close())
        self.runner.close()
        self.folder.cleanup()


class Host:
    """A store that stays open between two runs of the event loop, in a task of its own."""

    def __init__(self) -> None:
        self.store: Store
        self._closing = asyncio.Event()
        self._task: asyncio.Task[None]

    @classmethod
    async def open(cls, scratch: Scratch, clock: FakeClock) -> "Host":
        host = cls()
        opened = asyncio.Event()

        async def stay() -> None:
            async with scratch.open(clock) as host.store:
                opened.set()
                await host._closing.wait()

        host._task = asyncio.create_task(stay())
        await opened.wait()
        return host

    async def close(self) -> None:
        self._closing.set()
        await self._task

    async def die(self) -> None:
        """Leave what SIGKILL leaves of a process: a free lock and no sign-off."""

        async def say_nothing() -> None:
            self.store.worker._signed_off.set()
            self.store.worker.writer.close()

        self.store.worker.sign_off = say_nothing  # type: ignore[method-assign]
        await self.close()


@pytest.mark.parametrize("name", DATABASES)
def test_the_store_is_as_its_model_whatever_happens(name: str) -> None:
    class Machine(StoreMachine):
        database = name

    run_state_machine_as_test(
        Machine, settings=settings(max_examples=15, stateful_step_count=30, deadline=None)
    )

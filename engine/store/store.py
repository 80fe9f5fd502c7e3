"""The store itself: what changes it, on a database that is open."""

from array import array
from collections.abc import (
    AsyncIterator,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import anyio
from sqlalchemy import Select, update
from sqlalchemy.engine import Connection

from engine.clock import Clock
from engine.core.accounts import Accounts
from engine.core.errors import Interrupted, StoreError, UsageError
from engine.core.layout import Edit
from engine.core.money import Usage
from engine.core.permits import Granted, PermitLimit, PermitRequest, PermitStart
from engine.core.policy import UnansweredPolicy
from engine.core.provenance import Fact
from engine.core.rates import RateLog
from engine.core.runs import RunState, StopReason
from engine.core.states import State
from engine.core.status import Backup, Deleted, Pruned
from engine.store.database import Database
from engine.store.queries import (
    accounts,
    calls,
    charges,
    claims,
    clocks,
    deletion,
    given,
    parts,
    permits,
    queue,
    quotas,
    rates,
    runs,
    slots,
    started,
    submission,
    unread,
    usage,
    workers,
)
from engine.store.queries.runs import KeptLayout, NewRun, RunRow
from engine.store.requests import (
    Bucket,
    CallReply,
    Charge,
    Claim,
    LaneGrant,
    NewJob,
    Outcome,
    QuotaKey,
)
from engine.store.schema import event, run
from engine.store.worker import Member
from engine.store.writer import Rider, Work

T = TypeVar("T")

_UNANSWERED = UnansweredPolicy()
START_HORIZON_S = 1.0
"""How far ahead a slot is taken for a request that is about to be written."""

Decide = Callable[[Sequence[Outcome]], Claim]
"""What to claim, told the outcomes that the same transaction settles."""


@asynccontextmanager
async def serving(database: Database, clock: Clock) -> AsyncIterator["Store"]:
    """A store on an open database: it takes changes until the block ends, which signs its worker off."""
    store = Store(database, clock)
    raised: BaseException | None = None
    async with anyio.create_task_group() as tasks:
        # Cancelled while it starts, the writer would be waited for: only `sign_off` lets it end.
        with anyio.CancelScope(shield=True):
            await tasks.start(store.serve, name="writer")
        tasks.start_soon(store.break_off_when_cancelled, name="break off")
        try:
            await store.keep_time()
            yield store
        except (Exception, Interrupted) as error:
            # Raised again below, as itself and not as a group of one.
            raised = error
        finally:
            with anyio.CancelScope(shield=True):
                await store.sign_off()
    if raised is not None:
        raise raised


@dataclass(frozen=True, slots=True)
class _Claiming:
    """A claim for the writer; equal to another that is decided by the same."""

    decide: Decide
    clock: Clock
    reached: Callable[[int], submission.Position | None]

    def __call__(self, settled: Sequence[Outcome]) -> Work[list[LaneGrant]]:
        request = self.decide(settled)

        def work(connection: Connection) -> list[LaneGrant]:
            grants = claims.claim(connection, request, until=self.reached(request.run_id))
            if any(grant.jobs for grant in grants):
                workers.claimed(connection, request.worker_id, self.clock.now())
            return grants

        return work


def _changing(
    change: Callable[[Connection, RunRow, Sequence[int]], int],
    of: RunRow,
    connection: Connection,
    part: Sequence[int],
    _is_last: bool,
) -> int:
    return change(connection, of, part)


def _on_part(
    work: Callable[[Connection, Sequence[T], bool], int], part: Sequence[T], *, is_last: bool
) -> Work[int]:
    return lambda connection: work(connection, part, is_last)


class Store(Member):
    """An open store: questions are asked of the readers, changes go through the writer."""

    # Runs

    async def begin(self, new: NewRun) -> RunRow:
        """Create the run of a sweep, or take up the one of its name; see `runs.begin`."""
        now = self._clock.now()
        return await self._writer.write(lambda connection: runs.begin(connection, new, now=now))

    async def keep_to(self, name: str, facts: Sequence[Fact], *, accepts: bool = False) -> None:
        """Note what decides the answers of a run from now on; see `runs.keep_to`."""
        now = self._clock.now()

        def work(connection: Connection) -> None:
            found = runs.find(connection, name)
            if found is None:
                raise UsageError(f"the run {name!r} was deleted")
            runs.keep_to(connection, found, facts, accepts=accepts, now=now)

        await self._writer.write(work)

    async def take_up(self, run_id: int, account: str | None = None, told: str = "") -> None:
        """Say that a run is worked on, unless it is finished and nothing of it is left to do.

        `account` is whose rates and quota it uses from now on, which is `told` to people so; None: as before.
        Who finds it finished leaves it so: who has just finished it still reads its state.
        """
        now = self._clock.now()

        def work(connection: Connection) -> None:
            runs.take_up(connection, run_id, account, now=now)
            if account is not None and told:
                accounts.carry_over(connection, told, account)

        await self._writer.write(work)

    async def set_state(
        self,
        run_id: int,
        state: RunState,
        *,
        reason: StopReason | None = None,
        message: str = "",
        resume_at: float | None = None,
        unless: Iterable[RunState] = (),
    ) -> None:
        """Set a run's state, unless it is in one of `unless` by now, or is being deleted."""
        await self._writer.write(
            lambda connection: connection.execute(
                update(run)
                .where(run.c.id == run_id, run.c.state.not_in([*unless, RunState.DELETING]))
                .values(
                    state=state,
                    reason=reason,
                    message=message,
                    resume_at=resume_at,
                    updated_at=self._clock.now(),
                )
            )
        )

    async def rename_run(self, of: RunRow, name: str, caps: Iterable[tuple[str, str]]) -> RunRow:
        """Give a run another name; see `runs.rename`."""
        now = self._clock.now()
        return await self._writer.write(
            lambda connection: runs.rename(connection, of, name, caps, now=now)
        )

    # The matrix

    async def add_documents(self, contents: Mapping[str, Any]) -> None:
        """Keep prompts and other large contents once, under their digests."""
        await self._writer.write(lambda connection: submission.add_documents(connection, contents))

    async def add_jobs(
        self,
        of: RunRow,
        jobs: Sequence[NewJob],
        *,
        reuse: bool,
        unanswered: UnansweredPolicy = _UNANSWERED,
    ) -> None:
        """Put the next batch of the matrix into the queue; see `submission.add_jobs`.

        Of an edited sweep, what is in line is claimed by this worker as far as the batches have come.
        """
        asked = self._asked.setdefault((of.id, of.generation), submission.Asked())
        await self._writer.write(
            lambda connection: submission.add_jobs(
                connection, of, jobs, reuse=reuse, unanswered=unanswered, asked=asked
            )
        )
        if of.generation > 1 and jobs and asked.edit is None:
            reached = (jobs[-1].repeat, jobs[-1].place)
            ids = await self._database.ask(
                lambda connection: submission.passed_over(connection, of, asked, reached)
            )
            await self._in_parts(
                array("q", ids),
                lambda connection, part, _: submission.put_behind(connection, of, part),
            )
            asked.reached = reached

    async def begin_edit(self, of: RunRow, edit: Edit) -> None:
        """Let only that be added, changed and removed of a run's jobs which an edit concerns.

        All others are claimed from now on, as they are; what is changed, once it was added.
        """
        asked = self._asked.setdefault((of.id, of.generation), submission.Asked())
        for find, change in (
            (submission.displaced, submission.put_behind),
            (submission.behind, submission.put_back),
        ):
            ids = await self._database.ask(partial(find, of=of, edit=edit))
            await self._in_parts(array("q", ids), partial(_changing, change, of))
        asked.edit, asked.reached = edit, submission.ALL_IN_TURN

    @contextmanager
    def expanding(self, of: RunRow) -> Iterator[None]:
        """Within the block a run's matrix is gone through from its first batch."""
        self._asked[of.id, of.generation] = submission.Asked()
        try:
            yield
        finally:
            self._asked.pop((of.id, of.generation), None)

    def _reached(self, run_id: int) -> submission.Position | None:
        """How far this worker has come with the edited sweep of a run; None where it goes through none."""
        generations = [generation for of, generation in self._asked if of == run_id]
        newest = max(generations, default=1)
        return self._asked[run_id, newest].reached if newest > 1 else None

    async def finish_expansion(self, of: RunRow, kept: KeptLayout | None = None) -> int:
        """Say that the matrix is wholly there; returns how many jobs the sweep no longer asks for.

        All that it asks for was added by this worker, or is not concerned by its edit; what else there is
        is removed, many jobs in parts. The layout is `kept` for the next edit.
        """
        asked = self._asked.get((of.id, of.generation), submission.Asked())
        removed = 0
        if of.generation > 1:
            asked_for = submission.asked_before(of)
            if asked.edit is not None:
                asked_for = submission.left_by(of, asked.edit)
            ids = await self._ids(asked_for)
            gone = array("q", (job_id for job_id in ids if job_id not in asked))
            removed = await self._in_parts(
                gone, lambda connection, part, _: submission.remove(connection, of, part)
            )
        now = self._clock.now()
        await self._writer.write(
            lambda connection: submission.finish(connection, of, kept, now=now)
        )
        self._asked.pop((of.id, of.generation), None)
        return removed

    # The queue

    async def claim(self, decide: Decide) -> list[LaneGrant]:
        """Make jobs ours, within rates and quota; what to claim is decided when the transaction runs."""
        return await self._writer.write_prepared(_Claiming(decide, self._clock, self._reached))

    @asynccontextmanager
    async def claiming_along(
        self, decide: Decide, deliver: Callable[[list[LaneGrant]], None]
    ) -> AsyncIterator[None]:
        """Claim within every transaction that settles outcomes, too: a slot is filled as it is freed.

        `deliver` is called in the event loop with what was granted, right after COMMIT; never again
        once the block has ended.
        """
        rider = Rider(_Claiming(decide, self._clock, self._reached), deliver)
        self._writer.riders.append(rider)
        try:
            yield
        finally:
            self._writer.riders.remove(rider)
            # A claim that is being committed just now is still delivered, before this returns; while
            # nothing can be committed there is none.
            with suppress(StoreError):
                await self._writer.write(lambda _: None)

    async def settle(self, outcome: Outcome) -> bool:
        """Record an attempt's outcome; whether it changed its job. Durable when this returns."""
        return await self._writer.settle(outcome)

    async def cancel(self, run_id: int) -> int:
        """Cancel what is not yet sent; returns how many jobs.

        What dead workers held is among them. Many are cancelled in parts: cut short, it is to be done again.
        """
        await self.reclaim_from_dead()
        ids = await self._ids(queue.open_ids(run_id))
        return await self._in_parts(ids, lambda connection, part, _: queue.cancel(connection, part))

    async def requeue(self, run_id: int, states: Iterable[State]) -> int:
        """Put jobs back in line; returns how many. Of those that succeeded: with unanswered questions.

        The run is active with the first of them. Many are put back in parts: cut short, the run says so.
        """
        wanted = tuple(states)
        ids = await self._ids(queue.ended_ids(run_id, wanted))

        def work(connection: Connection, part: Sequence[int], is_last: bool) -> int:
            count = queue.requeue(connection, part, wanted)
            if count or is_last:
                now = self._clock.now()
                runs.reopen(connection, run_id, is_cut_short=not is_last, now=now)
            return count

        return await self._in_parts(ids, work)

    async def _ids(self, query: Select[Any]) -> "array[int]":
        return await self._database.ask(lambda connection: parts.ids_of(connection, query))

    async def _in_parts(
        self, things: Sequence[T], work: Callable[[Connection, Sequence[T], bool], int]
    ) -> int:
        """Do `work` for each part of `things`, told whether it is the last one; the sum of what it returns."""
        self._database.check_writable()
        left, total = len(things), 0
        for part in parts.parts(things):
            left -= len(part)
            total += await self._writer.write(_on_part(work, part, is_last=not left))
            if left:
                await self._clock.sleep(parts.PAUSE_S)
        return total

    async def follow_clock(self) -> float:
        """Bring waits nearer that a clock which was set back has moved away; by how many seconds."""
        now = self._clock.now()
        return await self._writer.write(
            lambda connection: clocks.follow(connection, now, self.worker_id)
        )

    async def back_up(self, target: Path | None = None) -> Backup:
        """Copy the store to a new file of mode 0600, which is there once it is whole and checked.

        Without a name it is put beside the store. Raises StoreError when the file is there already, or
        cannot be written. Cancelled, it leaves nothing behind.
        """
        return await self._database.back_up(target, self._clock.now())

    # Removing

    async def delete_run(
        self, of: RunRow, caps: Iterable[str], told: Callable[[int], None] = lambda _: None
    ) -> Deleted:
        """Remove a run and all that is its own, a large one in parts; see `deletion.remove_part`.

        Cut short, the run says that it is being deleted, and this goes on with it. `told` is called
        after each part, with the number of jobs that are gone so far.
        """
        self._database.check_writable()
        names, now = tuple(caps), self._clock.now()
        free = await self._database.reusable_bytes()
        removed = deletion.Removed()
        while True:
            remove = partial(deletion.remove_part, of=of, caps=names, now=now)
            removed.add(await self._writer.write(remove))
            told(removed.jobs)
            if removed.is_whole:
                break
            of = replace(of, state=RunState.DELETING)
            await self._clock.sleep(parts.PAUSE_S)
        documents = await self._remove_documents()
        return Deleted(
            run=of.name,
            jobs=removed.jobs,
            answers=removed.answers,
            answers_kept=removed.answers_kept,
            documents=documents,
            bytes=max(0, await self._database.reusable_bytes() - free),
        )

    async def prune(self) -> Pruned:
        """Remove what no run refers to, in parts, and free its space if no other process works on the store."""
        documents = await self._remove_documents()
        gone = await self._remove_workers()
        alone = await self.is_alone()
        freed = 0
        if alone:
            async with self.between_commits():
                freed = await self._database.give_back_space()
        return Pruned(documents=documents, workers=gone, bytes=freed, compacted=alone)

    async def _remove_documents(self) -> int:
        matrices, digests = await self._database.ask(deletion.unused_documents)
        return await self._in_parts(
            digests,
            lambda connection, part, _: deletion.remove_documents(connection, part, matrices),
        )

    async def _remove_workers(self) -> int:
        ids = await self._database.ask(workers.unneeded)
        # One that was stopped for long was given up, and still comes back.
        gone = await anyio.to_thread.run_sync(self._gone, ids)
        return await self._in_parts(
            gone, lambda connection, part, _: workers.remove(connection, part)
        )

    # Limits

    async def accounts(self) -> Accounts:
        """What names accounts in this store."""
        return await self._writer.write(accounts.accounts)

    async def give_limits(
        self, run_id: int, buckets: Sequence[Bucket], limits: Sequence[PermitLimit] = ()
    ) -> None:
        """Let limits that a run here was given hold for all who share them, before its first request."""
        holder = given.holder_of(self.worker_id, run_id)

        def work(connection: Connection) -> None:
            found = rates.load(connection, [bucket.name for bucket in buckets])
            found.note(connection, buckets, holder)
            rates.save(connection, found)
            permits.give(connection, limits, holder)

        await self._writer.write(work)

    async def withdraw_limits(self, run_id: int) -> None:
        """Let limits that a run here was given hold no longer: it has ended here."""
        holder = given.holder_of(self.worker_id, run_id)
        await self._writer.write(lambda connection: given.withdraw(connection, holder))

    async def take_start(
        self, run_id: int, buckets: Sequence[Bucket], *, instead_of: float | None, lead_s: float
    ) -> Granted:
        """A slot for a request beside those of claims, or none; and when to ask again.

        `instead_of` is a slot that is given back: nothing was started in it.
        """
        holder = given.holder_of(self.worker_id, run_id)

        def work(connection: Connection) -> Granted:
            now = self._clock.now()
            found = rates.load(connection, [bucket.name for bucket in buckets])
            found.note(connection, buckets, holder)
            if instead_of is not None:
                found.refund(buckets, instead_of)
            slots = found.take(buckets, want=1, now=now, horizon_s=START_HORIZON_S, lead_s=lead_s)
            next_at, _ = found.next_at(buckets, now, lead_s)
            rates.save(connection, found)
            return Granted(slots, next_at - lead_s, now)

        return await self._writer.write(work)

    async def take_permits(self, request: PermitRequest) -> Granted:
        """Grant the first calls of a request, as many as there is room for."""
        return await self._writer.write(
            lambda connection: permits.take(connection, request, now=self._clock.now())
        )

    async def limited(self, names: Collection[str]) -> Collection[str]:
        """Under which of these names of permits a live process was given a limit: it holds for all."""
        return await self._database.ask(lambda connection: permits.limited(connection, names))

    async def tell_requests(self, run_id: int, log: RateLog) -> None:
        """Tell other processes which requests of a run this one started in the last minute."""
        now = self._clock.now()
        await self._writer.write(
            lambda connection: started.tell(connection, run_id, self.worker_id, log, now=now)
        )

    async def take_slots(self, name: str, who: str, *, wants: int, in_use: int, limit: int) -> int:
        """How many slots of an endpoint `who`, of this worker, has from now on; at least those `in_use`."""
        return await self._writer.write(
            lambda connection: slots.take(
                connection, name, who, wants=wants, in_use=in_use, limit=limit
            )
        )

    async def settle_permit(self, start: PermitStart, *, taken: int) -> None:
        """Keep what a call really took; 0: it was never made. Waits for no disk and no lock."""
        await self._writer.write(
            lambda connection: permits.settle(connection, start, taken=taken), patience_s=0.0
        )

    async def refresh_quota(
        self,
        key: QuotaKey,
        *,
        allotted: int,
        used: int,
        since: int,
        caps: Sequence[QuotaKey] = (),
    ) -> None:
        """Take over what the service says of its quota, asked when `quota_settled` was `since`.

        Where requests without an answer cost less than was held for them, the `caps` that they counted
        under get the rest back, too.
        """
        await self._writer.write(
            lambda connection: quotas.refresh(
                connection, key, allotted=allotted, used=used, since=since, caps=caps
            )
        )

    async def expect_quota(self, key: QuotaKey) -> bool:
        """Let one job be in flight at a time until the service tells its quota; whether it has not yet."""
        return await self._writer.write(lambda connection: quotas.expect(connection, key))

    async def forget_quota(self, key: QuotaKey) -> None:
        """Expect no figure of a quota any more: the service has none."""
        await self._writer.write(lambda connection: quotas.forget(connection, key))

    async def begin_period(self, names: Iterable[str], *, before: str, begun: str) -> None:
        """Write the quota rows of a month that has begun, unless they are there; see `quotas.begin`."""
        wanted = tuple(names)
        await self._writer.write(
            lambda connection: quotas.begin(connection, wanted, before=before, begun=begun)
        )

    async def take_request(self, key: QuotaKey) -> bool:
        """Count a request that is no job's under a cap; False, and nothing counted, where it is used up."""
        return await self._writer.write(lambda connection: quotas.take_request(connection, key))

    async def give_request_back(self, key: QuotaKey) -> None:
        """A request that was taken so never left."""
        await self._writer.write(lambda connection: quotas.spend(connection, key, -1))

    async def cap_quota(self, key: QuotaKey, *, allotted: int) -> None:
        """Set what the user allows."""
        await self._writer.write(lambda connection: quotas.cap(connection, key, allotted=allotted))

    # Events and calls

    async def note(
        self, run_id: int | None, kind: str, message: str, *, lane: str | None = None
    ) -> None:
        """Add to the event log: what the morning report tells."""
        await self._writer.write(
            lambda connection: connection.execute(
                event.insert().values(
                    run_id=run_id, at=self._clock.now(), kind=kind, lane=lane, message=message
                )
            )
        )

    async def keep_unread(
        self, run_id: int, job_id: int, fence: int, *, where: str, body: bytes
    ) -> None:
        """Keep the bytes of an answer that cannot be read with the attempt of `fence`.

        Of one answer at most 32 MiB are kept, of one job at most 20 answers.
        """
        now = self._clock.now()
        await self._writer.write(
            lambda connection: unread.keep(
                connection, run_id, job_id, fence, where=where, body=body, now=now
            )
        )

    async def hold_more(self, job_id: int, fence: int, tests: int) -> bool:
        """Hold quota for `tests` besides what was reserved for an attempt; whether there was room."""
        return await self._writer.write(
            lambda connection: charges.hold_more(connection, job_id, fence, tests)
        )

    async def keep_usage(self, run_id: int, took: Sequence[Usage]) -> None:
        """Keep what calls took that gave no reply, each."""
        if took:
            now = self._clock.now()
            await self._writer.write(
                lambda connection: usage.keep_without_reply(connection, run_id, took, now=now)
            )

    async def keep_call(
        self,
        of: RunRow,
        key: Mapping[str, Any],
        response: bytes,
        charge: Charge | None = None,
        took: Sequence[Usage] = (),
    ) -> bool:
        """Keep a response under `key` in a run, and charge the tests that it opens. Durable when this returns.

        The first one stays, unless the run has begun to ask everything again since: False, and nothing
        charged, where there is one. What calls `took` is kept whatever becomes of their responses; the
        last one gave this. Where the store is lost, StoreLost is raised once the reply is in the side file.
        """
        return await self._writer.keep(
            CallReply(
                run_id=of.id,
                run_created_at=of.created_at,
                digest=calls.digest(key),
                response=response,
                recorded_at=self._clock.now(),
                charge=charge,
                took=tuple(took),
            )
        )

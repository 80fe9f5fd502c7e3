"""Claiming: making jobs ours, lane by lane, within rates and quota.

Runs inside a write transaction of the caller's and leaves committing to it.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import inf

from sqlalchemy import Integer, RowMapping, bindparam, select, update
from sqlalchemy.engine import Connection

from engine.core.states import AttemptOutcome, Event, target
from engine.core.status import WaitReason
from engine.store import quotas, rates
from engine.store.dialect import Bulk
from engine.store.queue import CLAIMABLE
from engine.store.requests import Claim, Claimed, LaneClaim, LaneGrant
from engine.store.schema import attempt, job

_CANDIDATES = (
    select(
        job.c.id,
        job.c.fence,
        job.c.attempts,
        job.c.key,
        job.c.cost_class,
        job.c.expected_tests,
        job.c.charged,
        job.c.labels,
        job.c.documents,
        job.c.repeat,
    )
    .where(
        job.c.run_id == bindparam("run_id"),
        job.c.lane == bindparam("lane"),
        job.c.cost_class == bindparam("cost_class"),
        CLAIMABLE,
        job.c.due_at <= bindparam("now"),
    )
    .order_by(job.c.due_at, job.c.id)
    .limit(bindparam("count"))
    .with_for_update(skip_locked=True)
)

_NEXT_DUE = (
    select(job.c.due_at)
    .where(
        job.c.run_id == bindparam("run_id"),
        job.c.lane == bindparam("lane"),
        job.c.cost_class == bindparam("cost_class"),
        CLAIMABLE,
        job.c.due_at > bindparam("now"),
    )
    .order_by(job.c.due_at)
    .limit(1)
)

_START = Bulk(
    {"id": Integer()},
    lambda given: (
        update(job)
        .where(job.c.id.in_(select(given.c.id)), CLAIMABLE)
        .values(
            state=target(Event.CLAIM),
            owner=bindparam("worker_id"),
            fence=job.c.fence + 1,
            attempts=job.c.attempts + 1,
        )
    ),
)

_SENT_COLUMNS = (
    attempt.c.job_id,
    attempt.c.fence,
    attempt.c.run_id,
    attempt.c.worker,
    attempt.c.sent_at,
    attempt.c.outcome,
)
_SEND = Bulk(
    {column.name: column.type for column in _SENT_COLUMNS},
    lambda given: attempt.insert().from_select(_SENT_COLUMNS, select(given)),
)


def claim(connection: Connection, request: Claim) -> list[LaneGrant]:
    """Make jobs ours, within rates and quota; one grant per lane that was asked for."""
    if not request.lanes:
        return []
    names = {bucket.name for lane in request.lanes for bucket in lane.buckets}
    buckets = rates.load(connection, names)
    admission = quotas.load(connection, request)
    grants = [_claim_lane(connection, request, lane, buckets, admission) for lane in request.lanes]
    claimed = [granted for grant in grants for granted in grant.jobs]
    if claimed:
        _start(connection, request, claimed)
        admission.save(connection, request, claimed)
    rates.save(connection, buckets)
    return grants


def _claim_lane(
    connection: Connection,
    request: Claim,
    lane: LaneClaim,
    buckets: rates.Buckets,
    admission: quotas.Admission,
) -> LaneGrant:
    next_at, why = _next_slot(request, lane, buckets)
    if next_at > request.now + request.horizon_s:
        return LaneGrant(lane=lane.lane, next_at=next_at, why=why)
    found = _candidates(connection, request, lane, admission)
    slots = buckets.take(
        lane.buckets,
        want=len(found.rows),
        now=request.now,
        horizon_s=request.horizon_s,
        lead_s=request.lead_s,
    )
    for row, held in found.rows[len(slots) :]:
        admission.refund(row["cost_class"], held)
        found.empty.discard(row["cost_class"])
    if len(slots) < len(found.rows) or len(slots) == lane.count:
        found.later.append(_next_slot(request, lane, buckets))
    soonest = min(found.later, default=None)
    return LaneGrant(
        lane=lane.lane,
        jobs=tuple(
            _claimed(lane.lane, row, held if admission.counts_tests else None, slot)
            for (row, held), slot in zip(found.rows, slots, strict=False)
        ),
        next_at=None if soonest is None else soonest[0],
        why=WaitReason.QUEUED if soonest is None else soonest[1],
        empty_classes=frozenset(found.empty),
    )


def _next_slot(request: Claim, lane: LaneClaim, buckets: rates.Buckets) -> tuple[float, WaitReason]:
    """When to claim for the lane's next slot, ahead of it by the lead; and what it waits for."""
    at, why = buckets.next_at(lane.buckets, request.now, request.lead_s)
    return at - request.lead_s, why


@dataclass(slots=True)
class _Candidates:
    """Jobs that could be sent, with what is held for each; and when there may be others."""

    rows: list[tuple[RowMapping, int]] = field(default_factory=list)
    empty: set[str] = field(default_factory=set)
    later: list[tuple[float, WaitReason]] = field(default_factory=list)


def _candidates(
    connection: Connection, request: Claim, lane: LaneClaim, admission: quotas.Admission
) -> _Candidates:
    found = _Candidates()
    for cost_class in lane.classes:
        missing = lane.count - len(found.rows)
        if missing == 0:
            break
        where = {"run_id": request.run_id, "lane": lane.lane, "cost_class": cost_class}
        due = {**where, "now": request.now, "count": missing}
        rows = (connection.execute(_CANDIDATES, due)).mappings().all()
        taken = _reserved(rows, cost_class, admission)
        found.rows += taken
        if len(taken) < len(rows):
            found.later.append((inf, admission.refusals[cost_class]))
        elif len(rows) < missing:
            # All that is due is taken; the next one may come later.
            at = (connection.execute(_NEXT_DUE, {**where, "now": request.now})).scalar()
            if at is None:
                found.empty.add(cost_class)
            else:
                found.later.append((at, WaitReason.RETRY))
    return found


def _reserved(
    rows: Iterable[RowMapping], cost_class: str, admission: quotas.Admission
) -> list[tuple[RowMapping, int]]:
    """The rows that quota allows, from the first on, with what is now held for each."""
    taken = []
    for row in rows:
        held = admission.reserve(cost_class, row["expected_tests"], charged=row["charged"])
        if held is None:
            break
        taken.append((row, held))
    return taken


def _claimed(lane: str, row: RowMapping, held: int | None, slot: float) -> Claimed:
    return Claimed(
        id=row["id"],
        fence=row["fence"] + 1,
        attempt=row["attempts"] + 1,
        key=row["key"],
        lane=lane,
        cost_class=row["cost_class"],
        labels=json.loads(row["labels"]),
        documents=json.loads(row["documents"]),
        repeat=row["repeat"],
        start_at=slot,
        reserved=held,
        expected_tests=row["expected_tests"],
    )


def _start(connection: Connection, request: Claim, claimed: Sequence[Claimed]) -> None:
    _START.run(connection, [(one.id,) for one in claimed], worker_id=request.worker_id)
    # "sent" is on disk before the request leaves: nothing is ever sent that the store does not know.
    _SEND.run(
        connection,
        [
            (
                one.id,
                one.fence,
                request.run_id,
                request.worker_id,
                one.start_at,
                AttemptOutcome.SENT,
            )
            for one in claimed
        ],
    )

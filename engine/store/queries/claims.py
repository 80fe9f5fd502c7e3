"""Claiming jobs for a worker, lane by lane in the order of the file, within rates and quota.

The first repeat of every cell comes before the second repeat of any, and a job that is due again keeps its place
in that order. So a run that is stopped early has sent a fair sample of the sweep.

Runs inside a write transaction of the caller, which commits.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import inf
from typing import Any

from sqlalchemy import (
    ColumnElement,
    Integer,
    Select,
    Subquery,
    Text,
    bindparam,
    select,
    tuple_,
    union_all,
    update,
)
from sqlalchemy.engine import Connection

from engine.core.runs import WaitReason
from engine.core.states import AttemptOutcome, Event, target
from engine.store.dialect import Bulk
from engine.store.queries import rates, shared_limits
from engine.store.queries.admission import Admission, is_affordable_later, load_admission
from engine.store.queries.queue import CLAIMABLE, PAST
from engine.store.requests import Claim, Claimed, LaneClaim, LaneGrant
from engine.store.schema import attempt, job

_OF_CLASS = (
    job.c.run_id == bindparam("run_id"),
    job.c.lane == bindparam("lane"),
    CLAIMABLE,
)
_PLACE = (job.c.repeat, job.c.place)
_LAST = (2**62, 2**62)
_QUOTA_UNKNOWN_RETRY_S = 1.0
"""Seconds until checking again whether another process has learned the quota from the service."""


def _first_of_class(given: Subquery, *due: ColumnElement[bool]) -> Select[tuple[int]]:
    """The first due jobs of a class, in the order of the file."""
    first = (
        select(job.c.id)
        .where(
            *_OF_CLASS,
            job.c.cost_class == given.c.cost_class,
            *due,
            tuple_(*_PLACE) > tuple_(bindparam("repeat"), bindparam("place")),
            tuple_(*_PLACE) <= tuple_(bindparam("last_repeat"), bindparam("last_place")),
            job.c.place < bindparam("behind"),
        )
        .order_by(*_PLACE)
        .limit(bindparam("count"))
        .correlate(given)
        .subquery()
    )
    return select(first.c.id).correlate(given)


def _candidates_of(given: Subquery) -> Select[Any]:
    """The first due jobs over all classes: those never sent, which are ordered in the index, and those due again."""
    taken = job.alias("taken")
    first = union_all(
        _first_of_class(given, job.c.due_at == 0),
        _first_of_class(given, job.c.due_at > 0, job.c.due_at <= bindparam("now")),
    )
    return (
        select(
            taken.c.id,
            taken.c.fence,
            taken.c.attempts,
            taken.c.key,
            taken.c.cost_class,
            taken.c.expected_tests,
            taken.c.charged,
            taken.c.labels,
            taken.c.documents,
            taken.c.repeat,
            taken.c.place,
        )
        .select_from(given.join(taken, taken.c.id.in_(first)))
        .order_by(taken.c.repeat, taken.c.place)
        .limit(bindparam("count"))
        .with_for_update(skip_locked=True, of=taken)
    )


_CANDIDATES = Bulk({"cost_class": Text()}, _candidates_of)
_NEXT_DUE = Bulk(
    {"cost_class": Text()},
    lambda given: select(
        given.c.cost_class,
        select(job.c.due_at)
        .where(*_OF_CLASS, job.c.cost_class == given.c.cost_class, job.c.due_at > bindparam("now"))
        .order_by(job.c.due_at)
        .limit(1)
        .correlate(given)
        .scalar_subquery()
        .label("due_at"),
    ),
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


def claim(
    connection: Connection, request: Claim, *, until: tuple[int, int] | None = None
) -> list[LaneGrant]:
    """Claim jobs within rates and quota; returns one grant for each requested lane.

    `until` is the repeat and place of the last job that may be claimed while an edited sweep is being expanded.
    """
    if not request.lanes:
        return []
    asked = {bucket.name: bucket for lane in request.lanes for bucket in lane.buckets}
    buckets = rates.load(connection, asked)
    holder = shared_limits.holder_of(request.worker_id, request.run_id)
    buckets.note(connection, asked.values(), holder)
    admission = load_admission(connection, request)
    grants = [
        _claim_lane(connection, request, lane, buckets, admission, until or _LAST)
        for lane in request.lanes
    ]
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
    admission: Admission,
    until: tuple[int, int],
) -> LaneGrant:
    next_at, why = _next_slot(request, lane, buckets)
    if next_at > request.now + request.horizon_s:
        return LaneGrant(lane=lane.lane, asked_at=request.now, next_at=next_at, why=why)
    found = _find_candidates(connection, request, lane, buckets, admission, until)
    slots = buckets.take(
        lane.buckets,
        want=len(found.rows),
        now=request.now,
        horizon_s=request.horizon_s,
        lead_s=request.lead_s,
    )
    for row, held in found.rows[len(slots) :]:
        admission.refund(row.cost_class, held)
        found.empty.discard(row.cost_class)
    if len(slots) < len(found.rows) or len(slots) == lane.count:
        found.later.append(_next_slot(request, lane, buckets))
    soonest = min(found.later, default=None)
    is_rated = buckets.has_rate(lane.buckets)
    return LaneGrant(
        lane=lane.lane,
        asked_at=request.now,
        jobs=tuple(
            _to_claimed(
                lane.lane,
                row,
                held if admission.counts_tests else None,
                slot,
                is_rated=is_rated,
                is_alone=row.cost_class in admission.alone,
            )
            for (row, held), slot in zip(found.rows, slots, strict=False)
        ),
        next_at=None if soonest is None else soonest[0],
        why=WaitReason.QUEUED if soonest is None else soonest[1],
        empty_classes=frozenset(found.empty),
    )


def _next_slot(request: Claim, lane: LaneClaim, buckets: rates.Buckets) -> tuple[float, WaitReason]:
    """When to claim the lane's next slot, which is `lead_s` before the slot, and what the lane waits for."""
    at, why = buckets.next_at(lane.buckets, request.now, request.lead_s)
    return at - request.lead_s, why


@dataclass(slots=True)
class _Candidates:
    """Jobs that can be sent, with the tests held for each, and when there may be others."""

    rows: list[tuple[Any, int]] = field(default_factory=list)
    empty: set[str] = field(default_factory=set)
    later: list[tuple[float, WaitReason]] = field(default_factory=list)


def _find_candidates(
    connection: Connection,
    request: Claim,
    lane: LaneClaim,
    buckets: rates.Buckets,
    admission: Admission,
    until: tuple[int, int],
) -> _Candidates:
    """Find the first jobs of a lane, in the order of the file over all its classes, that quota allows.

    There may be one more than its rates have slots for, which shows that the lane's queue is not empty yet.

    A class that quota refuses is skipped. But if the job would fit once the requests in flight turn out cheaper,
    it keeps its turn, because the jobs behind it would use up what is left.
    """
    found = _Candidates()
    classes = set(lane.classes)
    after = (0, 0)
    most = buckets.most(lane.buckets, want=lane.count, horizon_s=request.horizon_s)
    count = min(lane.count, most + 1)
    while classes and (missing := count - len(found.rows)):
        rows = _read_candidates(connection, request, lane, classes, (after, until), missing)
        for row in rows:
            if row.cost_class not in classes:
                continue
            held = admission.reserve(row.cost_class, row.expected_tests, charged=row.charged)
            if held is not None:
                found.rows.append((row, held))
                continue
            classes.discard(row.cost_class)
            why = admission.refusals[row.cost_class]
            found.later.append(
                (
                    request.now + _QUOTA_UNKNOWN_RETRY_S
                    if why is WaitReason.QUOTA_UNKNOWN
                    else inf,
                    why,
                )
            )
            if is_affordable_later(connection, request.run_id, admission, row.cost_class):
                return found
        if len(rows) < missing:
            _note_later(connection, request, lane, classes, found)
            break
        after = (rows[-1].repeat, rows[-1].place)
    return found


def _read_candidates(
    connection: Connection,
    request: Claim,
    lane: LaneClaim,
    classes: Iterable[str],
    between: tuple[tuple[int, int], tuple[int, int]],
    count: int,
) -> Sequence[Any]:
    """The first due jobs of these classes after one (repeat, place) and up to another."""
    (repeat, place), (last_repeat, last_place) = between
    return _CANDIDATES.rows(
        connection,
        [(name,) for name in sorted(classes)],
        run_id=request.run_id,
        lane=lane.lane,
        now=request.now,
        count=count,
        repeat=repeat,
        place=place,
        last_repeat=last_repeat,
        last_place=last_place,
        # Jobs that were put behind all others may no longer be in the sweep, whatever their repeat.
        behind=_LAST[1] if between[1] == _LAST else PAST,
    )


def _note_later(
    connection: Connection,
    request: Claim,
    lane: LaneClaim,
    classes: Iterable[str],
    found: _Candidates,
) -> None:
    """All due jobs of these classes are taken: note which classes have jobs later, and which have none."""
    coming = _NEXT_DUE.rows(
        connection,
        [(name,) for name in sorted(classes)],
        run_id=request.run_id,
        lane=lane.lane,
        now=request.now,
    )
    for row in coming:
        if row.due_at is None:
            found.empty.add(row.cost_class)
        else:
            found.later.append((row.due_at, WaitReason.RETRY))


def _to_claimed(
    lane: str, row: Any, held: int | None, slot: float, *, is_rated: bool, is_alone: bool
) -> Claimed:
    return Claimed(
        id=row.id,
        fence=row.fence + 1,
        attempt=row.attempts + 1,
        key=row.key,
        lane=lane,
        cost_class=row.cost_class,
        labels=json.loads(row.labels),
        documents=json.loads(row.documents),
        repeat=row.repeat,
        start_at=slot,
        is_rated=is_rated,
        reserved=held,
        is_alone=is_alone,
        expected_tests=row.expected_tests,
    )


def _start(connection: Connection, request: Claim, claimed: Sequence[Claimed]) -> None:
    _START.run(connection, [(one.id,) for one in claimed], worker_id=request.worker_id)
    # The attempt is on disk before its request leaves, so the store knows every request.
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

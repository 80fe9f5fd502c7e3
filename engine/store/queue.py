"""The job queue in SQL: claim, settle, give back, reclaim.

Every function runs inside a write transaction of the caller's and leaves committing to it. Rows are
read for update first and then changed by id, so that what was decided is what is written.
"""

import json
import zlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from math import inf

from sqlalchemy import (
    ColumnElement,
    RowMapping,
    Text,
    bindparam,
    func,
    literal_column,
    or_,
    select,
    update,
)
from sqlalchemy.engine import Connection

from engine.core.states import AttemptOutcome, Event, State, sources, target
from engine.store import quotas, rates
from engine.store.dialect import Upsert
from engine.store.requests import Claim, Claimed, LaneClaim, LaneGrant, Outcome
from engine.store.schema import answer, attempt, cost, job, result

# Written out, not bound: only so does the planner see that the partial index fits.
CLAIMABLE: ColumnElement[bool] = literal_column(
    "job.state IN ({})".format(", ".join(f"'{state}'" for state in sources(Event.CLAIM)))
)
RUNNING: ColumnElement[bool] = literal_column(f"job.state = '{State.RUNNING}'")

_CANDIDATES = (
    select(
        job.c.id,
        job.c.fence,
        job.c.attempts,
        job.c.key,
        job.c.cost_class,
        job.c.expected_tests,
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
    )
    .order_by(job.c.due_at)
    .limit(1)
)

_START = (
    update(job)
    .where(job.c.id == bindparam("job_id"), CLAIMABLE)
    .values(
        state=target(Event.CLAIM),
        owner=bindparam("worker_id"),
        fence=job.c.fence + 1,
        attempts=job.c.attempts + 1,
    )
)


_KEEP_RESULT = result.insert()
_KEEP_ANSWER = answer.insert()
_KEEP_COST = Upsert(
    cost,
    lambda statement: statement.on_conflict_do_update(
        index_elements=["service", "cost_class"],
        set_={"tests": statement.excluded.tests},
        where=statement.excluded.tests > cost.c.tests,
    ),
)
_SEND = attempt.insert()


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
    next_at, why = buckets.next_at(lane.buckets, request.now)
    if next_at > request.now + request.horizon_s:
        return LaneGrant(lane=lane.lane, next_at=next_at, why=why)
    found = _candidates(connection, request, lane, admission)
    slots = buckets.take(
        lane.buckets, want=len(found.rows), now=request.now, horizon_s=request.horizon_s
    )
    for row, held in found.rows[len(slots) :]:
        admission.refund(row["cost_class"], held)
    if len(slots) < len(found.rows) or len(slots) == lane.count:
        found.later.append(buckets.next_at(lane.buckets, request.now))
    soonest = min(found.later, default=None)
    return LaneGrant(
        lane=lane.lane,
        jobs=tuple(
            _claimed(lane.lane, row, held, slot)
            for (row, held), slot in zip(found.rows, slots, strict=False)
        ),
        next_at=None if soonest is None else soonest[0],
        why="" if soonest is None else soonest[1],
        empty_classes=frozenset(found.empty),
    )


@dataclass(slots=True)
class _Candidates:
    """Jobs that could be sent, with what is held for each; and when there may be others."""

    rows: list[tuple[RowMapping, int]] = field(default_factory=list)
    empty: set[str] = field(default_factory=set)
    later: list[tuple[float, str]] = field(default_factory=list)


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
        for row in rows:
            held = admission.reserve(cost_class, row["expected_tests"])
            if held is None:
                found.later.append((inf, admission.refusals[cost_class]))
                break
            found.rows.append((row, held))
        if len(rows) < missing:
            at = (connection.execute(_NEXT_DUE, where)).scalar()
            if at is None:
                found.empty.add(cost_class)
            elif at > request.now:
                found.later.append((at, "retry"))
    return found


def _claimed(lane: str, row: RowMapping, held: int, slot: float) -> Claimed:
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
    )


def _start(connection: Connection, request: Claim, claimed: Sequence[Claimed]) -> None:
    connection.execute(
        _START,
        [{"job_id": one.id, "worker_id": request.worker_id} for one in claimed],
    )
    # "sent" is on disk before the request leaves: nothing is ever sent that the store does not know.
    connection.execute(
        _SEND,
        [
            {
                "job_id": one.id,
                "fence": one.fence,
                "run_id": request.run_id,
                "worker": request.worker_id,
                "sent_at": one.start_at,
                "outcome": AttemptOutcome.SENT,
            }
            for one in claimed
        ],
    )


_SETTLING = (
    select(job.c.id, job.c.state, job.c.fence, job.c.attempts)
    .where(job.c.id.in_(bindparam("ids", expanding=True)))
    .with_for_update()
)

_SETTLE = (
    update(job)
    .where(job.c.id == bindparam("job_id"))
    .values(
        state=bindparam("new_state"),
        owner=None,
        attempts=bindparam("used"),
        due_at=bindparam("due"),
        error=bindparam("said"),
        detail=bindparam("more"),
    )
)

_CLOSE_ATTEMPT = (
    update(attempt)
    .where(
        attempt.c.job_id == bindparam("job"),
        attempt.c.fence == bindparam("number"),
        # An attempt that was given up for lost can only turn out to have succeeded.
        or_(
            attempt.c.outcome == AttemptOutcome.SENT,
            bindparam("came_to", type_=Text) == AttemptOutcome.SUCCEEDED,
        ),
    )
    .values(
        ended_at=bindparam("ended"),
        outcome=bindparam("came_to"),
        status=bindparam("http_status"),
        error=bindparam("said"),
        detail=bindparam("more"),
    )
)


def settle(connection: Connection, outcomes: Sequence[Outcome]) -> list[bool]:
    """Record what attempts came to; for each, whether it changed its job.

    A negative outcome counts only under the fence of its own claim; an answer is kept whenever the
    job has none yet.
    """
    found = connection.execute(_SETTLING, {"ids": [one.job_id for one in outcomes]})
    before = {row["id"]: row for row in found.mappings()}
    applied: list[bool] = []
    done: set[int] = set()
    for one in outcomes:
        row = before[one.job_id]
        if one.event is Event.SUCCEED:
            counts = row["state"] in sources(Event.SUCCEED)
        else:
            counts = row["state"] == State.RUNNING and row["fence"] == one.fence
        applied.append(counts and one.job_id not in done)
        if counts:
            done.add(one.job_id)
    winners = [one for one, counts in zip(outcomes, applied, strict=True) if counts]
    if winners:
        connection.execute(_SETTLE, [_settled(one, before[one.job_id]) for one in winners])
    connection.execute(_CLOSE_ATTEMPT, [_closed(one) for one in outcomes])
    _keep_answers(connection, winners)
    if reserving := [one for one in outcomes if one.reserved]:
        quotas.settle(connection, reserving)
    blocked: dict[str, float] = {}
    for one in outcomes:
        for name, until in one.blocked.items():
            blocked[name] = max(until, blocked.get(name, 0.0))
    if blocked:
        rates.block(connection, blocked)
    return applied


def _settled(one: Outcome, row: RowMapping) -> dict[str, object]:
    used = row["attempts"]
    # A late answer leaves the count to whoever holds the job now.
    if not one.keeps_attempt and row["fence"] == one.fence:
        used -= 1
    return {
        "job_id": one.job_id,
        "new_state": target(one.event),
        "used": used,
        "due": one.due_at,
        "said": one.error,
        "more": one.detail,
    }


def _closed(one: Outcome) -> dict[str, object]:
    return {
        "job": one.job_id,
        "number": one.fence,
        "ended": one.ended_at,
        "came_to": one.attempt_outcome,
        "http_status": one.status,
        "said": one.error,
        "more": one.detail,
    }


def _keep_answers(connection: Connection, winners: Iterable[Outcome]) -> None:
    answered = [one for one in winners if one.answer is not None]
    if not answered:
        return
    results, answers = [], []
    costs: dict[tuple[str, str], int] = {}
    for one in answered:
        assert one.answer is not None
        measured = one.answer.measurement
        results.append(
            {
                "job_id": one.job_id,
                "run_id": one.run_id,
                "passed": measured.passed,
                "failed": measured.failed,
                "tests": measured.tests,
                "scores": None if measured.scores is None else json.dumps(measured.scores),
                "note": measured.note,
                "recorded_at": one.ended_at,
            }
        )
        answers.append({"job_id": one.job_id, "raw": compress(one.answer.raw)})
        known = (one.service, one.cost_class)
        costs[known] = max(measured.tests, costs.get(known, 0))
    connection.execute(_KEEP_RESULT, results)
    connection.execute(_KEEP_ANSWER, answers)
    connection.execute(
        _KEEP_COST.on(connection),
        [
            {"service": service, "cost_class": name, "tests": tests}
            for (service, name), tests in costs.items()
        ],
    )


def reclaim(
    connection: Connection, worker_id: str, *, now: float, attempts: int | None
) -> tuple[int, int]:
    """Take back what a dead worker was doing: (jobs to be sent again, jobs that are out of attempts).

    Nobody knows what became of its requests, so each uses an attempt (of at most `attempts`, where
    that is known) and its quota counts as spent.
    """
    quotas.charge_lost(connection, worker_id)
    lost = (
        connection.execute(
            select(job.c.id, job.c.fence, job.c.attempts)
            .where(RUNNING, job.c.owner == worker_id)
            .with_for_update()
        )
    ).all()
    if not lost:
        return 0, 0
    message = "the process that was working on it died"
    spent = [row for row in lost if attempts is not None and row.attempts >= attempts]
    connection.execute(
        _SETTLE,
        [
            {
                "job_id": row.id,
                "new_state": target(Event.FAIL if row in spent else Event.RECLAIM),
                "used": row.attempts,
                "due": 0.0,
                "said": message if row in spent else None,
                "more": None,
            }
            for row in lost
        ],
    )
    connection.execute(
        _CLOSE_ATTEMPT,
        [
            {
                "job": row.id,
                "number": row.fence,
                "ended": now,
                "came_to": AttemptOutcome.LOST,
                "http_status": None,
                "said": message,
                "more": None,
            }
            for row in lost
        ],
    )
    return len(lost) - len(spent), len(spent)


def cancel(connection: Connection, run_id: int) -> int:
    """Cancel what is not yet sent; returns how many jobs. What is in flight ends with its worker."""
    done = connection.execute(
        update(job)
        .where(job.c.run_id == run_id, CLAIMABLE)
        .values(state=target(Event.CANCEL), error="cancelled", due_at=0.0)
    )
    return done.rowcount


def requeue(connection: Connection, run_id: int, states: Iterable[State]) -> int:
    """Put failed or cancelled jobs of the sweep back in line with fresh attempts; returns how many."""
    allowed = [state for state in states if state in sources(Event.REQUEUE)]
    done = connection.execute(
        update(job)
        .where(job.c.run_id == run_id, job.c.state.in_(allowed), job.c.cell_count > 0)
        .values(
            state=target(Event.REQUEUE),
            attempts=0,
            due_at=0.0,
            error=None,
            detail=None,
        )
    )
    return done.rowcount


def running(connection: Connection, run_id: int, *, but: str) -> dict[str, int]:
    """Jobs in flight per lane in other workers than `but`."""
    rows = connection.execute(
        select(job.c.lane, func.count())
        .where(RUNNING, job.c.run_id == run_id, job.c.owner != but)
        .group_by(job.c.lane)
    )
    return dict(rows.tuples().all())


def compress(raw: bytes) -> bytes:
    """An answer as it is kept."""
    return zlib.compress(raw, 1)


def decompress(kept: bytes) -> bytes:
    """An answer as it was received."""
    return zlib.decompress(kept)

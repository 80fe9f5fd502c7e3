"""The rows of runs: created by a sweep, found by name, and updated with another sweep of the same evaluation."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import RowMapping, bindparam, func, or_, select, update
from sqlalchemy.engine import Connection

from engine.core.errors import IdentityChanged, UsageError
from engine.core.provenance import SERVICE, Difference, Fact, differences, to_record
from engine.core.runs import EventKind, RunState, StopReason
from engine.core.states import State
from engine.store.dialect import Statement
from engine.store.queries import events
from engine.store.queries.queue import RUNNING, has_open_jobs
from engine.store.schema import job, quota, result, run, worker

_RETRY_CUT_SHORT = (
    "not all jobs are requeued yet; `nightsweep resume` requeues the rest, and so does the same"
    " `nightsweep retry`"
)

# A run that is executed asks this every second.
_FINGERPRINT = Statement(
    lambda _: select(
        run.c.state,
        run.c.generation,
        run.c.updated_at,
        select(func.max(worker.c.started_at)).scalar_subquery().label("arrived_at"),
    ).where(run.c.id == bindparam("run_id"))
)
COLUMNS = [column for column in run.c if column is not run.c.layout]
"""All columns except the layout, which is large and needed only while a sweep is expanded."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunFingerprint:
    """Values of which at least one changes when a process changes a run or begins to work on the store."""

    state: RunState
    generation: int
    updated_at: float
    arrived_at: float
    """When the latest worker arrived."""


@dataclass(frozen=True, slots=True)
class ActiveRun:
    """An active run, without its sweep: cheap enough to be read every second."""

    id: int
    name: str
    reason: str | None
    """Why the last process to work on it stopped; None if it has gone on since."""
    resume_at: float | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Requeueing:
    """A change that puts jobs of a run back into the queue, in several transactions."""

    worker: str
    """The worker that makes it."""
    states: tuple[State, ...]
    """The states of the jobs, as `queue.requeue` takes them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RunRow:
    """A row of `run`; times are seconds since the epoch."""

    id: int
    name: str
    service: str
    evaluation: str
    target: str
    identity: str
    sweep: Mapping[str, Any]
    digest: str
    expanded: str | None
    generation: int
    state: RunState
    reason: str | None
    message: str
    resume_at: float | None
    created_at: float
    updated_at: float
    provenance: Mapping[str, str] | None
    fresh_at: float | None = None
    """If everything was asked again: the time from which on answers and replies count."""
    fresh_generation: int | None = None
    """The generation that asked everything again; answers to jobs of earlier generations do not count."""
    grouped: Sequence[str] = ()
    """The fields of the axes by which its cells are counted."""
    account: str | None = None
    """The account whose rates and quota it used last; None if it was never executed."""
    requeueing: Requeueing | None = None
    """The jobs that are being put back into the queue; None if there are none."""

    @property
    def is_expanded(self) -> bool:
        """Whether every cell of the sweep is in the queue."""
        return self.expanded == self.digest


@dataclass(frozen=True, slots=True, kw_only=True)
class NewRun:
    """What a sweep requires of the run of its name."""

    name: str
    service: str
    evaluation: str
    target: str
    identity: str
    sweep: Mapping[str, Any]
    digest: str
    facts: Sequence[Fact]
    """What determines the answers now."""
    accepts: bool = False
    """Whether changed facts are accepted for the cells that have no answer yet."""
    is_fresh: bool = False
    """Whether everything is asked again, even if the store has answers."""
    grouped: Sequence[str] = ()
    """The fields of the axes by which the cells of a new run are counted."""


def begin(connection: Connection, new: NewRun, *, now: float) -> RunRow:
    """Create the run, or give the existing run of this name the new sweep.

    Raises UsageError if the existing run evaluates something else or is being deleted, and IdentityChanged if what
    determines its answers has changed and that is not accepted.
    """
    found = find(connection, new.name)
    wanted = preview(connection, new, now=now)
    values: dict[str, Any] = {
        "sweep": json.dumps(new.sweep, ensure_ascii=False),
        "digest": wanted.digest,
        "generation": wanted.generation,
        "expanded": wanted.expanded,
        "fresh_at": wanted.fresh_at,
        "fresh_generation": wanted.fresh_generation,
        "updated_at": now,
    }
    if found is None:
        connection.execute(
            run.insert().values(
                name=new.name,
                service=new.service,
                evaluation=new.evaluation,
                target=new.target,
                identity=new.identity,
                state=RunState.ACTIVE,
                created_at=now,
                provenance=_dump_provenance(to_record(new.facts)),
                grouped=json.dumps(new.grouped),
                **values,
            )
        )
    else:
        record_facts(connection, found, new.facts, accepts=new.accepts, now=now)
        connection.execute(update(run).where(run.c.id == found.id).values(**values))
    row = find(connection, new.name)
    assert row is not None, "it was just written"
    return row


def preview(connection: Connection, new: NewRun, *, now: float) -> RunRow:
    """The run as `begin` would create or update it, with id 0 if it would be new; writes nothing.

    Raises what `begin` raises.
    """
    found = find(connection, new.name)
    if found is None:
        return RunRow(
            id=0,
            name=new.name,
            service=new.service,
            evaluation=new.evaluation,
            target=new.target,
            identity=new.identity,
            sweep=new.sweep,
            digest=new.digest,
            expanded=None,
            generation=1,
            state=RunState.ACTIVE,
            reason=None,
            message="",
            resume_at=None,
            created_at=now,
            updated_at=now,
            provenance=to_record(new.facts),
            grouped=tuple(new.grouped),
            fresh_at=now if new.is_fresh else None,
            fresh_generation=1 if new.is_fresh else None,
        )
    refuse_if_deleting(found)
    _refuse_another(found, new)
    _refuse_changes(connection, found, new.facts, accepts=new.accepts)
    wanted = replace(found, sweep=new.sweep, digest=new.digest)
    if not new.is_fresh and found.digest == new.digest:
        return wanted
    # Also when going back to a sweep that was fully expanded: the sweep in between may have changed its jobs.
    wanted = replace(wanted, generation=found.generation + 1, expanded=None)
    if not new.is_fresh:
        return wanted
    return replace(wanted, fresh_at=now, fresh_generation=wanted.generation)


def _refuse_another(found: RunRow, new: NewRun) -> None:
    for what, old, asked in (
        ("service", found.service, new.service),
        ("evaluation", found.evaluation, new.evaluation),
        ("target", found.target, new.target),
    ):
        if old != asked:
            raise UsageError(
                f"the run {new.name!r} in this store has the {what} {old}, the sweep has {asked};"
                " give the sweep another name, or use another store"
            )


def record_facts(
    connection: Connection, found: RunRow, facts: Sequence[Fact], *, accepts: bool, now: float
) -> None:
    """Record what determines a run's answers from now on.

    Raises IdentityChanged if that differs from what was recorded before, unless the change is accepted. A change of
    the judge cannot be accepted once there are answers, so that numbers of two judges never mix.
    """
    refuse_if_deleting(found)
    changed = _refuse_changes(connection, found, facts, accepts=accepts)
    before = found.provenance or {}
    after = {**before, **to_record(facts)}
    if after != before:
        connection.execute(
            update(run).where(run.c.id == found.id).values(provenance=_dump_provenance(after))
        )
    if changed:
        message = f"accepted for what is not answered yet: {'; '.join(map(str, changed))}"
        events.add(connection, found.id, EventKind.ACCEPTED, message, now=now)


def _refuse_changes(
    connection: Connection, found: RunRow, facts: Sequence[Fact], *, accepts: bool
) -> list[Difference]:
    """The changes of what determines a run's answers; raises IdentityChanged unless they are accepted."""
    changed = _find_changes(found, facts)
    mixes = any(one.judging for one in changed) and _has_answers(connection, found.id)
    if changed and (mixes or not accepts):
        raise IdentityChanged(found.name, changed, mixes_judges=mixes)
    return changed


def _find_changes(found: RunRow, facts: Sequence[Fact]) -> list[Difference]:
    changed = differences(found.provenance, facts)
    if found.provenance is None and not changed:
        # Only the service determines the answers, and every version has recorded that.
        return differences({SERVICE: found.identity}, facts)
    return changed


def _has_answers(connection: Connection, run_id: int) -> bool:
    """Whether a run has an answer or a job in flight."""
    answered = select(result.c.job_id).where(result.c.run_id == run_id).limit(1)
    asked = select(job.c.id).where(job.c.run_id == run_id, RUNNING).limit(1)
    return any(connection.execute(query).first() is not None for query in (answered, asked))


def _dump_provenance(provenance: Mapping[str, str]) -> str:
    return json.dumps(provenance, ensure_ascii=False, sort_keys=True)


def activate(
    connection: Connection, run_id: int, account: str | None, *, joins: bool, now: float
) -> bool:
    """Make a run active and set its account, unless `account` is None; returns whether it may be worked on.

    A finished or cancelled run stays so if no job of its sweep is open. With `joins`, a run that is not active
    stays as it is, and may not be worked on. Raises UsageError if the run was deleted or is being deleted.
    """
    row = connection.execute(select(*COLUMNS).where(run.c.id == run_id)).mappings().first()
    if row is None:
        raise UsageError("the run was deleted")
    found = run_row(row)
    refuse_if_deleting(found)
    if joins and found.state is not RunState.ACTIVE:
        return False
    values: dict[str, Any] = {"updated_at": now, "account": account or found.account}
    ended = found.state in (RunState.FINISHED, RunState.CANCELLED) and found.is_expanded
    if not ended or has_open_jobs(connection, run_id):
        values |= {"state": RunState.ACTIVE, "reason": None, "message": "", "resume_at": None}
    connection.execute(update(run).where(run.c.id == run_id).values(**values))
    return True


def set_state(
    connection: Connection,
    run_id: int,
    state: RunState,
    *,
    reason: StopReason | None,
    message: str,
    resume_at: float | None,
    unless: Iterable[RunState],
    now: float,
) -> None:
    """Set a run's state, unless it is now in one of the states `unless` or being deleted."""
    connection.execute(
        update(run)
        .where(run.c.id == run_id, run.c.state.not_in([*unless, RunState.DELETING]))
        .values(state=state, reason=reason, message=message, resume_at=resume_at, updated_at=now)
    )
    if state is RunState.CANCELLED:
        # What is not put back yet stays as it is.
        end_requeueing(connection, run_id)


def begin_requeueing(
    connection: Connection, run_id: int, wanted: Requeueing, *, now: float
) -> None:
    """Record that jobs of a run are about to be put back into the queue, so that another process can complete it.

    What another such change has left undone is added to it.
    """
    before = find_requeueing(connection, run_id)
    states = dict.fromkeys([*wanted.states, *(before.states if before else ())])
    found = json.dumps({"worker": wanted.worker, "states": list(states)})
    connection.execute(
        update(run)
        .where(run.c.id == run_id, run.c.state != RunState.DELETING)
        .values(requeueing=found, updated_at=now)
    )


def find_requeueing(connection: Connection, run_id: int) -> Requeueing | None:
    """The jobs of a run that are being put back into the queue; None if there are none."""
    query = select(run.c.requeueing).where(run.c.id == run_id)
    return _load_requeueing(connection.execute(query).scalar_one_or_none())


def end_requeueing(connection: Connection, run_id: int) -> None:
    """Record that no job of a run is being put back into the queue."""
    connection.execute(update(run).where(run.c.id == run_id).values(requeueing=None))


def _load_requeueing(kept: str | None) -> Requeueing | None:
    if kept is None:
        return None
    found = json.loads(kept)
    return Requeueing(worker=found["worker"], states=tuple(map(State, found["states"])))


def reopen(connection: Connection, run_id: int, *, is_cut_short: bool, now: float) -> None:
    """Make a run active because jobs of it were requeued; `is_cut_short` says that more are to follow."""
    connection.execute(
        update(run)
        .where(run.c.id == run_id, run.c.state != RunState.DELETING)
        .values(
            state=RunState.ACTIVE,
            reason=StopReason.INTERRUPTED if is_cut_short else None,
            message=_RETRY_CUT_SHORT if is_cut_short else "",
            resume_at=None,
            updated_at=now,
        )
    )


def rename(
    connection: Connection, of: RunRow, name: str, caps: Iterable[tuple[str, str]], *, now: float
) -> RunRow:
    """Rename a run, and with it its sweep and its own quotas.

    `caps` are the (old, new) names of the quotas that belong to the run alone. Raises UsageError if the name is
    taken or the run has changed since it was read.
    """
    refuse_if_touched(connection, of)
    if find(connection, name) is not None:
        raise UsageError(f"a run {name!r} exists already: choose another name, or delete that run")
    sweep = {**of.sweep, "sweep": {**of.sweep["sweep"], "name": name}}
    connection.execute(
        update(run)
        .where(run.c.id == of.id)
        .values(name=name, sweep=json.dumps(sweep, ensure_ascii=False))
    )
    for before, after in caps:
        connection.execute(update(quota).where(quota.c.name == before).values(name=after))
    message = f"{of.name} was renamed to {name}"
    events.add(connection, of.id, EventKind.RENAMED, message, now=now)
    row = find(connection, name)
    assert row is not None, "it was just written"
    return row


def refuse_if_deleting(of: RunRow) -> None:
    """Raise UsageError if a run is being deleted, because a part of it may be gone."""
    if of.state is RunState.DELETING:
        raise UsageError(
            f"the run {of.name!r} is being deleted, and a part of it is gone: repeat `nightsweep delete`"
            " to delete the rest"
        )


def refuse_if_touched(connection: Connection, of: RunRow) -> None:
    """Raise UsageError unless a run is as it was read and none of its jobs is in flight."""
    current = find(connection, of.name)
    if current is None or current.id != of.id:
        raise UsageError(f"the run {of.name!r} was deleted or renamed meanwhile")
    refuse_if_deleting(current)
    in_flight = select(job.c.id).where(RUNNING, job.c.run_id == of.id).limit(1)
    if current != of or connection.execute(in_flight).first() is not None:
        raise UsageError(
            f"a process works on the run {of.name!r}: stop it with `nightsweep pause`, then try again"
        )


def find(connection: Connection, name: str | None) -> RunRow | None:
    """Find the run of a name, or without one the run that was used last, preferably one that is not being deleted."""
    is_deleting = run.c.state == RunState.DELETING
    query = select(*COLUMNS).order_by(is_deleting, run.c.updated_at.desc(), run.c.id.desc())
    query = query.limit(1)
    if name is not None:
        query = query.where(run.c.name == name)
    row = connection.execute(query).mappings().first()
    return None if row is None else run_row(row)


def find_active(connection: Connection) -> list[ActiveRun]:
    """The active runs, the oldest first."""
    columns = run.c.id, run.c.name, run.c.reason, run.c.resume_at
    query = select(*columns).where(run.c.state == RunState.ACTIVE).order_by(run.c.id)
    return [ActiveRun(*row) for row in connection.execute(query)]


def find_fingerprint(connection: Connection, run_id: int) -> RunFingerprint | None:
    """The fingerprint of a run; None if there is no run of that id."""
    found = _FINGERPRINT.rows(connection, run_id=run_id)
    if not found:
        return None
    [row] = found
    return RunFingerprint(
        state=RunState(row.state),
        generation=row.generation,
        updated_at=row.updated_at,
        arrived_at=row.arrived_at or 0.0,
    )


def run_row(row: RowMapping) -> RunRow:
    """Convert a row with the columns `COLUMNS` of the table `run`, whose JSON is parsed."""
    provenance = row["provenance"]
    return RunRow(
        **{
            **row,
            "sweep": json.loads(row["sweep"]),
            "state": RunState(row["state"]),
            "provenance": None if provenance is None else json.loads(provenance),
            "requeueing": _load_requeueing(row["requeueing"]),
            "grouped": tuple(json.loads(row["grouped"])),
        }
    )


def has_other_runs(connection: Connection, of: RunRow, *, since: float | None = None) -> bool:
    """Whether there are other runs whose answers could be reused; with `since`, only runs used since that time."""
    query = select(run.c.id).where(
        run.c.id != of.id, run.c.service == of.service, run.c.identity == of.identity
    )
    if since is not None:
        query = query.where(or_(run.c.updated_at >= since, run.c.state == RunState.ACTIVE))
    return connection.execute(query.limit(1)).first() is not None

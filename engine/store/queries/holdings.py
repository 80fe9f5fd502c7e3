"""What a store already has for the jobs of a sweep, determined as submission would; writes nothing."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from sqlalchemy import RowMapping, select
from sqlalchemy.engine import Connection

from engine.core.policy import UnansweredPolicy
from engine.core.rows import Coverage
from engine.core.states import Event, State, sources
from engine.store.queries.expansion import ExpansionProgress
from engine.store.queries.families import assign_cells
from engine.store.queries.queue import REMOVED
from engine.store.queries.reuse import find_answers_of_others, is_enough
from engine.store.queries.runs import RunRow
from engine.store.queries.submission import find_members, is_outdated
from engine.store.requests import NewJob
from engine.store.schema import job, result, run


@dataclass(frozen=True, slots=True, kw_only=True)
class Holding:
    """What a store has for one job of a sweep, as counts of its cells; together they are all its cells."""

    kept: Coverage
    """Cells with an outcome in the run itself; those without an answer are asked again only by a retry."""
    reused: int = 0
    """Cells that would be answered from another run."""
    to_ask: int = 0
    source: int | None = None
    """The job of the other run; `answered_at` is when it was answered."""
    answered_at: float = 0.0


def survey(
    connection: Connection,
    of: RunRow,
    jobs: Sequence[NewJob],
    *,
    reuse: bool,
    unanswered: UnansweredPolicy,
) -> list[Holding]:
    """What `submission.add_jobs` would find for each job of a batch, in the same order; writes nothing.

    With `reuse`, answers of other runs count for jobs that this run has not answered. `unanswered` decides
    whether an answer with unanswered questions is enough.
    """
    placed: Sequence[NewJob] = jobs
    if of.generation > 1:
        placed = assign_cells(jobs, find_members(connection, of, jobs, ExpansionProgress()))
    wanted = {one.key: one for one in placed}
    kept = _find_states(connection, of, list(wanted), unanswered)
    others: Mapping[bytes, RowMapping] = {}
    if reuse:
        unasked = {key: one.provenance for key, one in wanted.items() if key not in kept}
        others = find_answers_of_others(connection, of, unasked, unanswered)
    return [_holding(one, wanted.get(one.key), kept.get(one.key), others) for one in jobs]


def _find_states(
    connection: Connection, of: RunRow, keys: Sequence[bytes], unanswered: UnansweredPolicy
) -> dict[bytes, State]:
    """The states that these jobs would have in their run, by key, without those that another run could answer."""
    rows = connection.execute(
        select(
            job.c.key,
            job.c.state,
            job.c.error,
            job.c.generation,
            result.c.passed,
            result.c.failed,
            result.c.unanswered,
            result.c.recorded_at,
        )
        .select_from(job.outerjoin(result, result.c.job_id == job.c.id))
        .where(job.c.key.in_(keys), job.c.run_id == of.id)
    )
    found: dict[bytes, State] = {}
    for row in rows.mappings():
        state, has_answer = State(row["state"]), row["passed"] is not None
        is_ended = state in sources(Event.REQUEUE)
        is_back = state is State.CANCELLED and row["error"] == REMOVED
        is_again = is_ended and is_outdated(of, row["generation"], row["recorded_at"])
        if not is_ended or is_back or is_again:
            if has_answer or state is State.RUNNING:
                found[row["key"]] = State.PENDING
        elif state is State.SUCCEEDED and is_enough(row, unanswered):
            found[row["key"]] = State.SUCCEEDED
        else:
            found[row["key"]] = State.CANCELLED if state is State.CANCELLED else State.FAILED
    return found


def _holding(
    one: NewJob, placed: NewJob | None, kept: State | None, others: Mapping[bytes, RowMapping]
) -> Holding:
    cells = max(1, len(one.cells))
    left = 0
    if placed is not None:
        left = sum(cell in placed.cells for cell in one.cells) if one.cells else 1
    # Answers at other thresholds serve the other cells.
    coverage = Coverage(answered=cells - left)
    if kept is not None and kept is not State.PENDING:
        coverage.add(kept, has_numbers=kept is State.SUCCEEDED, cells=left)
        return Holding(kept=coverage)
    if kept is None and left and one.key in others:
        row = others[one.key]
        return Holding(
            kept=coverage,
            reused=left,
            source=row["source"],
            answered_at=row["recorded_at"],
        )
    return Holding(kept=coverage, to_ask=left)


def runs_of(connection: Connection, job_ids: Iterable[int]) -> dict[int, str]:
    """The names of the runs of jobs, by job id; ids of jobs that no longer exist are left out."""
    query = select(job.c.id, run.c.name).join(run, run.c.id == job.c.run_id)
    return dict(iter(connection.execute(query.where(job.c.id.in_(list(job_ids))))))

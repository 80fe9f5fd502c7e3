"""Removing a run with all that is its own, removing what no run refers to, and giving the space back.

`delete_run` and `prune` run inside a write transaction of the caller's: after a crash all is there, or
all of it is gone.
"""

import sqlite3
from collections.abc import Iterable
from contextlib import closing
from pathlib import Path

from sqlalchemy import and_, bindparam, delete, exists, func, or_, select, true, update
from sqlalchemy.engine import Connection

from engine.core.errors import StoreError
from engine.core.status import Deleted
from engine.store import started
from engine.store.connection import BUSY_TIMEOUT_S
from engine.store.location import explain
from engine.store.queue import RUNNING
from engine.store.runs import RunRow, refuse_if_touched
from engine.store.schema import answer, attempt, document, job, metadata, quota, result, run, worker


def delete_run(connection: Connection, of: RunRow, caps: Iterable[str]) -> Deleted:
    """Remove a run as it was seen, with its jobs, attempts, results, answers, calls and events.

    `caps` are the names of the quotas that are the run's alone. Answers that other runs have taken over
    go to one of them; documents that other runs send stay.
    Raises UsageError when somebody has meanwhile touched the run.
    """
    refuse_if_touched(connection, of)
    free = _free_bytes(connection)
    kept = _hand_over_answers(connection, of.id)
    jobs = select(job.c.id).where(job.c.run_id == of.id)
    answers = connection.execute(delete(answer).where(answer.c.job_id.in_(jobs))).rowcount
    job_count = connection.execute(
        select(func.count()).select_from(job).where(job.c.run_id == of.id)
    ).scalar_one()
    for table in reversed(metadata.sorted_tables):
        if "run_id" in table.c:
            connection.execute(delete(table).where(table.c.run_id == of.id))
    connection.execute(delete(quota).where(quota.c.name.in_(list(caps))))
    started.forget(connection, of.id)
    connection.execute(delete(run).where(run.c.id == of.id))
    return Deleted(
        run=of.name,
        jobs=job_count,
        answers=answers,
        answers_kept=kept,
        documents=_remove_documents(connection),
        bytes=_free_bytes(connection) - free,
    )


def prune(connection: Connection) -> tuple[int, int]:
    """Remove documents that no job sends and workers that have gone and no attempt tells of: how many of each."""
    idle = and_(
        worker.c.ended_at.is_not(None),
        worker.c.id.not_in(select(attempt.c.worker)),
        worker.c.id.not_in(select(job.c.owner).where(RUNNING)),
    )
    documents = _remove_documents(connection)
    return documents, connection.execute(delete(worker).where(idle)).rowcount


def give_back_space(store: Path) -> int:
    """Write the store's file anew without its free pages; by how many bytes it has become smaller.

    Blocking, and nobody else can write meanwhile. After a crash the file is as it was.
    """
    try:
        with closing(
            sqlite3.connect(store, timeout=BUSY_TIMEOUT_S, isolation_level=None)
        ) as connection:
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            before = store.stat().st_size
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return max(0, before - store.stat().st_size)
    except sqlite3.Error as error:
        if error.sqlite_errorcode & 0xFF == sqlite3.SQLITE_FULL:
            raise StoreError(
                f"{store}: no room to write it anew, beside it and in the folder for temporary files"
                " (TMPDIR); what was removed is removed, and its space is used for new answers"
            ) from error
        raise explain(error, store) from error


def _hand_over_answers(connection: Connection, run_id: int) -> int:
    """Let one of the runs that have taken over an answer keep it; how many answers that were.

    Its result then refers to itself: it still says that the answer was reused. So does one that has a
    copy of its own, of an answer that was asked for again.
    """
    own = select(job.c.id).where(job.c.run_id == run_id)
    connection.execute(
        update(result)
        .where(
            result.c.reused_from.in_(own),
            result.c.run_id != run_id,
            result.c.job_id.in_(select(answer.c.job_id)),
        )
        .values(reused_from=result.c.job_id)
    )
    heirs = connection.execute(
        select(result.c.reused_from.label("source"), func.min(result.c.job_id).label("heir"))
        .where(result.c.reused_from.in_(own), result.c.run_id != run_id)
        .group_by(result.c.reused_from)
    ).all()
    if not heirs:
        return 0
    moves = [{"source": source, "heir": heir} for source, heir in heirs]
    connection.execute(
        update(answer)
        .where(answer.c.job_id == bindparam("source"))
        .values(job_id=bindparam("heir")),
        moves,
    )
    connection.execute(
        update(result)
        .where(result.c.reused_from == bindparam("source"), result.c.run_id != run_id)
        .values(reused_from=bindparam("heir")),
        moves,
    )
    return len(moves)


def _remove_documents(connection: Connection) -> int:
    """Remove documents that no job sends; none while a run writes its matrix, which begins with them."""
    each = func.json_each(job.c.documents).table_valued("value")
    sent = select(each.c.value).select_from(job.join(each, true())).where(each.c.value.is_not(None))
    unfinished = exists().where(or_(run.c.expanded.is_(None), run.c.expanded != run.c.digest))
    return connection.execute(
        delete(document).where(document.c.digest.not_in(sent), ~unfinished)
    ).rowcount


def _free_bytes(connection: Connection) -> int:
    pages, size = (
        connection.exec_driver_sql(f"PRAGMA {name}").scalar_one()
        for name in ("freelist_count", "page_size")
    )
    return int(pages * size)

"""What the tests of the store have in common: runs, jobs, claims and outcomes in few words."""

import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine

from engine.core.listed_tests import ListedTest, Listing
from engine.core.model import Answer, Measurement
from engine.core.provenance import Fact
from engine.core.states import AttemptOutcome, Event
from engine.store import (
    Bucket,
    Claim,
    Claimed,
    LaneClaim,
    LaneGrant,
    NewJob,
    NewRun,
    Outcome,
    QuotaKey,
    RunRow,
    Store,
    Totals,
)
from engine.store.revisions import migrations_folder
from engine.store.sqlite.database import SQLiteDatabase

NOW = 1_800_000_000.0
LANE = "model"
CLASS = "group"
SERVICE = "scripted"
PROVENANCE = "here"


def digest(*parts: object) -> bytes:
    return sha256(repr(parts).encode()).digest()


def new_job(
    name: object,
    threshold: float | None = None,
    cells: Sequence[float] = (),
    *,
    lane: str = LANE,
    cost_class: str = CLASS,
    expected_tests: int | None = None,
    folds: bool = True,
    provenance: str = PROVENANCE,
    repeat: int = 1,
    place: int = 0,
) -> NewJob:
    """A job named within its family; without a threshold it is a kind that has none."""
    return NewJob(
        key=digest("job", name, threshold),
        family=None if threshold is None else digest("family", name),
        lane=lane,
        cost_class=cost_class,
        expected_tests=expected_tests,
        labels={"name": name, "threshold": threshold},
        documents={},
        repeat=repeat,
        place=place,
        threshold=threshold,
        cells=tuple(cells) or (() if threshold is None else (threshold,)),
        folds=folds,
        provenance=provenance,
    )


async def begin(
    store: Store, name: str = "run", sweep: str = "first", *, is_fresh: bool = False
) -> RunRow:
    return await store.runs.begin(
        NewRun(
            name=name,
            service="scripted",
            evaluation="scripted",
            target="system_prompt",
            identity="here",
            sweep={"sweep": sweep},
            digest=sweep,
            facts=(Fact(name="service", value="here"),),
            is_fresh=is_fresh,
        )
    )


async def submit(
    store: Store, *jobs: NewJob, name: str = "run", sweep: str = "first", reuse: bool = False
) -> RunRow:
    """A run with these jobs and no others, in this order."""
    run = await begin(store, name, sweep)
    placed = [replace(one, place=place) for place, one in enumerate(jobs)]
    await store.matrix.add_jobs(run, placed, reuse=reuse)
    await store.matrix.finish_expansion(run)
    found = await store.reader.find_run(name)
    assert found is not None
    return found


def request(
    store: Store,
    run: RunRow,
    count: int = 100,
    *,
    now: float = NOW,
    lanes: Sequence[str] = (LANE,),
    classes: Sequence[str] = (CLASS,),
    buckets: Sequence[Bucket] = (),
    quotas: Sequence[QuotaKey] = (),
    horizon_s: float = 0.0,
    charged_by_reply: bool = False,
) -> Claim:
    return Claim(
        run_id=run.id,
        worker_id=store.worker_id,
        service=SERVICE,
        now=now,
        horizon_s=horizon_s,
        lanes=tuple(
            LaneClaim(lane=lane, classes=tuple(classes), count=count, buckets=tuple(buckets))
            for lane in lanes
        ),
        quotas=tuple(quotas),
        charged_by_reply=charged_by_reply,
    )


async def grants(store: Store, run: RunRow, count: int = 100, **more: Any) -> list[LaneGrant]:
    asked = request(store, run, count, **more)
    return await store.queue.claim(lambda _: asked)


async def claim(store: Store, run: RunRow, count: int = 100, **more: Any) -> list[Claimed]:
    return [job for grant in await grants(store, run, count, **more) for job in grant.jobs]


def answer(
    *scores: float, threshold: float = 0.5, raw: bytes = b'{"kept": "whole"}', **unanswered: int
) -> Answer:
    failed = sum(score < threshold for score in scores)
    return Answer(
        raw=raw,
        measurement=Measurement(
            passed=len(scores) - failed,
            failed=failed,
            tests=len(scores),
            scores=tuple(sorted(scores)),
            unanswered=unanswered,
            listing=Listing.of(ListedTest(None, 0, score) for score in scores),
        ),
    )


def success(job: Claimed, run: RunRow, *, now: float = NOW, **more: Any) -> Outcome:
    given = {"answer": answer(0.2, 0.9), "provenance": PROVENANCE, **more}
    return _outcome(job, run, Event.SUCCEED, AttemptOutcome.SUCCEEDED, now, **given)


def failure(job: Claimed, run: RunRow, *, now: float = NOW, **more: Any) -> Outcome:
    given = {"error": "no such model", **more}
    return _outcome(job, run, Event.FAIL, AttemptOutcome.FAILED, now, **given)


def later_retry(
    job: Claimed, run: RunRow, *, due_at: float, now: float = NOW, **more: Any
) -> Outcome:
    given = {"error": "a hiccup", "due_at": due_at, **more}
    return _outcome(job, run, Event.RETRY_LATER, AttemptOutcome.FAILED, now, **given)


def interruption(job: Claimed, run: RunRow, *, now: float = NOW, **more: Any) -> Outcome:
    given = {"keeps_attempt": False, "charged": False, **more}
    return _outcome(job, run, Event.GIVE_BACK, AttemptOutcome.INTERRUPTED, now, **given)


def _outcome(
    job: Claimed, run: RunRow, event: Event, came_to: AttemptOutcome, now: float, **more: Any
) -> Outcome:
    return Outcome(
        job_id=job.id,
        run_id=run.id,
        fence=job.fence,
        event=event,
        attempt_outcome=came_to,
        ended_at=now,
        service=SERVICE,
        cost_class=job.cost_class,
        **more,
    )


def count_tests(totals: Totals) -> tuple[int, int]:
    """How many tests have passed and failed, over all answers."""
    return sum(one.passed for one in totals.answers), sum(one.failed for one in totals.answers)


def rows(path: Path, query: str, *values: object) -> list[tuple[Any, ...]]:
    """What another program reads from the store's file."""
    with closing(sqlite3.connect(path)) as connection:
        return connection.execute(query, values).fetchall()


def sqlite_of(store: Store) -> SQLiteDatabase:
    """The database of a store that is a file."""
    assert isinstance(store._database, SQLiteDatabase)
    return store._database


def states(path: Path) -> dict[str, int]:
    return dict(rows(path, "SELECT state, count(*) FROM job GROUP BY state"))


def downgrade(store: Path, revision: str) -> None:
    """Make a store one of an older version."""
    config = Config()
    config.set_main_option("script_location", str(migrations_folder()))
    database = create_engine(f"sqlite:///{store}")
    with database.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, revision)
    database.dispose()


async def raw_answer(store: Store, job_id: int) -> bytes | None:
    """The bytes of a job's answer, as they are shown to users; None if it has none."""
    [(_, run_id)] = await store.inspection.find_jobs_by_name(str(job_id))
    [run] = [run for run, _ in await store.reader.runs() if run.id == run_id]
    found = await store.inspection.find_job(run, job_id)
    assert found is not None
    _, history = found
    return history.answer

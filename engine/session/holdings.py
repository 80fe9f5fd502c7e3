"""What a store already has of a sweep, as submitting it would find, but without a change to the store."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice

from engine.core.expanding import BATCH
from engine.core.matrix import JobCount, JobSpec
from engine.core.quota import Cost
from engine.core.status import ReusedAnswers, StoredCells
from engine.session.identity import Identity
from engine.session.planning import add_times
from engine.store import Holding, NewJob, RunRow, Store
from engine.sweep import Sweep


def new_job(sweep: Sweep, spec: JobSpec, provenance: str) -> NewJob:
    """Return a job of a sweep in the form in which the store takes it.

    `provenance` is the digest of what decides its answer, by which answers of other runs are recognised.
    """
    folds = sweep.fold == "always" or (
        sweep.fold == "exact" and sweep.kind.folds_exactly(spec.labels)
    )
    return NewJob(
        key=spec.key,
        family=spec.family,
        folds=folds,
        lane=spec.lane,
        cost_class=spec.cost_class,
        expected_tests=spec.expected_tests,
        labels=spec.labels,
        documents=spec.documents,
        repeat=spec.repeat,
        place=spec.place,
        threshold=spec.cells[-1] if spec.cells else None,
        cells=spec.cells,
        provenance=provenance,
    )


@dataclass(slots=True)
class _Sum:
    answered: int = 0
    failed: int = 0
    cancelled: int = 0
    reused: Counter[str] = field(default_factory=Counter)
    answered_at: dict[str, float] = field(default_factory=dict)
    # The number of jobs whose counts are equal.
    left: Counter[tuple[object, ...]] = field(default_factory=Counter)
    counts: dict[tuple[object, ...], JobCount] = field(default_factory=dict)

    def add(self, one: Holding, source: str | None) -> None:
        self.answered += one.kept.answered
        self.failed += one.kept.failed
        self.cancelled += one.kept.cancelled
        if source is not None:
            self.reused[source] += one.reused
            self.answered_at[source] = max(one.answered_at, self.answered_at.get(source, 0.0))

    def add_left(self, count: JobCount) -> None:
        alike = (*count[:6], tuple(sorted(count.calls.items())), count.questions)
        self.left[alike] += 1
        self.counts[alike] = count

    def count_left(self) -> list[JobCount]:
        return [
            count._replace(
                jobs=number,
                cells=number * count.cells,
                requests=number * count.requests,
                questions=number * count.questions,
            )
            for alike, number in self.left.items()
            for count in (self.counts[alike],)
        ]


async def find_stored_cells(
    store: Store,
    sweep: Sweep,
    of: RunRow,
    identity: Identity,
    costs: Mapping[str, Cost],
    now: float,
) -> StoredCells:
    """Find what the store has of a sweep whose run would be `of`; `costs` are what answers cost so far."""
    found = _Sum()
    reuse = sweep.reuse and await store.reader.has_other_runs(of)
    specs = sweep.jobs(of.identity)
    while batch := list(islice(specs, BATCH)):
        jobs = [new_job(sweep, spec, identity.of(spec.labels)) for spec in batch]
        holdings = await store.reader.survey(of, jobs, reuse=reuse, unanswered=sweep.unanswered)
        for spec, (one, source) in zip(batch, holdings, strict=True):
            found.add(one, source)
            if one.to_ask:
                count = sweep.matrix.count(sweep.kind, spec, one.to_ask, costs=costs)
                found.add_left(count)
    left = sweep.plan_of(found.count_left())
    return StoredCells(
        cells_answered=found.answered,
        cells_failed=found.failed,
        cells_cancelled=found.cancelled,
        reused=tuple(
            ReusedAnswers(run=name, cells=cells, answered_at=found.answered_at[name])
            for name, cells in found.reused.most_common()
        ),
        left=add_times(left, sweep.limits, now),
        has_replies=bool(left.calls) and await store.reader.has_calls(of, of_others=sweep.reuse),
    )

"""Writing the jobs of a run into the queue while the first of them already run."""

import logging
from collections.abc import Iterable
from itertools import islice
from typing import Any

from anyio.lowlevel import checkpoint_if_cancelled

from engine.clock import Clock
from engine.core.errors import JobError
from engine.core.expanding import batch_size, rest_s
from engine.core.layout import Edit, Layout, edit_of
from engine.core.retry import describe_error
from engine.core.runs import EventKind
from engine.scheduler import Scheduler
from engine.session.holdings import new_job
from engine.session.identity import Identity
from engine.store import KeptLayout, NewJob, RunRow, Store
from engine.sweep import Sweep

logger = logging.getLogger(__name__)

_ASK_AGAIN_S = 60.0
"""Seconds until a service that did not answer is asked again how cells fold."""
_LOOK_S = 0.1
"""Seconds between two looks at whether every slot is still taken."""


class Expansion:
    """The expansion of a run's matrix into jobs; `client` is that of its open service."""

    def __init__(
        self, store: Store, clock: Clock, row: RunRow, sweep: Sweep, identity: Identity, client: Any
    ) -> None:
        self._store = store
        self._clock = clock
        self._row = row
        self._sweep = sweep
        self._identity = identity
        self._client = client

    async def write_jobs(self, scheduler: Scheduler) -> None:
        """Write all jobs in batches, and let the scheduler know of each batch, whose jobs it may send at once.

        An edited sweep writes only what the edit concerns, where that can be computed. If another sweep is
        submitted meanwhile, this one's matrix is not marked as complete.
        """
        row, sweep, since = self._row, self._sweep, self._clock.now()
        kept = await self._store.reader.layout(row) if row.generation > 1 else None
        ranked, layout = (await self._prepare_kind()).assign_ranks(
            None if kept is None else kept.layout, is_new=row.generation == 1
        )
        edit = await self._find_edit(ranked, kept, layout)
        if edit is not None:
            await self._store.matrix.begin_edit(row, edit)
            await scheduler.refresh()
        await self._store.matrix.add_documents(sweep.documents())
        reuse = sweep.reuse and await self._store.reader.has_other_runs(row)
        specs = ranked.jobs(row.identity, edit)
        # Only what may be reused is compared by it, and it takes as long as all else of a job.
        identity_of = self._identity.of if reuse else (lambda _: "")
        jobs = (new_job(ranked, spec, identity_of(spec.labels)) for spec in specs)
        written, began = 0, self._clock.now()
        while batch := list(islice(jobs, batch_size(scheduler.lanes.in_flight))):
            written += await self._store.matrix.add_jobs(
                row, batch, reuse=reuse, unanswered=sweep.unanswered
            )
            if row.generation == 1 and not reuse:
                # They are all to be sent, as far as no earlier expansion has written them.
                scheduler.offer(_queues_of(batch))
            else:
                await scheduler.refresh()
            await self._give_way(scheduler, written, self._clock.now() - began)
            began = self._clock.now()
        await self._store.matrix.finish_expansion(row, self._layout_to_keep(layout, since))
        logger.info("%s: its jobs were written in %.1f s", row.name, self._clock.now() - since)
        scheduler.expanding = False
        await scheduler.refresh()

    async def _give_way(self, scheduler: Scheduler, written: int, took_s: float) -> None:
        """Leave the writer to the jobs in flight for a while, if they take every slot and have enough behind them.

        `written` jobs were written so far, the last of them in `took_s` seconds.
        """
        # A write is shielded, and its end does not raise the cancellation.
        await checkpoint_if_cancelled()
        rested_s = 0.0
        while wait_s := rest_s(
            took_s,
            rested_s,
            ahead=written - scheduler.claimed,
            is_full=scheduler.is_full,
        ):
            await self._clock.sleep(min(wait_s, _LOOK_S))
            rested_s += _LOOK_S

    async def _prepare_kind(self) -> Sweep:
        """Return the sweep with a kind that knows how its cells fold.

        While the service cannot be asked, wait and ask again: jobs that were made without its answer might
        send more than needed.
        """
        sweep = self._sweep
        while sweep.fold == "exact":
            try:
                return sweep.with_fields(kind=await sweep.kind.prepare(self._client))
            except JobError as error:
                message = (
                    f"asked again in {_ASK_AGAIN_S:g} s how cells fold: {describe_error(error)}"
                )
                await self._store.runs.add_event(self._row.id, EventKind.SERVICE, message)
            await self._clock.sleep(_ASK_AGAIN_S)
        return sweep

    async def _find_edit(
        self, sweep: Sweep, kept: KeptLayout | None, layout: Layout | None
    ) -> Edit | None:
        """Return what the sweep changes of the last one that was written out in full; None to compare all jobs.

        All are compared after an edit that was interrupted, after a change that asks everything again, and
        when other runs may have answers that were not reused yet.
        """
        row = self._row
        if kept is None or layout is None or kept.generation != row.generation - 1:
            return None
        if (row.fresh_generation or 0) > kept.generation:
            return None
        if sweep.reuse:
            since = kept.since if kept.unanswered == sweep.unanswered else None
            if await self._store.reader.has_other_runs(row, since=since):
                return None
        return edit_of(sweep.matrix, kept.layout, layout)

    def _layout_to_keep(self, layout: Layout | None, since: float) -> KeptLayout | None:
        """Return what the next edit is compared with; None if the matrix has no layout."""
        if layout is None:
            return None
        return KeptLayout(
            generation=self._row.generation,
            since=since,
            unanswered=self._sweep.unanswered,
            layout=layout,
        )


def _queues_of(jobs: Iterable[NewJob]) -> dict[str, tuple[str, ...]]:
    """The cost classes of jobs by lane."""
    found: dict[str, set[str]] = {}
    for one in jobs:
        found.setdefault(one.lane, set()).add(one.cost_class)
    return {lane: tuple(sorted(classes)) for lane, classes in found.items()}

"""What was observed before a sweep was edited: answers to cells that it no longer asks for."""

from collections.abc import AsyncIterable, AsyncIterator, Hashable, Sequence
from dataclasses import replace

from engine.core.matrix import MatrixAxis
from engine.core.rows import short_digest
from engine.core.samples import Setting
from engine.results.cells import Cell
from engine.results.observations import Observations, observe


async def observe_earlier(
    cells: AsyncIterable[Cell], axes: Sequence[MatrixAxis], folded_field: str | None
) -> Observations:
    """Gather what was observed of the cells that only earlier versions of a sweep asked for.

    Cells that were never answered are left out. Of several versions of a cell, which have the same labels but
    other contents, the one that was answered last counts.
    """
    fields = [axis.field for axis in axes if axis.field != folded_field]
    answered_at: dict[tuple[Hashable, ...], float] = {}

    async def find_answered() -> AsyncIterator[Cell]:
        async for cell in cells:
            if cell.is_asked is not False or cell.tests is None:
                continue
            digests = (cell.job.documents.get(name) for name in fields)
            key = (
                tuple(cell.labels.get(name) for name in fields),
                tuple(one and short_digest(one) for one in digests),
                cell.threshold,
            )
            answered_at[key] = max(answered_at.get(key, 0.0), cell.job.answered_at or 0.0)
            yield replace(cell, is_asked=True, is_outdated=False)

    seen = await observe(find_answered(), axes, folded_field)
    latest: dict[tuple[Hashable, ...], Setting] = {}
    for setting in sorted(
        seen.settings,
        key=lambda one: answered_at[one.labels, one.digests, one.threshold],
    ):
        latest[setting.labels, setting.threshold] = setting
    kept = {id(one) for one in latest.values()}
    return replace(seen, settings=[one for one in seen.settings if id(one) in kept])

"""The cases of cells: how many tests of each failed in an answer."""

from collections.abc import AsyncIterable, AsyncIterator, Iterator
from functools import partial

from engine.core.cases import CaseRow
from engine.core.cell_tests import CellTests
from engine.core.rows import short_digest
from engine.results.cells import Cell, RowRules, cells
from engine.store import JobRow


async def cases(
    jobs: AsyncIterable[JobRow],
    rules: RowRules,
    *,
    case_field: str | None = None,
    past: bool = False,
) -> AsyncIterator[CaseRow]:
    """Yield the cases of each cell that has an answer with tests, in the order of `cells`, then of the answer.

    Outdated answers are left out. `case_field` is the field of the axis whose values are cases, for answers
    that list none. Otherwise the tests of an answer that does not name their cases are one row.
    """
    async for cell in cells(jobs, rules, past=past):
        if cell.tests is not None and cell.tests.total and not cell.is_outdated:
            for case in _cases_of(cell, cell.tests, case_field):
                yield case


def _cases_of(cell: Cell, tests: CellTests, case_field: str | None) -> Iterator[CaseRow]:
    job = cell.job
    make = partial(
        CaseRow,
        labels=cell.labels,
        digests={axis: short_digest(content) for axis, content in job.documents.items()},
        job=job.id,
        identity=job.provenance,
    )
    by_case = tests.by_case()
    if by_case is None:
        label = None if case_field is None else cell.labels.get(case_field)
        yield make(
            case=None if label is None else str(label),
            tests=tests.total,
            failed=tests.failed,
            first_failed=tests.numbers().first_failed,
            lowest_score=job.scores[0] if job.scores else None,
        )
        return
    for name, counts in by_case.items():
        yield make(
            case=name,
            tests=counts.tests,
            failed=counts.failed,
            first_failed=counts.first_failed,
            lowest_score=counts.lowest,
        )

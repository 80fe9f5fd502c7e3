"""A run in a store, read and steered by calls that block."""

from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Awaitable,
    Callable,
    Iterator,
    Mapping,
    Sequence,
)
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from engine.blocking.execution import execute_run, execute_sweep
from engine.blocking.loop import call, entering, has_ended
from engine.core.axes import Scalar
from engine.core.cases import CaseRow
from engine.core.cell_counts import CellCount
from engine.core.comparisons import Comparison, FlippedCase
from engine.core.findings import Finding
from engine.core.gates import GateRules, GateVerdict
from engine.core.inspection import EventFilter, JobDetails, JobFilter, JobInfo
from engine.core.outcomes import Outcome
from engine.core.rows import Row
from engine.core.runs import Event
from engine.core.status import Status
from engine.core.values import ValueType
from engine.locations import parse_store
from engine.registry import Registry
from engine.report.words import cells_line
from engine.results.analysis import Analysis
from engine.session import Run, open_engine
from engine.session.readings import Of
from engine.sweep import Sweep

if TYPE_CHECKING:
    import pandas
    import polars
    import pyarrow  # type: ignore[import-untyped]

T = TypeVar("T")

_BATCH = 500
"""The rows that are read at a time."""


class BlockingRun:
    """A run in a store, with the calls of `Run`, which block; `Sweep.run` and `open_run` return it.

    They also work where an event loop is running, as in a notebook: each opens the store in a thread of its
    own, and closes it. `name` is the run's, `store` the path of its file, or its address on a server.

    Example:
        >>> [row.values["value"] for row in run.rows()]
        [0.5, 1.0, 1.5]
        >>> float(run.to_pandas()["value"].sum())
        3.0
    """

    def __init__(
        self, name: str, store: str | Path, registry: Registry | None, status: Status
    ) -> None:
        self.name = name
        self.store = str(parse_store(store))
        self._given = store
        self._registry = registry
        self._status = status

    def __repr__(self) -> str:
        return (
            f"<run {self.name} in {self.store}: {self._status.state}, {cells_line(self._status)}>"
        )

    def _repr_html_(self) -> str:
        return self._status._repr_html_()

    def status(self) -> Status:
        """Count the run's jobs, cells and tests, as they are now.

        Example:
            >>> run.status().cells_done
            3
        """
        self._status = self._read(lambda run: run.status())
        return self._status

    def rows(
        self, *, past: bool = False, where: Mapping[str, Scalar] | None = None
    ) -> Iterator[Row]:
        """Yield one row for each cell; see `Run.rows`.

        Example:
            >>> [(row.labels["number"], row.values["value"]) for row in run.rows()]
            [(1, 0.5), (2, 1.0), (3, 1.5)]
        """
        return self._iterate(lambda run: run.rows(past=past, where=where))

    def analysis(self, *, where: Mapping[str, Scalar] | None = None) -> Analysis:
        """What the run found, as `Run.analysis` returns it."""
        return self._read(lambda run: run.analysis(where=where))

    def cell_counts(self, *, by: Sequence[str] = ()) -> list[CellCount]:
        """The cells with the same values on some axes, counted with their answers and tests; see `Run.cell_counts`.

        Example:
            >>> [(one.labels["number"], one.answered) for one in run.cell_counts(by=["number"])]
            [(1, 1), (2, 1), (3, 1)]
        """
        return self._read(lambda run: run.cell_counts(by=by))

    def outcomes(self, *, after: int = 0, follow: bool = False) -> Iterator[Outcome]:
        """Yield each job that was answered or has failed, in that order, behind a cursor; see `Run.outcomes`.

        With `follow`, the iterator waits for those that are still to come, until the run ends.

        Example:
            >>> [outcome.cursor for outcome in run.outcomes(after=1, follow=True)]
            [2, 3]
        """
        return self._iterate(
            lambda run: run.outcomes(after=after, follow=follow), at_once=1 if follow else _BATCH
        )

    def findings(
        self, *, past: bool = False, where: Mapping[str, Scalar] | None = None
    ) -> Iterator[Finding]:
        """Yield each failed test; see `Run.findings`."""
        return self._iterate(lambda run: run.findings(past=past, where=where))

    def cases(
        self, *, past: bool = False, where: Mapping[str, Scalar] | None = None
    ) -> Iterator[CaseRow]:
        """Yield a row for each case of each cell; see `Run.cases`.

        Example:
            >>> list(run.cases(where={"number": "3"}))
            []
        """
        return self._iterate(lambda run: run.cases(past=past, where=where))

    def to_pandas(
        self, *, of: Of = "rows", past: bool = False, where: Mapping[str, Scalar] | None = None
    ) -> "pandas.DataFrame":
        """The rows as a pandas frame: axes, state, attempts, error, seconds, and what was returned; see `Run.to_pandas`.

        Or the findings or cases.

        Example:
            >>> float(run.to_pandas()["value"].max())
            1.5
        """
        return self._read(lambda run: run.to_pandas(of=of, past=past, where=where))

    def to_polars(
        self, *, of: Of = "rows", past: bool = False, where: Mapping[str, Scalar] | None = None
    ) -> "polars.DataFrame":
        """The rows, findings or cases as a polars frame; see `Run.to_polars`."""
        return self._read(lambda run: run.to_polars(of=of, past=past, where=where))

    def to_arrow(
        self, *, of: Of = "rows", past: bool = False, where: Mapping[str, Scalar] | None = None
    ) -> "pyarrow.Table":
        """The rows, findings or cases as a table of Arrow; see `Run.to_arrow`."""
        return self._read(lambda run: run.to_arrow(of=of, past=past, where=where))

    def to_parquet(
        self,
        path: str | Path,
        *,
        of: Of = "rows",
        past: bool = False,
        where: Mapping[str, Scalar] | None = None,
    ) -> None:
        """Write the rows, findings or cases to a Parquet file, without holding them in memory; see `Run.to_parquet`."""
        self._read(lambda run: run.to_parquet(path, of=of, past=past, where=where))

    def to_report(
        self,
        *paths: str | Path,
        form: str | None = None,
        pictures: Sequence[str | Path] = (),
        store: str = "",
    ) -> None:
        """Write the report on the run to files, as a page, Markdown and pictures; see `Run.to_report`."""
        self._read(lambda run: run.to_report(*paths, form=form, pictures=pictures, store=store))

    def to_inspect(
        self,
        directory: str | Path,
        *,
        past: bool = False,
        where: Mapping[str, Scalar] | None = None,
    ) -> list[Path]:
        """Write the answers as logs of Inspect AI into a directory; see `Run.to_inspect`.

        Example:
            >>> len(run.to_inspect("logs"))
            1
        """
        return self._read(lambda run: run.to_inspect(directory, past=past, where=where))

    def gate(
        self, rules: GateRules, *, against: str | None = None, across_judges: bool = False
    ) -> GateVerdict:
        """Decide whether the failure rates are within limits; `against` names a run of the store. See `Run.gate`.

        Example:
            >>> run.gate(GateRules(fail_above=0.2)).reason
            'nothing was measured'
        """

        async def decide(run: Run, other: Run | None) -> GateVerdict:
            return await run.gate(rules, against=other, across_judges=across_judges)

        return self._with_other(against, decide)

    def compare(
        self,
        before: str | None = None,
        *,
        thresholds: Sequence[float] = (),
        across_judges: bool = False,
    ) -> Comparison:
        """What changed since an earlier run of the store, or since the sweep was edited; see `Run.compare`.

        Example:
            >>> run.compare().cells_compared
            0
        """

        async def compare(run: Run, other: Run | None) -> Comparison:
            return await run.compare(other, thresholds=thresholds, across_judges=across_judges)

        return self._with_other(before, compare)

    def flipped_cases(
        self, comparison: Comparison, before: str | None = None, *, limit: int = 20
    ) -> list[FlippedCase]:
        """The first flipped cases of a comparison, with what was said in both runs; see `Run.flipped_cases`.

        Example:
            >>> run.flipped_cases(run.compare())
            []
        """

        async def find(run: Run, other: Run | None) -> list[FlippedCase]:
            return await run.flipped_cases(comparison, other, limit=limit)

        return self._with_other(before, find)

    def _with_other(self, name: str | None, ask: Callable[[Run, Run | None], Awaitable[T]]) -> T:
        """Ask about this run and another one of the store, if one is named."""

        async def work() -> T:
            async with open_engine(self._given, registry=self._registry, read_only=True) as engine:
                other = None if name is None else await engine.run(name)
                return await ask(await engine.run(self.name), other)

        return call(work)

    def value_columns(self) -> Mapping[str, ValueType]:
        """The names and types of all `Row.values`; see `Run.value_columns`."""
        return self._read(lambda run: run.value_columns())

    def events(self, *, limit: int = 100) -> list[Event]:
        """The latest events, the oldest of them first; see `Run.events`."""
        return self._read(lambda run: run.events(limit=limit))

    def all_events(
        self, wanted: EventFilter | None = None, *, after: int = 0, follow: bool = False
    ) -> Iterator[Event]:
        """Yield all events, or those after an `id`, the oldest first; see `Run.all_events`.

        Example:
            >>> list(run.all_events(EventFilter(kinds=["outage"])))
            []
        """
        return self._iterate(
            lambda run: run.all_events(wanted, after=after, follow=follow),
            at_once=1 if follow else _BATCH,
        )

    def jobs(self, wanted: JobFilter | None = None) -> Iterator[JobInfo]:
        """Yield the jobs that a filter selects; see `Run.jobs`."""
        return self._iterate(lambda run: run.jobs(wanted))

    def job(self, name: int | str) -> JobDetails:
        """Everything that is known of one job; see `Run.job`."""
        return self._read(lambda run: run.job(name))

    def retry(
        self, *, failed: bool = True, cancelled: bool = False, unanswered: bool = False
    ) -> int:
        """Put jobs back into the queue and return their number; see `Run.retry`. `resume` sends them.

        Example:
            >>> run.retry()
            0
            >>> run.resume(progress=False).cells_done
            3
        """
        return self._call(
            lambda run: run.retry(failed=failed, cancelled=cancelled, unanswered=unanswered),
            read_only=False,
        )

    def resume(self, *, progress: bool = True, on: str | None = None) -> Status:
        """Work on what has no answer yet, as `Sweep.run` does, and return the status at the end."""
        self._status = execute_run(self.name, self._given, self._registry, progress=progress, on=on)
        return self._status

    def _read(self, ask: Callable[[Run], Awaitable[T]]) -> T:
        return self._call(ask, read_only=True)

    def _call(self, ask: Callable[[Run], Awaitable[T]], *, read_only: bool) -> T:
        async def work() -> T:
            async with open_engine(
                self._given, registry=self._registry, read_only=read_only
            ) as engine:
                return await ask(await engine.run(self.name))

        return call(work)

    def _iterate(
        self, begin: Callable[[Run], AsyncIterator[T]], *, at_once: int = _BATCH
    ) -> Iterator[T]:
        """Yield what an asynchronous iterator of the run yields, reading so many at a time."""
        opening = entering(open_engine(self._given, registry=self._registry, read_only=True))
        engine = opening.__enter__()
        found: AsyncIterator[T] | None = None
        try:
            found = begin(call(partial(engine.run, self.name)))
            while batch := call(partial(_take, found, at_once)):
                yield from batch
        finally:
            # Also where the caller has had enough, which is no error of the store.
            if not has_ended():
                if isinstance(found, AsyncGenerator):
                    call(found.aclose)
                opening.__exit__(None, None, None)


async def _take(found: AsyncIterator[T], count: int) -> list[T]:
    batch: list[T] = []
    async for one in found:
        batch.append(one)
        if len(batch) == count:
            break
    return batch


def run_sweep(
    sweep: Sweep,
    store: str | Path,
    *,
    accept: bool,
    fresh: bool,
    progress: bool,
    on: str | None = None,
) -> BlockingRun:
    """Run a sweep to its end, or until it stops; see `Sweep.run`."""
    status = execute_sweep(sweep, store, accept=accept, fresh=fresh, progress=progress, on=on)
    return BlockingRun(sweep.name, store, sweep.registry, status)


def open_run(
    name: str | None = None,
    store: str | Path = "nightsweep.db",
    *,
    registry: Registry | None = None,
) -> BlockingRun:
    """Find a run in a store by its name; without one, the run that was used last. Nothing is executed.

    Raises UsageError if there is no such run, and StoreError if the store cannot be read.

    Example:
        >>> open_run("halves", "halves.db").status().cells
        3
    """

    async def look_up() -> tuple[str, Status]:
        async with open_engine(store, registry=registry, read_only=True) as engine:
            found = await engine.run(name)
            return found.name, await found.status()

    found, status = call(look_up)
    return BlockingRun(found, store, registry, status)

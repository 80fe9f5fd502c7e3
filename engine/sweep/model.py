"""A sweep: what the user wants evaluated, and all that follows from it."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from engine.core.axes import AxisValue, GroupAxis
from engine.core.canonical import digest
from engine.core.errors import Problem, SweepError, UsageError
from engine.core.layout import Edit, Layout, assign_ranks, layout_of
from engine.core.loads import Load, loads_of
from engine.core.matrix import JobCount, JobSpec
from engine.core.money import UsageTotal, estimates
from engine.core.plan import make_plan
from engine.core.quota import Cost
from engine.core.status import Plan
from engine.documents.malformed import Malformed
from engine.functions import KIND, FunctionService, as_job
from engine.functions.cases import Cases
from engine.functions.source import load as load_object
from engine.functions.source import python_reference, stop_if_loading
from engine.kinds import HealthGate
from engine.registry import Registry
from engine.sweep.arguments import write_function_sweep
from engine.sweep.dump import dump_sweep, restore_sweep
from engine.sweep.fields import SweepFields
from engine.sweep.judging import judge_again
from engine.sweep.parsing import load_sweep, parse_sweep
from engine.sweep.rules import Resolved, resolve, warnings_of
from engine.sweep.scalars import label

if TYPE_CHECKING:
    from engine.blocking import BlockingRun

GROUPS_UNKNOWN = "groups: all, counted as one group; the service knows how many there are"


class Sweep(SweepFields):
    """A valid sweep, over a service or a function. Sweeps with equal `digest` have the same jobs in the same order.

    Called, it makes a sweep over a function; `load` and `parse` make those of sweep files.

    `groups_pending` is True while the groups of `groups: all` are unknown: `with_groups` sets them.
    `warnings` point out parts that are valid but may not be intended.

    Example:
        >>> Sweep("halves", half, matrix={"number": range(4), "kind": ["a", "b"]}).plan().cells
        8
    """

    __slots__ = ()

    def __init__(
        self,
        name: str,
        function: Callable[..., Any],
        *,
        matrix: Mapping[str, Any] | None = None,
        cases: Cases | None = None,
        include: Iterable[Mapping[str, Any]] = (),
        exclude: Iterable[Mapping[str, Any]] = (),
        repeats: int = 1,
        limits: Mapping[str, Any] | None = None,
        retry: Mapping[str, Any] | None = None,
        reuse: bool = True,
        processes: int | None = None,
    ) -> None:
        """Make a sweep that calls a function once for each cell.

        - `function` is decorated with `job`, or a function, which gets the decorator's defaults.
        - `matrix` has a list of values for each parameter; every combination is a cell.
        - `cases` are arguments that go together, crossed with the matrix: a list of mappings, a data frame, or
          the path of a CSV, JSONL, JSON, YAML or Parquet file. A column `id` or `name` that is no parameter
          labels them.
        - `include`, `exclude`, `repeats`, `limits`, `retry` and `reuse` are those of a sweep file; what the
          decorator says of limits is used where `limits` says nothing.
        - `processes` replaces that of the decorator.

        Raises SweepError with every mistake, such as a value that does not fit its parameter's type hint.
        """
        job = as_job(function)
        written = write_function_sweep(
            name,
            job,
            matrix=matrix,
            cases=cases,
            include=include,
            exclude=exclude,
            repeats=repeats,
            limits=limits,
            retry=retry,
            reuse=reuse,
            processes=processes,
        )
        registry = Registry(services={KIND: FunctionService(job)})
        source = f"Sweep({name!r})"
        parsed = parse_sweep(type(self), written, registry, folder=Path(), source=source)
        known = {field.name: getattr(parsed, field.name) for field in fields(SweepFields)}
        super().__init__(**known)

    def run(
        self,
        store: str | Path = "nightsweep.db",
        *,
        accept: bool = False,
        fresh: bool = False,
        progress: bool = True,
        on: str | None = None,
    ) -> "BlockingRun":
        """Run the sweep to its end in a store, and return the run; what the store already has is not asked again.

        Blocks, also within a running event loop, and shows its `progress`. Ctrl-C, or an interrupted cell of a
        notebook, gives back what is in flight and raises Interrupted, which says how to go on. The run's status
        says why cells are left, if any are. `accept` and `fresh` are those of `Engine.submit`. `on` runs it in
        processes of this machine (`local:4`, in a script under `if __name__ == "__main__":`) or on the workers of a
        Dask scheduler (`tcp://scheduler:8786`).

        Raises UsageError, StoreError and IdentityChanged as `Engine.submit` and `Run.execute` do.

        Example:
            >>> again = sweep.run("halves.db", progress=False)  # asks only what has no answer
            >>> again.status().cells_done
            3
        """
        # Before the import: a process that only loads the function needs no store, which takes seconds to import.
        stop_if_loading()
        from engine.blocking import run_sweep

        return run_sweep(self, store, accept=accept, fresh=fresh, progress=progress, on=on)

    def _repr_html_(self) -> str:
        """What a notebook shows: the plan."""
        return self.plan()._repr_html_()

    def __repr__(self) -> str:
        return f"<sweep {self.name}: {self.matrix.size:,} cells of {self.evaluation}>"

    @classmethod
    def load(cls, path: str | Path, registry: Registry | None = None) -> Self:
        """Load a sweep from a YAML, TOML or JSON file; paths in it start at the file's folder.

        `FILE.py:NAME` names a Sweep in a Python file, which is executed up to where it would run one. Without a `registry`, all installed services are known. Raises SweepError with every mistake
        and its line and column.
        """
        if (reference := python_reference(str(path))) is not None:
            if not Path(reference.home).exists():
                raise UsageError(f"{path}: there is no such file")
            found: Self = load_object(reference, "the sweep", cls)
            return found
        return load_sweep(cls, Path(path), registry or Registry.installed())

    @classmethod
    def parse(
        cls,
        mapping: Mapping[str, Any],
        *,
        registry: Registry | None = None,
        folder: str | Path = "",
        source: str = "sweep",
    ) -> Self:
        """Make a sweep from a mapping with the keys and values of a sweep file.

        Paths in it start at `folder`. Raises SweepError with every mistake; `source` is its name in
        the messages.

        Example:
            >>> mapping = {
            ...     "name": "bare",
            ...     "service": {"kind": "local"},
            ...     "evaluation": "single_turn",
            ...     "matrix": {
            ...         "models": ["smollm2-135m"],
            ...         "prompts": [{"name": "bare", "text": "Be kind."}],
            ...         "groups": ["mania"],
            ...         "thresholds": [0.3, 0.5],
            ...     },
            ... }
            >>> Sweep.parse(mapping).plan().cells
            2
        """
        return parse_sweep(
            cls, mapping, registry or Registry.installed(), folder=Path(folder), source=source
        )

    @classmethod
    def restore(cls, dump: Mapping[str, Any], registry: Registry | None = None) -> Self:
        """Restore a sweep from what `dump` returned, without reading files.

        Raises SweepError or UsageError if its service is not installed or no longer supports it.
        """
        return restore_sweep(cls, dump, registry or Registry.installed())

    def dump(self) -> dict[str, Any]:
        """Convert the sweep to a JSON value, from which `restore` makes it without any file.

        Prompts and documents are inline, and keys stay references.
        """
        return dump_sweep(self)

    def judging_again(
        self,
        name: str,
        judging: Mapping[str, Any],
        *,
        thresholds: Sequence[float] | None = None,
        asks_missing: bool = False,
    ) -> Self:
        """The sweep of a run that judges kept replies of this sweep's run again.

        `judging` replaces settings of the service, and `thresholds` those of the matrix. The sweep's
        limits apply only if it `asks_missing`, that is, if missing replies are asked for. Raises
        SweepError or UsageError.
        """
        return judge_again(self, name, judging, thresholds=thresholds, asks_missing=asks_missing)

    @property
    def evaluation(self) -> str:
        """The evaluation, such as single_turn."""
        return self.kind.name

    @property
    def target(self) -> str:
        """What is evaluated, such as system_prompt."""
        return self.kind.target

    @property
    def service_kind(self) -> str:
        """The name of the service in the registry, such as circuit-breaker-labs."""
        return str(self.service.settings.kind)

    @property
    def health_gate(self) -> HealthGate | None:
        """The health gate, if the sweep has one."""
        return None if self.health is None else self.health.gate

    def notices(self) -> tuple[str, ...]:
        """What users should know before requests are sent, such as that they go through a proxy.

        Each text is one line, from the service or the health gate. Nothing is sent.
        """
        gate = self.health_gate
        found = [*self.service.notices(), *(() if gate is None else gate.notices())]
        return tuple(dict.fromkeys(found))

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """The service kind, evaluation, target and service identity that all jobs share."""
        return self.service_kind, self.evaluation, self.target, self.service.identity

    @property
    def digest(self) -> str:
        """SHA-256, in hexadecimal, of everything that decides the jobs and their order, without limits."""
        return digest(
            [
                self.identity,
                self.matrix.fingerprint(),
                self.fold,
                self.reuse,
                self.groups_pending,
            ]
        )

    def with_groups(self, names: Iterable[str]) -> Self:
        """Replace `groups: all` by these groups; a sweep that names its groups is returned unchanged.

        Raises SweepError if a rule names another group, and UsageError if there are no groups or a
        name cannot be used.
        """
        if not self.groups_pending:
            return self
        pinned = tuple(dict.fromkeys(names))
        for name in pinned:
            try:
                label(name)
            except Malformed as error:
                raise UsageError(f"a group that {self.service_kind} offers {error}") from None
        if not pinned:
            raise UsageError(
                f"{self.service_kind} offers no test-case groups: name them in the sweep"
            )
        found = self._with_groups(pinned)
        problems = found.problems
        if not problems and found.matrix.is_empty():
            problems = [Problem("exclude", "leaves no cell")]
        if problems:
            raise SweepError(self.name, problems)
        return self.with_fields(
            matrix=found.matrix,
            groups_pending=False,
            warnings=warnings_of(self.kind, found, self.limits),
        )

    def groups(self) -> tuple[str, ...]:
        """The test-case groups that the sweep names, in its order; none while they are pending."""
        return tuple(
            str(value.label)
            for axis in self.matrix.axes
            if isinstance(axis.axis, GroupAxis)
            for value in axis.values
        )

    def documents(self) -> Mapping[str, Any]:
        """The contents of prompts and documents by their digest, under which jobs refer to them."""
        return self.matrix.documents()

    def jobs(self, identity: str | None = None, edit: Edit | None = None) -> Iterator[JobSpec]:
        """Yield the jobs in the order of the file, repeat by repeat, without keeping them in memory.

        Their keys depend on the service's identity, or on `identity`, with which a run began. With an
        `edit`, only jobs that it adds or changes are yielded, in any order. Raises UsageError while
        groups are pending.
        """
        if self.groups_pending:
            raise UsageError(
                "`groups: all` is still pending: ask the service for its groups, then call with_groups()"
            )
        *kind, current = self.identity
        salt = (*kind, current if identity is None else identity)
        changed, repeats = (None, 0) if edit is None else (edit.changed, edit.repeats)
        return self.matrix.jobs(
            self.kind, fold=self.fold, identity=salt, changed=changed, repeats=repeats
        )

    def assign_ranks(self, before: Layout | None, *, is_new: bool) -> tuple[Self, Layout | None]:
        """The sweep with its jobs in their places of `before`, and the layout to store.

        `is_new` says that it has no jobs yet. See `engine.core.layout`.
        """
        matrix = assign_ranks(self.matrix, before, is_new=is_new)
        folds = {self.kind.folds_exactly(labels) for labels in matrix.samples()}
        rules = [self.fold, self.reuse, sorted(folds)]
        return self.with_fields(matrix=matrix), layout_of(matrix, rules)

    def plan(
        self, costs: Mapping[str, Cost] | None = None, earlier: Iterable[UsageTotal] = ()
    ) -> Plan:
        """Compute what the sweep would send, without reading files or using the network.

        `costs` are the costs of earlier answers by cost class, `earlier` the tokens of earlier calls;
        `Engine.plan` passes both.

        Example:
            >>> sweep.plan().requests
            3
        """
        matrix, unknown = self.matrix, []
        if self.groups_pending:
            matrix = self._with_groups(("all",), checked=False).matrix
            unknown.append(GROUPS_UNKNOWN)
        counts = matrix.counts(self.kind, fold=self.fold, costs=costs)
        found = self.plan_of(counts, unknown=unknown)
        sizes = matrix.call_sizes(self.kind, fold=self.fold)
        return replace(found, money=estimates(sizes, earlier))

    def plan_of(self, counts: Iterable[JobCount], *, unknown: Sequence[str] = ()) -> Plan:
        """Compute what some of the sweep's jobs would send, at its limits, and how long that takes at least.

        `unknown` are notes on what the plan leaves out. Reads no store and asks no service.
        """
        return make_plan(
            self.name,
            counts,
            self.limits,
            sends=self.kind.sends,
            call_limits=self.kind.call_limits(),
            unknown=unknown,
        )

    def loads(self) -> Mapping[str, Load]:
        """How many requests the jobs of each lane send, without retries, by lane.

        The time left of a run is computed from them.
        """
        return loads_of(self.matrix.counts(self.kind, fold=self.fold), self.kind.sends)

    def _with_groups(self, names: tuple[str, ...], *, checked: bool = True) -> Resolved:
        groups = tuple(AxisValue(label=name, content=name) for name in names)
        pending = {
            axis.axis.name
            for axis in self.matrix.axes
            if isinstance(axis.axis, GroupAxis) and not axis.own
        }
        return resolve(
            [axis.axis for axis in self.matrix.axes],
            {
                axis.axis.name: groups if axis.axis.name in pending else axis.values[: axis.own]
                for axis in self.matrix.axes
            },
            self.rules,
            repeats=self.matrix.repeats,
            folded_field=self.kind.folded_field,
            unresolved=frozenset() if checked else frozenset(pending),
        )

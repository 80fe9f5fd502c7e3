"""A sweep: what the user wants evaluated, and all that follows from it."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

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
from engine.kinds import HealthGate
from engine.registry import Registry
from engine.sweep.dump import dump_sweep, restore_sweep
from engine.sweep.fields import SweepFields
from engine.sweep.judging import judged_again
from engine.sweep.parsing import load_sweep, parse_sweep
from engine.sweep.rules import Resolved, resolve, warnings_of
from engine.sweep.scalars import label

GROUPS_UNKNOWN = "groups: all, counted as one group; the service knows how many there are"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Sweep(SweepFields):
    """A valid sweep. Sweeps of equal `digest` ask for the same jobs in the same order.

    `groups_pending` is True while `groups: all` stands for nobody knows what: `with_groups` settles
    it. `warnings` are no mistakes, but may not be what was meant.
    """

    @classmethod
    def load(cls, path: str | Path, registry: Registry | None = None) -> Self:
        """The sweep of a YAML, TOML or JSON file; the files that it names are in its folder.

        Raises SweepError with every mistake.
        """
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
        """The sweep of a mapping as a file would hold it; `source` stands before each mistake.

        Raises SweepError with every mistake.
        """
        return parse_sweep(
            cls, mapping, registry or Registry.installed(), folder=Path(folder), source=source
        )

    @classmethod
    def restore(cls, dump: Mapping[str, Any], registry: Registry | None = None) -> Self:
        """The sweep that was dumped; needs no files.

        Raises SweepError or UsageError if the service is not installed or does not know it any more.
        """
        return restore_sweep(cls, dump, registry or Registry.installed())

    def dump(self) -> dict[str, Any]:
        """The whole sweep as a JSON value: prompts and documents inline, secrets as references."""
        return dump_sweep(self)

    def judging_again(
        self,
        name: str,
        judging: Mapping[str, Any],
        *,
        thresholds: Sequence[float] | None = None,
        asks_missing: bool = False,
    ) -> Self:
        """The sweep of a run that judges the replies again that a run of this one has kept.

        `judging` are settings of its service, `thresholds` stand in place of its own. Limits on what is
        asked of the service hold only if it `asks_missing` replies. Raises SweepError or UsageError.
        """
        return judged_again(self, name, judging, thresholds=thresholds, asks_missing=asks_missing)

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
        """The service by its name in the registry, such as circuit-breaker-labs."""
        return str(self.service.settings.kind)

    @property
    def health_gate(self) -> HealthGate | None:
        """The health gate, if the sweep has one."""
        return None if self.health is None else self.health.gate

    def notices(self) -> tuple[str, ...]:
        """What to know before requests leave, such as that they go through a proxy; sends nothing."""
        gate = self.health_gate
        found = [*self.service.notices(), *(() if gate is None else gate.notices())]
        return tuple(dict.fromkeys(found))

    @property
    def identity(self) -> tuple[str, str, str, str]:
        """What all jobs have in common: service kind, evaluation, target and service identity."""
        return self.service_kind, self.evaluation, self.target, self.service.identity

    @property
    def digest(self) -> str:
        """SHA-256 (hexadecimal) of all that decides the jobs and their order: no limits, no formatting."""
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
        """The sweep with `groups: all` pinned to these; itself if it names its groups.

        Raises SweepError where a rule names a group that is not among them.
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
        return replace(
            self,
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
        """The contents of prompts and documents by digest, as the jobs refer to them."""
        return self.matrix.documents()

    def jobs(self, identity: str | None = None, edit: Edit | None = None) -> Iterator[JobSpec]:
        """The jobs one by one, in the order of the file, repeat by repeat; a million cost no memory.

        Their keys begin with the service's identity, or with that under which a run began. With an `edit`,
        only those that it adds or changes, in whichever order. Raises UsageError while groups are pending.
        """
        if self.groups_pending:
            raise UsageError(
                "`groups: all` is not settled yet: ask the service, then with_groups()"
            )
        *kind, current = self.identity
        salt = (*kind, current if identity is None else identity)
        changed, repeats = (None, 0) if edit is None else (edit.changed, edit.repeats)
        return self.matrix.jobs(
            self.kind, fold=self.fold, identity=salt, changed=changed, repeats=repeats
        )

    def assign_ranks(self, before: Layout | None, *, is_new: bool) -> tuple[Self, Layout | None]:
        """The sweep whose jobs stand where they stood `before`, and what to keep of it; see `layout`.

        `is_new`: it has no jobs yet.
        """
        matrix = assign_ranks(self.matrix, before, is_new=is_new)
        folds = {self.kind.folds_exactly(labels) for labels in matrix.samples()}
        rules = [self.fold, self.reuse, sorted(folds)]
        return replace(self, matrix=matrix), layout_of(matrix, rules)

    def plan(
        self, costs: Mapping[str, Cost] | None = None, earlier: Iterable[UsageTotal] = ()
    ) -> Plan:
        """What the sweep would ask for; touches neither files nor network.

        `costs` are the tests that earlier answers of each cost class cost, `earlier` what calls took:
        `Engine.plan` knows them.
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
        """What some of the jobs of the sweep would ask for, at its limits."""
        return make_plan(
            self.name,
            counts,
            self.limits,
            sends=self.kind.sends,
            call_limits=self.kind.call_limits(),
            unknown=unknown,
        )

    def loads(self) -> Mapping[str, Load]:
        """What the jobs of each lane send in all, further tries aside."""
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

"""Parsing a sweep from a file or mapping; all mistakes are collected before any is reported."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from engine.core.errors import NightsweepError, Problem, SweepError
from engine.core.nearest import nearest, suggestion
from engine.documents.places import child_path
from engine.documents.plain import TooLarge, to_plain
from engine.documents.reading import load_document
from engine.documents.validation import describe_given, not_a_mapping, unknown_key, validate
from engine.kinds import JobKind, Service, ServiceSettings
from engine.registry import Registry, kinds_of
from engine.sweep.axes import REPEATS, Axes, read_axes
from engine.sweep.fields import HealthConfig, SweepFields
from engine.sweep.files import SweepFolder
from engine.sweep.rules import read_rules, resolve, warnings_of
from engine.sweep.schema import SweepFile
from engine.sweep.values import ValueReader

_Sweep = TypeVar("_Sweep", bound=SweepFields)


def load_sweep(make: type[_Sweep], path: Path, registry: Registry) -> _Sweep:
    """Load a sweep from a file, and return it as a `make`.

    Raises SweepError with all mistakes and their places, and if the file cannot be read. Warnings have places, too.
    """
    document = load_document(path)
    sweep, problems = _read(make, document.value, registry, path.parent, [])
    if sweep is None or problems or not document.is_sound:
        raise SweepError(str(path), document.locate(str(path), problems))
    return sweep.with_fields(warnings=tuple(document.locate(str(path), sweep.warnings)))


def parse_sweep(
    make: type[_Sweep], written: Any, registry: Registry, *, folder: Path, source: str
) -> _Sweep:
    """Parse a sweep from a mapping as in a sweep file, and return it as a `make`.

    Paths in it start at `folder`. Raises SweepError with all mistakes; `source` is its name in the messages.
    """
    problems: list[Problem] = []
    try:
        tree = to_plain(written, problems)
    except TooLarge as error:
        raise SweepError(source, [Problem("", error.message)]) from None
    sweep, problems = _read(make, tree, registry, folder, problems)
    if sweep is None or problems:
        raise SweepError(source, problems)
    return sweep


def _read(
    make: type[_Sweep], tree: Any, registry: Registry, folder: Path, problems: list[Problem]
) -> tuple[_Sweep | None, list[Problem]]:
    """The sweep of plain values, or None, and all problems, including those already known."""
    if not isinstance(tree, Mapping):
        return None, [not_a_mapping(tree, "name, service, evaluation, matrix")]
    sweep = _Parser(tree, registry, folder, problems).sweep(make)
    return sweep, _first_of_each_path(problems)


def _first_of_each_path(problems: Sequence[Problem]) -> list[Problem]:
    """The first problem of each value: a number that is too large need not be reported as no number, too."""
    first: dict[str, Problem] = {}
    for problem in problems:
        first.setdefault(problem.path, problem)
    return list(first.values())


class _Parser:
    def __init__(
        self, tree: Mapping[str, Any], registry: Registry, folder: Path, problems: list[Problem]
    ) -> None:
        self._tree = tree
        self._registry = registry
        self._problems = problems
        self._folder = folder
        self._reader = ValueReader(SweepFolder(folder), problems)
        self._settings: type[ServiceSettings] | None = None
        self._part: Service | None = None
        """The service with those of its settings that are right, where others are wrong."""

    def sweep(self, make: type[_Sweep]) -> _Sweep | None:
        """Parse the sweep; returns None if there are mistakes, which are in the problems."""
        file = validate(SweepFile, self._tree, "", self._problems)
        service = self._service()
        health = self._health()
        kinds = self._kinds(service)
        self._say_where_keys_belong(kinds)
        kind = self._kind(kinds)
        if kind is None:
            return None
        axes = read_axes(
            kind,
            kinds,
            self._mapping("matrix"),
            self._reader,
            group_names=self._group_names(kind),
        )
        rules = read_rules(
            self._list("include"), self._list("exclude"), axes.axes, axes.own, self._reader
        )
        found = resolve(
            axes.axes,
            axes.own,
            rules,
            repeats=axes.repeats,
            folded_field=kind.folded_field,
            unresolved=axes.pending | self._axes_with_mistakes(axes),
        )
        self._problems.extend(found.problems)
        if file is None or service is None or self._problems:
            return None
        assert service.has_settings, "wrong settings are among the problems"
        if not axes.pending and found.matrix.is_empty():
            self._refuse("exclude", "leaves no cell")
        limits = file.limits.limits()
        return make.of_fields(
            name=file.name,
            service=service,
            health=health,
            kind=kind,
            matrix=found.matrix,
            rules=rules,
            limits=limits,
            retry=file.retry.retry(),
            fold=file.fold,
            reuse=file.reuse,
            unanswered=file.policy_on_unanswered(),
            groups_pending=bool(axes.pending),
            registry=self._registry,
            folder=self._folder.absolute(),
            warnings=warnings_of(kind, found, limits),
        )

    def _say_where_keys_belong(self, kinds: Sequence[JobKind]) -> None:
        """Say where unknown keys at the top level belong, if they are keys of the matrix or the service."""
        axes = {axis.name for kind in kinds for axis in kind.axes} | {REPEATS}
        settings = set() if self._settings is None else set(self._settings.model_fields)
        for at, problem in enumerate(self._problems):
            part = (
                "matrix" if problem.path in axes else "service" if problem.path in settings else ""
            )
            if part and problem.is_of_key and problem.message.startswith("unknown key"):
                message = f"unknown key; it belongs in {part}"
                self._problems[at] = replace(problem, message=message)

    def _axes_with_mistakes(self, axes: Axes) -> frozenset[str]:
        """The axes with a mistake, for which values that a rule does not find are not reported."""
        return frozenset(
            axis.name
            for axis in axes.axes
            if any(problem.path.startswith(f"matrix.{axis.name}") for problem in self._problems)
        )

    def _service(self) -> Service | None:
        """The service with its settings, or without them if they are wrong.

        Its kinds are known either way, so mistakes in the matrix are found at the same time.
        """
        written = self._mapping("service")
        kind = written.get("kind")
        if "service" not in self._tree or not isinstance(self._tree["service"], Mapping):
            return None  # reported already
        if self._has_kind_misspelt(written, "service"):
            return None
        if not isinstance(kind, str):
            message = f"must be text{describe_given(kind)}" if "kind" in written else "is missing"
            self._refuse("service.kind", message, is_of_key="kind" not in written)
            return None
        try:
            service = self._registry.service(kind)
        except NightsweepError as error:
            self._refuse("service.kind", str(error))
            return None
        self._settings = service.settings_model
        own = {key: value for key, value in written.items() if key != "health"}
        settings = validate(
            service.settings_model, own, "service", self._problems, other_keys=("health",)
        )
        if settings is None:
            self._part = self._with_right_settings(service, own)
            return service
        configured = service.with_settings(settings, self._folder.absolute())
        mistakes = configured.mistakes()
        for name, message in mistakes.items():
            self._refuse(f"service.{name}", message)
        return service if mistakes else configured

    def _kinds(self, service: Service | None) -> Sequence[JobKind]:
        try:
            return () if service is None else kinds_of(service)
        except NightsweepError as error:
            self._refuse("service.kind", str(error))
            return ()

    def _with_right_settings(self, service: Service, written: Mapping[str, Any]) -> Service | None:
        """The service without the settings that are wrong; None if it needs one of them."""
        wrong = {
            problem.path.removeprefix("service.").partition(".")[0].partition("[")[0]
            for problem in self._problems
        }
        right = {key: value for key, value in written.items() if key not in wrong}
        settings = validate(service.settings_model, right, "service", [])
        return (
            None if settings is None else service.with_settings(settings, self._folder.absolute())
        )

    def _group_names(self, kind: JobKind) -> Sequence[str] | None:
        """The groups that a sweep can name, as far as the settings that are right tell."""
        if self._part is None:
            return kind.group_names()
        for same in self._kinds(self._part):
            if (same.name, same.target) == (kind.name, kind.target):
                return same.group_names()
        return None

    def _has_kind_misspelt(self, written: Mapping[str, Any], path: str) -> bool:
        """Whether `kind` is missing but a similar key is present, which is then reported."""
        for key in written:
            if "kind" not in written and nearest(key.partition(":")[0], ("kind",)) is not None:
                self._refuse(child_path(path, key), unknown_key(key, ("kind",)), is_of_key=True)
                return True
        return False

    def _health(self) -> HealthConfig | None:
        written = self._mapping("service").get("health")
        if written is None:
            return None
        asked = {"kind": written} if isinstance(written, str) else written
        if isinstance(asked, Mapping) and self._has_kind_misspelt(asked, "service.health"):
            return None
        if isinstance(asked, Mapping) and not isinstance(asked.get("kind", ""), str):
            message = f"must be text{describe_given(asked['kind'])}"
            self._refuse("service.health.kind", message)
            return None
        if not isinstance(asked, Mapping) or "kind" not in asked:
            self._refuse("service.health", "must be the kind of a health gate, or {kind: ..., ...}")
            return None
        kind = asked["kind"]
        try:
            gate = self._registry.health_gate(kind)
        except NightsweepError as error:
            self._refuse("service.health", str(error))
            return None
        settings = {
            key: value
            for key, value in asked.items()
            if key != "kind" or "kind" in gate.settings_model.model_fields
        }
        found = validate(gate.settings_model, settings, "service.health", self._problems)
        if found is None:
            return None
        return HealthConfig(kind=kind, gate=gate.with_settings(found, self._folder.absolute()))

    def _kind(self, kinds: Sequence[JobKind]) -> JobKind | None:
        evaluation, target = self._tree.get("evaluation"), self._tree.get("target")
        if not kinds or not isinstance(evaluation, str) or not isinstance(target, str | None):
            return None  # reported already
        offered = {kind.target: kind for kind in kinds if kind.name == evaluation}
        if not offered:
            near = suggestion(evaluation, {kind.name for kind in kinds})
            self._refuse("evaluation", f"this service has no {evaluation}{near}")
            return None
        if target is None:
            target = JobKind.target if JobKind.target in offered else min(offered)
        if target not in offered:
            self._refuse(
                "target", f"{evaluation} has no target {target}{suggestion(target, offered)}"
            )
            return None
        if problem := offered[target].unusable():
            self._refuse("target", problem)
        return offered[target]

    def _mapping(self, key: str) -> Mapping[str, Any]:
        written = self._tree.get(key)
        return written if isinstance(written, Mapping) else {}

    def _list(self, key: str) -> list[Mapping[str, Any]]:
        written = self._tree.get(key)
        if not isinstance(written, list) or not all(isinstance(one, Mapping) for one in written):
            return []
        return written

    def _refuse(self, path: str, message: str, *, is_of_key: bool = False) -> None:
        self._problems.append(Problem(path, message, is_of_key=is_of_key))

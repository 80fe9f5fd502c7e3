"""Conversion of a sweep to a JSON value that needs no files, and back."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from engine.core.axes import ArgumentAxis, Axis, AxisValue, CaseAxis, DocumentAxis, PromptAxis
from engine.core.errors import Problem, SweepError
from engine.core.policy import Limits, Retry
from engine.documents.validation import validate
from engine.kinds import JobKind, Service
from engine.registry import Registry, kinds_of
from engine.sweep.facts import dump_facts, restore_limits, restore_unanswered, restore_value
from engine.sweep.fields import HealthConfig, SweepFields
from engine.sweep.rules import Rules, resolve, warnings_of

FORMAT = 1

_Sweep = TypeVar("_Sweep", bound=SweepFields)


def dump_sweep(sweep: SweepFields) -> dict[str, Any]:
    """Convert a sweep to a JSON value; a pending axis has null in place of its values."""
    by_name = {axis.axis.name: axis for axis in sweep.matrix.axes}
    return {
        "format": FORMAT,
        "name": sweep.name,
        "service": sweep.service.settings.model_dump(mode="json"),
        "health": {
            "kind": sweep.health.kind,
            "settings": sweep.health.gate.settings.model_dump(mode="json"),
        }
        if sweep.health
        else None,
        "evaluation": sweep.kind.name,
        "target": sweep.kind.target,
        "matrix": {
            name: [_dump_value(axis.axis, value) for value in axis.values[: axis.own]] or None
            for name, axis in by_name.items()
        },
        "repeats": sweep.matrix.repeats,
        "include": [
            {
                name: [_dump_value(by_name[name].axis, value) for value in values]
                for name, values in rule.items()
            }
            for rule in sweep.rules.included
        ],
        "exclude": [
            {name: list(patterns) for name, patterns in rule.items()}
            for rule in sweep.rules.excluded
        ],
        "limits": _dump_limits(sweep.limits),
        "retry": asdict(sweep.retry),
        "fold": sweep.fold,
        "reuse": sweep.reuse,
        "folder": str(sweep.folder),
        "unanswered": asdict(sweep.unanswered),
        "facts": dump_facts(sweep),
    }


def restore_sweep(make: type[_Sweep], dump: Mapping[str, Any], registry: Registry) -> _Sweep:
    """Restore a sweep, as a `make`, from what `dump_sweep` returned.

    Raises SweepError if its settings no longer fit the installed service or another version wrote it, and
    UsageError if its service is not installed.
    """
    source = f"the stored sweep {dump['name']}"
    if dump["format"] != FORMAT:
        raise SweepError(
            source, [Problem("format", "was written by another version of Nightsweep")]
        )
    problems: list[Problem] = []
    # Sweeps of earlier versions have no folder: their paths are relative to the current folder.
    folder = Path(dump.get("folder", ""))
    declared = registry.service(dump["service"]["kind"])
    settings = validate(declared.settings_model, dump["service"], "service", problems)
    health = _restore_health(dump["health"], registry, folder, problems)
    if settings is None or problems:
        raise SweepError(source, problems)
    service = declared.with_settings(settings, folder)
    kind = _find_kind(service, dump, source)
    by_name = {axis.name: axis for axis in kind.axes}
    axes = [axis for axis in kind.axes if axis.name in dump["matrix"]]
    pending = frozenset(name for name, values in dump["matrix"].items() if values is None)
    rules = _restore_rules(dump, by_name)
    found = resolve(
        axes,
        _restore_values(dump["matrix"], by_name),
        rules,
        repeats=dump["repeats"],
        folded_field=kind.folded_field,
        unresolved=pending,
    )
    assert not found.problems, "it was resolved before it was dumped"
    limits = restore_limits(dump["limits"])
    return make.of_fields(
        name=dump["name"],
        service=service,
        health=health,
        kind=kind,
        matrix=found.matrix,
        rules=rules,
        limits=limits,
        retry=Retry(**dump["retry"]),
        fold=dump["fold"],
        reuse=dump["reuse"],
        unanswered=restore_unanswered(dump.get("unanswered")),
        groups_pending=bool(pending),
        registry=registry,
        folder=folder,
        warnings=warnings_of(kind, found, limits),
    )


def _find_kind(service: Service, dump: Mapping[str, Any], source: str) -> JobKind:
    """The job kind of a dump; raises SweepError if it, or one of its axes, no longer exists."""
    name, target = dump["evaluation"], dump["target"]
    kind = next(
        (one for one in kinds_of(service) if (one.name, one.target) == (name, target)), None
    )
    if kind is None:
        raise SweepError(source, [Problem("evaluation", f"{name} {target} is no longer offered")])
    known = {axis.name for axis in kind.axes}
    if gone := [axis for axis in dump["matrix"] if axis not in known]:
        raise SweepError(
            source, [Problem(f"matrix.{axis}", "is no longer an axis") for axis in gone]
        )
    return kind


def _restore_rules(dump: Mapping[str, Any], axes: Mapping[str, Axis]) -> Rules:
    return Rules(
        included=tuple(_restore_values(rule, axes) for rule in dump["include"]),
        excluded=tuple(
            {name: tuple(patterns) for name, patterns in rule.items()} for rule in dump["exclude"]
        ),
    )


def _dump_value(axis: Axis, value: AxisValue) -> Any:
    match axis:
        case PromptAxis():
            return {"name": value.label, "text": value.content}
        case DocumentAxis() | ArgumentAxis() | CaseAxis():
            return {"label": value.label, "content": value.content}
        case _:
            return value.label


def _restore_values(
    written: Mapping[str, Any], axes: Mapping[str, Axis]
) -> dict[str, tuple[AxisValue, ...]]:
    return {
        name: tuple(restore_value(axes[name], value) for value in values or ())
        for name, values in written.items()
    }


def _restore_health(
    written: Mapping[str, Any] | None, registry: Registry, folder: Path, problems: list[Problem]
) -> HealthConfig | None:
    if written is None:
        return None
    gate = registry.health_gate(written["kind"])
    settings = validate(gate.settings_model, written["settings"], "service.health", problems)
    if settings is None:
        return None
    return HealthConfig(kind=written["kind"], gate=gate.with_settings(settings, folder))


def _dump_limits(limits: Limits) -> dict[str, Any]:
    # A list, because the order of the patterns matters and JSON objects may be reordered.
    return {**asdict(limits), "models": [[name, asdict(of)] for name, of in limits.models]}

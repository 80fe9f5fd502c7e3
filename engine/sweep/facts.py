"""What reading a run needs of its sweep, which a store holds even where the service is not installed."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import inf
from typing import Any, Self

from engine.core.axes import (
    ArgumentAxis,
    Axis,
    AxisValue,
    CaseAxis,
    DocumentAxis,
    GroupAxis,
    IntegerAxis,
    NumberAxis,
    PromptAxis,
    RecordAxis,
    Scalar,
    TextAxis,
)
from engine.core.canonical import digest
from engine.core.matrix import MatrixAxis
from engine.core.model import Sends
from engine.core.policy import LaneLimits, Limits, UnansweredPolicy, UnansweredRule, Window
from engine.kinds import Service
from engine.sweep.fields import SweepFields

_SORTS: Mapping[str, type[Axis]] = {
    "prompt": PromptAxis,
    "record": RecordAxis,
    "document": DocumentAxis,
    "argument": ArgumentAxis,
    "case": CaseAxis,
    "group": GroupAxis,
    "integer": IntegerAxis,
    "number": NumberAxis,
}
"""The sorts of axes that reading tells from others, as the dump names them."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepFacts:
    """What reading a run needs of its sweep, whether or not its service is installed."""

    axes: tuple[MatrixAxis, ...]
    folded_field: str | None
    """The threshold's field, where one answer is read at several thresholds."""
    highest_threshold: float | None
    """The highest threshold that all cells have; None without thresholds."""
    limits: Limits
    unanswered: UnansweredPolicy
    sends: Sends
    uses_quota: bool
    judge: str
    """The judge that decides what passed; empty for the service itself."""
    account: str
    """The service, with the reference to its key, as text for people."""

    @classmethod
    def of(cls, sweep: SweepFields) -> Self:
        """The facts of a sweep whose service is installed; the service is neither opened nor asked."""
        return cls(
            axes=sweep.matrix.axes,
            folded_field=sweep.kind.folded_field,
            highest_threshold=sweep.matrix.highest_threshold,
            limits=sweep.limits,
            unanswered=sweep.unanswered,
            sends=sweep.kind.sends,
            uses_quota=sweep.kind.uses_quota,
            judge=sweep.kind.judge,
            account=describe_account(sweep.service),
        )

    @classmethod
    def restore(cls, dump: Mapping[str, Any]) -> Self | None:
        """The facts from the dump of a sweep; None if an earlier version made it, without them."""
        facts = dump.get("facts")
        if facts is None or "account" not in facts:
            return None
        return cls(
            axes=tuple(_restore_axis(axis, dump) for axis in facts["axes"]),
            folded_field=facts["folded_field"],
            highest_threshold=facts["highest_threshold"],
            limits=restore_limits(dump["limits"]),
            unanswered=restore_unanswered(dump.get("unanswered")),
            sends=Sends(facts["sends"]),
            uses_quota=facts["uses_quota"],
            judge=facts["judge"],
            account=facts["account"],
        )

    @property
    def case_field(self) -> str | None:
        """The field of the axis whose values are test cases: the cases of a function, or the inputs of a chat sweep."""
        return next(
            (axis.field for axis in self.axes if isinstance(axis.axis, CaseAxis | RecordAxis)), None
        )

    def document_labels(self) -> dict[str, dict[str, Scalar]]:
        """The labels of prompts and documents, by their axis' field and their digest."""
        return {
            axis.field: {digest(value.content): value.label for value in axis.values}
            for axis in self.axes
            if axis.is_large
        }


def dump_facts(sweep: SweepFields) -> dict[str, Any]:
    """Convert what the rest of a sweep's dump does not say to a JSON value.

    With it, `SweepFacts.restore` needs no service, so a run can be shown where its package is not installed.
    """
    service = type(sweep.service)
    return {
        "axes": [
            {"name": axis.axis.name, "field": axis.field, "sort": _name_sort(axis.axis)}
            for axis in sweep.matrix.axes
        ],
        "folded_field": sweep.kind.folded_field,
        "highest_threshold": sweep.matrix.highest_threshold,
        "sends": sweep.kind.sends.value,
        "uses_quota": sweep.kind.uses_quota,
        "judge": sweep.kind.judge,
        "account": describe_account(sweep.service),
        "declared_by": f"{service.__module__}.{service.__qualname__}",
    }


def describe_account(service: Service) -> str:
    """The service, with the reference to its key, whose rates and quota requests use, as text for people."""
    return f"{service.identity} {service.credential}".strip()


def restore_limits(written: Mapping[str, Any]) -> Limits:
    """The limits of a sweep from its dump, in which they are JSON."""
    window = written["window"]
    return Limits(
        **{
            **written,
            "models": tuple((name, LaneLimits(**of)) for name, of in written["models"]),
            "window": Window(**window) if window is not None else None,
        }
    )


def restore_unanswered(written: Mapping[str, Any] | None) -> UnansweredPolicy:
    """What a sweep does about unanswered questions, from its dump; None if an earlier version made it."""
    if written is None:
        return UnansweredPolicy()
    return UnansweredPolicy(rule=UnansweredRule(written["rule"]), max_share=written["max_share"])


def restore_value(axis: Axis, written: Any) -> AxisValue:
    """A value of an axis from the dump of a sweep: its label, which rows show, and its content, which is sent."""
    match axis:
        case PromptAxis():
            return AxisValue(label=written["name"], content=written["text"])
        case DocumentAxis() | ArgumentAxis() | CaseAxis():
            return AxisValue(label=written["label"], content=written["content"])
        case _:
            return AxisValue(label=written, content=written)


def _name_sort(axis: Axis) -> str:
    return next((name for name, sort in _SORTS.items() if isinstance(axis, sort)), "text")


def _restore_axis(written: Mapping[str, str], dump: Mapping[str, Any]) -> MatrixAxis:
    axis = _make_axis(written["name"], written["field"], written["sort"])
    own = dump["matrix"][axis.name] or ()
    others = [value for rule in dump["include"] for value in rule.get(axis.name, ())]
    values = tuple(restore_value(axis, value) for value in (*own, *others))
    return MatrixAxis(axis=axis, values=values, own=len(own))


def _make_axis(name: str, field: str, sort: str) -> Axis:
    """An axis of a sort that has any value of its type: no value is read into it."""
    match sort:
        case "prompt":
            return PromptAxis(name=name, field=field)
        case "record":
            return RecordAxis(name=name, field=field, read=_refuse_to_read)
        case "document":
            return DocumentAxis(name=name, field=field, read=_refuse_to_read)
        case "argument":
            return ArgumentAxis(name=name, field=field)
        case "case":
            return CaseAxis(name=name, field=field)
        case "group":
            return GroupAxis(name=name, field=field)
        case "integer":
            return IntegerAxis(name=name, field=field, minimum=-(2**63), maximum=2**63 - 1)
        case "number":
            return NumberAxis(name=name, field=field, minimum=-inf, maximum=inf)
        case _:
            return TextAxis(name=name, field=field)


def _refuse_to_read(_: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    raise AssertionError("only the values in the store are read")

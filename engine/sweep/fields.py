"""The fields of a sweep."""

from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, Self

from engine.core.errors import Problem
from engine.core.matrix import Fold, Matrix
from engine.core.policy import Limits, Retry, UnansweredPolicy
from engine.kinds import HealthGate, JobKind, Service
from engine.registry import Registry
from engine.sweep.rules import Rules


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthConfig:
    """The health gate that is asked before a lane opens, with its name in the registry."""

    kind: str
    gate: HealthGate


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SweepFields:
    """The validated parts of a sweep; the matrix was made with `rules`.

    `service` and the gate of `health` have the sweep's settings but are not open. `folder` is the
    absolute path of the sweep file's folder, where references to files of keys start.
    """

    name: str
    service: Service
    health: HealthConfig | None
    kind: JobKind
    matrix: Matrix
    rules: Rules
    limits: Limits
    retry: Retry
    fold: Fold
    reuse: bool
    unanswered: UnansweredPolicy
    groups_pending: bool
    registry: Registry
    folder: Path
    warnings: tuple[Problem, ...] = ()

    @classmethod
    def of_fields(cls, **values: Any) -> Self:
        """Make one of its fields."""
        made = object.__new__(cls)
        SweepFields.__init__(made, **values)
        return made

    def with_fields(self, **values: Any) -> Self:
        """A copy in which some fields have other values."""
        known = {field.name: getattr(self, field.name) for field in fields(SweepFields)}
        return self.of_fields(**{**known, **values})

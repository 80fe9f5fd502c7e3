"""What a sweep consists of."""

from dataclasses import dataclass
from pathlib import Path

from engine.core.errors import Problem
from engine.core.matrix import Fold, Matrix
from engine.core.policy import Limits, Retry, UnansweredPolicy
from engine.kinds import HealthGate, JobKind, Service
from engine.registry import Registry
from engine.sweep.rules import Rules


@dataclass(frozen=True, slots=True, kw_only=True)
class HealthConfig:
    """The health gate that a sweep asks before it opens a lane, by its name in the registry."""

    kind: str
    gate: HealthGate


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SweepFields:
    """The parts of a sweep, each validated; `rules` are what the matrix was made with.

    `service` and the gate of `health` have the sweep's settings and are not open. `folder` is that of the
    sweep file, absolute: references to files of keys start there.
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

"""Flaky cases: how often the repeats of a case agree."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from engine.core.statistics import RatePrecision, VarianceComponents


@dataclass(frozen=True, slots=True, kw_only=True)
class FlakyCase:
    """A case of a setting that fails in some of its repeats."""

    labels: Mapping[str, Any]
    """The setting, by field."""
    case: str
    failed: int
    answers: int
    """First answers, before any variations."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flakiness:
    """How often the repeats of a case agree at one threshold; each case counts once in each setting.

    Example:
        >>> flaky = run.analysis().flaky()
        >>> flaky.always, flaky.sometimes, flaky.never
        (0, 0, 0)
    """

    threshold: float | None
    always: int
    """Cases that fail in every repeat."""
    sometimes: int
    never: int
    repeats: int
    """The most first answers of a case."""
    any_failure: float | None
    """The mean chance that at least one of that many answers to a case fails, of the cases with so many."""
    any_failure_in_one: float | None
    """The mean chance that a single answer fails, of the same cases."""
    spread: VarianceComponents | None
    """How much the failure probability differs between cases, and one answer from that of its case."""
    precision: RatePrecision | None
    """How precisely the first rate over all settings is known, and what narrows it to ±10 points; None if unknown."""
    flaky: tuple[FlakyCase, ...]
    """Cases that fail sometimes, those nearest to half of their answers first."""

    @property
    def cases(self) -> int:
        """The cases that were asked more than once."""
        return self.always + self.sometimes + self.never

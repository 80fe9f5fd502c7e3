"""Patterns that select cells, and what is found in them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.core.findings import Finding
from engine.core.inspection import is_like


@dataclass(frozen=True, slots=True, kw_only=True)
class Conditions:
    """Selects what is like all patterns, with `*` and `?`, in any case; without patterns, everything."""

    labels: Mapping[str, str] = field(default_factory=dict)
    """Patterns by the field of an axis, or `repeat`."""
    case: str | None = None
    """A pattern of the names of test cases."""

    def select_labels(self, labels: Mapping[str, Any]) -> bool:
        """Whether a cell with these labels is selected."""
        return all(is_like(labels.get(name), pattern) for name, pattern in self.labels.items())

    def select_case(self, case: str | None) -> bool:
        """Whether a case is selected, if its cell is."""
        return self.case is None or is_like(case, self.case)

    def select_finding(self, finding: Finding) -> bool:
        """Whether a finding is selected; one of several thresholds is enough."""
        return self.select_case(finding.case) and all(
            any(is_like(value, pattern) for value in _values(finding, name))
            for name, pattern in self.labels.items()
        )


def _values(finding: Finding, name: str) -> tuple[Any, ...]:
    # Labels have no threshold if one answer is read at several.
    return (finding.labels[name],) if name in finding.labels else finding.thresholds

"""One cell of a run and what is known of it: plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any


class Source(StrEnum):
    """How a cell's numbers were had."""

    MEASURED = "measured"
    DERIVED = "derived"
    REUSED = "reused"
    MISSING = "missing"


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One cell and what is known of it; None is what is not known."""

    labels: Mapping[str, Any]
    """The evaluation's axes by field, in the order of the kind, then `repeat`."""
    digests: Mapping[str, str | None] = field(default_factory=dict)
    """12 hexadecimal digits of each prompt and document by field: equal for equal texts, None for no text."""
    asked: bool | None = True
    """Whether the sweep asks for the cell; False where only an earlier one did, None as long as that is not known."""
    state: str
    source: Source
    passed: int | None = None
    failed: int | None = None
    total: int | None = None
    failure_rate: float | None = None
    ci_low: float | None = None
    ci_high: float | None = None
    unanswered: int | None = None
    """Questions without an answer."""
    unanswered_reasons: Mapping[str, int] | None = None
    """The same by reason."""
    lowest_rate: float | None = None
    """The failure rate if all of these had passed."""
    highest_rate: float | None = None
    """The failure rate if all of these had failed."""
    identity: str | None = None
    """16 hexadecimal digits of what decided the answer: numbers of one cell are comparable where it is equal."""
    error: str | None = None

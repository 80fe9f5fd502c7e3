"""The cases of cells as rows: plain values."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseRow:
    """The tests of one case in one cell, as `Run.cases` yields them; unknown values are None.

    Example:
        >>> @job
        ... def is_calm(text: str) -> Measurement:
        ...     return Measurement(passed=int("!" not in text), failed=int("!" in text))
        >>> calm = Sweep("calm", is_calm, cases=[{"id": "hello", "text": "Hello!"}])
        >>> [(case.case, case.failed, case.tests) for case in calm.run("other.db", progress=False).cases()]
        [('hello', 1, 1)]
    """

    labels: Mapping[str, Any]
    """The evaluation's axes by field, in the order of the kind, then `repeat`, as in rows."""
    digests: Mapping[str, str | None] = field(default_factory=dict)
    """12 hexadecimal digits of each prompt and document, by field, as in rows."""
    case: str | None
    """The id of the test case; None for all tests of an answer that does not name their cases."""
    tests: int
    """Its tests in all layers, at the cell's threshold."""
    failed: int
    first_failed: int | None
    """Its first answers, before any variations, that failed: 0 or 1, but for a case None."""
    lowest_score: float | None
    """The lowest safety score, from 0 to 1."""
    job: int
    """The job whose answer has it, by which `Run.job` and `nightsweep show` find the whole answer."""
    identity: str | None = None
    """16 hexadecimal digits of what decided the answer, as in rows."""

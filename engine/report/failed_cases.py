"""The failed tests that a gate shows: the worst of a run, within a bounded amount of text."""

from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any, Self

from engine.core.findings import Finding, Message
from engine.core.gates import Decision, GateRules, GateVerdict
from engine.core.rows import Row
from engine.core.terminal import plain
from engine.report.cells import cell_words

_KEPT_CHARACTERS = 8_000_000
_MESSAGE_MAX = 2_000
_MESSAGES_MAX = 20
_PRINTED_MAX = 10_000

_Key = tuple[tuple[str, Any], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class FailedCase:
    """A failed test with its conversation, shortened."""

    labels: Mapping[str, Any]
    thresholds: tuple[float, ...]
    case: str | None
    layer: int | None
    score: float | None
    messages: tuple[Message, ...]
    messages_left_out: int

    @property
    def title(self) -> str:
        """Its case, layer and score, as far as they are known."""
        parts = [] if self.case is None else [f"case {plain(self.case)}"]
        parts += [] if self.layer is None else [f"layer {self.layer}"]
        parts += [] if self.score is None else [f"score {self.score:g}"]
        return ", ".join(parts) or "a failed test"

    @property
    def size(self) -> int:
        """Its characters, about."""
        return 200 + sum(len(message.content) for message in self.messages)


@dataclass(slots=True)
class FailedCases:
    """Keeps the worst of the failed tests that are added, those with the lowest scores."""

    most_characters: int = _KEPT_CHARACTERS
    total: int = 0
    """The failed tests that were added, whether or not they are kept."""
    _size: int = 0
    _heap: list[tuple[float, int, FailedCase]] = field(default_factory=list)
    """The mildest first."""

    def add(self, finding: Finding) -> None:
        """Add a failed test; the mildest ones are dropped while all together are too long."""
        self.total += 1
        case = _shorten(finding)
        severity = 0.0 if finding.score is None else -finding.score
        heappush(self._heap, (severity, -self.total, case))
        self._size += case.size
        while self._size > self.most_characters:
            self._size -= heappop(self._heap)[-1].size

    def worst(self) -> list[FailedCase]:
        """Those that are kept, the worst first."""
        return [case for *_, case in sorted(self._heap, key=lambda one: (-one[0], -one[1]))]

    def by_cell(self) -> Mapping[_Key, list[FailedCase]]:
        """Those that are kept by the key of their cell, the worst of each first."""
        found: dict[_Key, list[FailedCase]] = defaultdict(list)
        for case in self.worst():
            found[_key(case.labels)].append(case)
        return found


@dataclass(frozen=True, slots=True)
class FailedChecks:
    """The checks of a gate that have failed, to find out which failed tests belong to them."""

    rules: GateRules
    keys: frozenset[tuple[Any, ...]]

    @classmethod
    def of(cls, verdict: GateVerdict) -> Self:
        """The failed checks of a verdict."""
        return cls(
            verdict.rules,
            frozenset(
                (check.threshold, *(check.labels[name] for name in verdict.rules.by))
                for check in verdict.checks
                if check.decision is Decision.FAILED
            ),
        )

    def is_gated(self, finding: Finding) -> bool:
        """Whether a test fails at a threshold that the gate looks at."""
        wanted = self.rules.thresholds
        return not (wanted and finding.thresholds) or any(at in wanted for at in finding.thresholds)

    def has(self, finding: Finding) -> bool:
        """Whether a failed test belongs to a failed check."""
        values = [finding.labels.get(name) for name in self.rules.by]
        return any((at, *values) in self.keys for at in finding.thresholds or (None,))


def cases_of(
    row: Row, folded_field: str | None, by_cell: Mapping[_Key, list[FailedCase]]
) -> list[FailedCase]:
    """The failed tests of a cell, the worst first: those that fail at its threshold."""
    labels = dict(row.labels)
    threshold = None if folded_field is None else labels.pop(folded_field, None)
    found = by_cell.get(_key(labels), [])
    return [one for one in found if threshold is None or threshold in one.thresholds]


def failed_case_lines(finding: Finding) -> list[str]:
    """A failed test as text, without control characters; of a message at most 10,000 characters."""
    lines = ["---- Failed Case ----", f"    Cell: {cell_words(finding.labels)}"]
    if finding.case is not None:
        lines.append(f"    Case: {plain(finding.case)}")
    if finding.layer is not None:
        lines.append(f"    Layer: {finding.layer}")
    if finding.score is not None:
        lines.append(f"    Safety Score: {finding.score}")
    names = {"user": "User Input", "assistant": "Model Response"}
    for message in finding.messages:
        first, *rest = _cut(message.content, _PRINTED_MAX).splitlines() or [""]
        lines.append(f"    {names.get(message.role) or plain(message.role)}: {plain(first)}")
        lines += [f"        {plain(line)}" for line in rest]
    return [*lines, ""]


def _shorten(finding: Finding) -> FailedCase:
    messages = finding.messages[:_MESSAGES_MAX]
    return FailedCase(
        labels=finding.labels,
        thresholds=finding.thresholds,
        case=finding.case,
        layer=finding.layer,
        score=finding.score,
        messages=tuple(
            Message(role=message.role, content=_cut(message.content)) for message in messages
        ),
        messages_left_out=len(finding.messages) - len(messages),
    )


def _cut(text: str, most: int = _MESSAGE_MAX) -> str:
    if (more := len(text) - most) <= 0:
        return text
    return f"{text[:most]}\n[{more:,} more characters]"


def _key(labels: Mapping[str, Any]) -> _Key:
    return tuple(sorted(labels.items()))

"""The worst findings of a run, as many as are wanted: however many there are, only these are in memory."""

import heapq
from collections.abc import AsyncIterable
from math import inf

from engine.core.findings import Finding

CHARACTERS = 48_000_000
"""About the most characters of the texts that are kept: far more than a report holds once compressed."""


def size_of(finding: Finding) -> int:
    """About how many characters a finding has."""
    evidence = 0 if finding.evidence is None else len(str(finding.evidence))
    return 200 + evidence + sum(len(one.content) for one in finding.messages)


class WorstCollector:
    """Keeps the findings with the lowest scores; those without a score come last.

    It keeps as many as have a number of characters, and no more than `count` if that is given.
    """

    def __init__(self, characters: int = CHARACTERS, count: int | None = None) -> None:
        self._left = characters
        self._count = count
        # The best of those kept first: (negative score, negative place), so that ties keep the order of the run.
        self._heap: list[tuple[float, int, int, Finding]] = []
        self.total = 0

    def add(self, finding: Finding) -> None:
        """Add one finding, which drops better ones if there is no room for it."""
        score = inf if finding.score is None else finding.score
        place = self.total
        self.total += 1
        size = size_of(finding)
        entry = (-score, -place, size, finding)
        if size > self._left and (not self._heap or entry < self._heap[0]):
            return
        heapq.heappush(self._heap, entry)
        self._left -= size
        while self._is_too_much and len(self._heap) > 1:
            self._left += heapq.heappop(self._heap)[2]

    @property
    def _is_too_much(self) -> bool:
        return self._left < 0 or (self._count is not None and len(self._heap) > self._count)

    def kept(self) -> tuple[Finding, ...]:
        """The findings that were kept, the worst first."""
        return tuple(
            entry[3] for entry in sorted(self._heap, key=lambda one: one[:2], reverse=True)
        )


async def collect_worst(
    findings: AsyncIterable[Finding], *, characters: int = CHARACTERS, count: int | None = None
) -> WorstCollector:
    """Read findings one after the other and keep the worst of them, as `WorstCollector` does."""
    collector = WorstCollector(characters, count)
    async for finding in findings:
        collector.add(finding)
    return collector

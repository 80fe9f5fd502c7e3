"""What is made of the results of a run: comparisons and gates."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from engine.core.comparisons import Comparison, FlippedCase
from engine.core.findings import JudgedTest
from engine.core.gates import GateRules, GateVerdict
from engine.session import inspection
from engine.session.comparing import Side, compare_runs, compare_with_earlier, find_tests
from engine.session.gating import gate
from engine.session.judges import Judging, refuse_other_judges
from engine.session.readings import RunReadings

if TYPE_CHECKING:
    from engine.session.run import Run


class RunVerdicts(RunReadings):
    """What is made of a run's results: comparisons with other runs, and gates."""

    async def compare(
        self,
        before: "Run | None" = None,
        *,
        thresholds: Sequence[float] = (),
        across_judges: bool = False,
    ) -> Comparison:
        """What changed since an earlier run, cell by cell and case by case, at some thresholds or at all.

        Cells are the same if they ask the same, whatever its name; contents that differ are matched by name,
        such as a prompt that was edited, and on an axis with one value in each run these two are compared.
        Cases are matched by name within a cell. Without `before`, the run's answers are compared with those to
        cells that only earlier versions of its sweep asked for: of each cell the one that was answered last.

        Raises UsageError if the cells cannot be matched, and, without `across_judges`, if the two runs were
        judged differently.
        """
        if before is None:
            found = self._cells(await self._find_row(), past=True)
            return await compare_with_earlier(self, found, thresholds)
        if not across_judges:
            refuse_other_judges(await self._judging(), await before._judging())  # noqa: SLF001  # a run as well
        return await compare_runs(self, before, thresholds)

    async def flipped_cases(
        self, comparison: Comparison, before: "Run | None" = None, *, limit: int = 20
    ) -> list[FlippedCase]:
        """The first flipped cases of a comparison of this run, at most `limit`, with what was said in both runs.

        `before` is the run that it was compared with, as in `compare`. Of several answers to a case the first one
        that shows the change is taken. Raises UsageError if the service of either run is not installed here.
        """
        changes = comparison.flipped[:limit]
        if not changes:
            return []
        other = before or self
        sides = [Side.before(one) for one in changes]
        tests_before = await other._find_tests(sides, past=before is None)  # noqa: SLF001  # a run as well
        tests_after = await self._find_tests([Side.after(one) for one in changes], past=False)
        return [
            FlippedCase(change=change, before=one, after=two)
            for change, one, two in zip(changes, tests_before, tests_after, strict=True)
        ]

    async def _find_tests(self, sides: Sequence[Side], *, past: bool) -> list[JudgedTest | None]:
        row = await self._find_row()

        async def read_answer(job_id: int) -> bytes | None:
            return (await inspection.details(self._store, self.facts, row, job_id)).answer

        return await find_tests(sides, self._cells(row, past=past), read_answer, self.sweep.kind)

    async def gate(
        self,
        rules: GateRules,
        *,
        against: "Run | None" = None,
        across_judges: bool = False,
    ) -> GateVerdict:
        """Decide whether the run's failure rates are within the limits of `rules`.

        Each combination of the axes in `rules.by`, and each threshold, is checked on its own. With `against`,
        the failure rate must not be above that run's by more than `rules.margin`, over the cells that both
        have. A check is undecided if nothing was measured, or if fewer cells have numbers than
        `rules.require_coverage` demands.

        Raises UsageError if the rules demand nothing, or name an axis or a threshold that the run does not have,
        if the cells of the two runs cannot be matched, and, without `across_judges`, if they were judged
        differently.
        """
        if against is not None and not across_judges:
            refuse_other_judges(await self._judging(), await against._judging())  # noqa: SLF001  # a run as well
        return await gate(self, rules, against)

    async def _judging(self) -> Judging:
        """What decided how the run's replies were judged, to find out whether another run can be compared."""
        return Judging.of(await self._find_row(), self.facts, self._sweep_if_installed())

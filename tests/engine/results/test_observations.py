"""What is observed of a run: job by job as cell by cell."""

from collections.abc import AsyncIterator
from dataclasses import fields
from typing import Any

import pytest

from engine.core.canonical import digest
from engine.core.listed_tests import ListedTest, Listing
from engine.core.policy import UnansweredPolicy, UnansweredRule
from engine.core.samples import Setting
from engine.core.states import State
from engine.results.cells import RowRules, cells
from engine.results.observations import observe, observe_jobs
from engine.store import JobRow
from engine.testing import ScriptedService
from tests.engine.results.test_rows import job
from tests.engine.scenes import sweep

SCORES = (0.1, 0.35, 0.4, 0.9)
NAMED = Listing.of(ListedTest(f"case {n}", 0, score) for n, score in enumerate(SCORES))
OTHERS = Listing.of(ListedTest(f"other {n}", 0, score) for n, score in enumerate(SCORES))
UNNAMED = Listing.of(ListedTest(None, 0, score) for score in SCORES)
TWICE = Listing.of(ListedTest("one", n, score) for n, score in enumerate(SCORES))
VARIED = Listing.of(ListedTest(f"case {n}", n % 2, score) for n, score in enumerate(SCORES))
WITH_GAP = Listing.of([*NAMED.tests, ListedTest("case 9", 0, None)])


def answered(number: int, listing: Listing | None, **changes: Any) -> JobRow:
    """A job at the threshold 0.5 that also answers 0.3; three of its four tests failed."""
    return job(
        id=number,
        labels={"model": "a", "group": "g", "repeat": number},
        passed=1,
        failed=3,
        scores=SCORES,
        listing=None if listing is None else listing.encode(),
        **changes,
    )


JOBS = {
    "repeats of the same cases": [answered(1, NAMED), answered(2, NAMED)],
    "other cases": [answered(1, NAMED), answered(2, OTHERS)],
    "layers that could have been": [answered(1, Listing.of(NAMED.tests, is_layered=True))],
    "unnamed cases": [answered(1, NAMED), answered(2, UNNAMED)],
    "several tests of a case": [answered(1, NAMED), answered(2, TWICE)],
    "variations of other cases": [answered(1, NAMED), answered(2, VARIED)],
    "nothing listed": [answered(1, None)],
    "an unanswered question": [answered(1, WITH_GAP, unanswered={"empty": 1}), answered(2, NAMED)],
    "values": [answered(1, NAMED, values={"length": 7, "is_long": True, "text": "x"})],
    "no answer": [answered(1, NAMED), job(id=2, passed=None, failed=None, state=State.FAILED)],
    "outdated": [answered(1, NAMED, outdated=True), answered(2, NAMED)],
    "no longer asked": [answered(1, NAMED, is_asked=False), answered(2, NAMED)],
    "an edited sweep": [
        answered(1, NAMED),
        answered(2, NAMED, cells=(0.2, 0.5)),
        answered(3, NAMED),
    ],
    "thresholds in no order": [answered(1, NAMED, cells=(0.5, 0.2, 0.3))],
    "renamed": [answered(1, NAMED, documents={"prompt": digest("Be kind.")}), answered(2, NAMED)],
    "without scores": [answered(1, NAMED)._replace(scores=None)],
}


def values_of(setting: Setting) -> dict[str, Any]:
    found = {field.name: getattr(setting, field.name) for field in fields(setting)}
    return {**found, "cases": dict(setting.cases)}


@pytest.mark.parametrize("rule", UnansweredRule)
@pytest.mark.parametrize("which", JOBS)
async def test_jobs_are_observed_as_their_cells_are(which: str, rule: UnansweredRule) -> None:
    names = {"prompt": {digest("Be kind."): "kind"}}
    rules = RowRules(folded_field="threshold", unanswered=UnansweredPolicy(rule=rule), names=names)
    prompts = [{"name": "kind", "text": "Be kind."}]
    service = ScriptedService(lambda _: RuntimeError())
    axes = sweep(service, matrix={"prompts": prompts}).matrix.axes

    async def read() -> AsyncIterator[JobRow]:
        for one in JOBS[which]:
            yield one

    quickly = await observe_jobs(read(), rules, axes)
    slowly = await observe(cells(read(), rules), axes, "threshold")

    assert quickly.past == slowly.past
    assert list(map(values_of, quickly.settings)) == list(map(values_of, slowly.settings))

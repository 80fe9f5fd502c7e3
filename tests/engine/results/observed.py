"""What was observed of runs, for the tests of what is decided from it."""

from collections.abc import Mapping, Sequence
from typing import Any

from engine.core.cell_tests import CellTests
from engine.core.listed_tests import ListedTest, Listing
from engine.core.samples import Setting
from engine.core.states import State
from engine.results.observations import CaseFields, Observations

Scores = Mapping[str, Sequence[float]]
"""The scores of each case, one for each repeat."""


def answered(failed: int, total: int, *, threshold: float = 0.5, **labels: Any) -> Setting:
    """A setting with one answer that does not name its cases."""
    setting = unanswered(threshold=threshold, state=None, **labels)
    setting.coverage.add(State.SUCCEEDED, has_numbers=True)
    setting.add(CellTests(failed=failed, total=total, threshold=threshold, listing=None))
    return setting


def named(cases: Scores, *, threshold: float = 0.5, **labels: Any) -> Setting:
    """A setting whose answers, one for each repeat, name their cases."""
    setting = unanswered(threshold=threshold, state=None, **labels)
    for repeat in range(max(map(len, cases.values()))):
        _add(
            setting,
            [ListedTest(case, 0, one[repeat]) for case, one in cases.items() if repeat < len(one)],
        )
    return setting


def layered(cases: Scores) -> Setting:
    """A setting with one answer that has a score of each case in each layer, the first answer first."""
    setting = unanswered(state=None)
    _add(
        setting,
        [
            ListedTest(case, layer, score)
            for case, one in cases.items()
            for layer, score in enumerate(one)
        ],
    )
    return setting


def _add(setting: Setting, tests: Sequence[ListedTest]) -> None:
    threshold = setting.threshold or 0.0
    setting.coverage.add(State.SUCCEEDED, has_numbers=True)
    setting.add(
        CellTests(
            failed=sum((one.score or 0.0) < threshold for one in tests),
            total=len(tests),
            threshold=threshold,
            listing=Listing.of(tests).encode(),
        )
    )


def unanswered(
    *, threshold: float = 0.5, state: State | None = State.FAILED, **labels: Any
) -> Setting:
    """A setting with one cell without an answer."""
    values = tuple({"model": "a", "group": "x", **labels}.values())
    setting = Setting(labels=values, digests=(None,) * len(values), threshold=threshold)
    if state is not None:
        setting.coverage.add(state, has_numbers=False)
    return setting


def observations(*settings: Setting) -> Observations:
    """A run over models and groups, and what was observed of it."""
    return Observations(
        axes=("model", "group"),
        case_fields=CaseFields(scope=("group",)),
        settings=list(settings),
    )

"""Which axes of a sweep a report compares."""

import pytest

from engine.core.axes import Axis, AxisValue, CaseAxis, GroupAxis, NumberAxis, TextAxis
from engine.core.matrix import MatrixAxis
from engine.results.heat import HeatAxes, choose_axes, compared_axes

MODELS = TextAxis(name="models", field="model")
PROMPTS = TextAxis(name="prompts", field="prompt")
GROUPS = GroupAxis(name="groups", field="group")
CASES = CaseAxis(name="cases", field="case")
THRESHOLDS = NumberAxis(name="thresholds", field="threshold", minimum=0, maximum=1)


def with_values(axis: Axis, count: int) -> MatrixAxis:
    values = tuple(AxisValue(str(number), number) for number in range(count))
    return MatrixAxis(axis=axis, values=values, own=count)


@pytest.mark.parametrize(
    ("counts", "chosen"),
    [
        ({MODELS: 3, PROMPTS: 2, GROUPS: 4, THRESHOLDS: 5}, HeatAxes(row="model", column="group")),
        ({MODELS: 3, PROMPTS: 2, GROUPS: 1}, HeatAxes(row="model", column="prompt")),
        ({MODELS: 1, PROMPTS: 2, GROUPS: 4}, HeatAxes(row="prompt", column="group")),
        ({MODELS: 3, CASES: 50}, HeatAxes(row="model", column="")),
        ({GROUPS: 3}, HeatAxes(row="group", column="")),
        ({MODELS: 1, GROUPS: 1}, HeatAxes(row="model", column="group")),
        ({PROMPTS: 2_000, MODELS: 2}, HeatAxes(row="model", column="")),
    ],
)
def test_models_and_groups_are_compared_or_else_what_varies(
    counts: dict[Axis, int], chosen: HeatAxes
) -> None:
    axes = [with_values(axis, count) for axis, count in counts.items()]

    assert choose_axes(axes, "threshold") == chosen


def test_thresholds_and_cases_are_not_compared() -> None:
    axes = [with_values(THRESHOLDS, 3), with_values(CASES, 3)]

    assert compared_axes(axes, "threshold") == []
    assert choose_axes(axes, "threshold") is None

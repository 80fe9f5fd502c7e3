"""The chart of failure rates against thresholds."""

import json
from typing import Any

from engine.core.reports import ScoreCurve
from engine.report.curve_chart import MOST_CURVE_STEPS, curves_spec, hide_bands
from tests.engine.report.reports import GROUPS, MODELS, report


def spec_of(**changes: Any) -> dict[str, Any]:
    data = report(**changes)
    return dict(curves_spec(data.curves, data.score_curves, "model"))


def marks(spec: dict[str, Any]) -> list[tuple[str, str | None]]:
    return [
        (layer["mark"]["type"], layer["mark"].get("interpolate")) for layer in spec["spec"]["layer"]
    ]


def test_whole_curves_are_steps_and_other_lines_join_the_thresholds_of_the_sweep() -> None:
    spec = spec_of()

    assert marks(spec) == [
        ("area", "step-before"),
        ("area", None),
        ("line", "step-before"),
        ("line", None),
        ("point", None),
    ]
    values = spec["data"]["values"]
    assert {one["row"] for one in values if one["kind"] == "whole"} == set(MODELS[:2])
    assert {one["row"] for one in values if one["kind"] == "joined"} == {MODELS[2]}
    assert marks(dict(hide_bands(spec))) == [
        ("line", "step-before"),
        ("line", None),
        ("point", None),
    ]


def test_without_whole_curves_all_lines_join_points() -> None:
    spec = spec_of(score_curves=())

    assert marks(spec) == [("area", None), ("line", None), ("point", None)]
    assert all(one["kind"] == "joined" for one in spec["data"]["values"])


def test_a_whole_curve_has_the_thresholds_after_which_it_changes() -> None:
    [first, *_] = [one for one in spec_of()["data"]["values"] if one["kind"] == "whole"]

    assert (first["row"], first["column"], first["of"]) == (MODELS[0], GROUPS[0], 24)
    assert (first["at"][:2], first["at"][-1]) == ([0, 7], 200)
    assert first["failed"] == [0, *range(15)]
    assert first["half"] == 0.2772


def test_many_curves_take_little_room() -> None:
    many = tuple(
        ScoreCurve(
            row=f"model-{number % 8}",
            column=f"group-{number // 8}",
            failed=tuple(range(201)),
            answers=201,
            cases=201,
            half_width=0.1,
        )
        for number in range(40)
    )

    found = [one for one in spec_of(score_curves=many)["data"]["values"] if one["kind"] == "whole"]

    assert len(found) == 40
    assert sum(len(one["at"]) for one in found) <= MOST_CURVE_STEPS
    assert len(json.dumps(found)) < 20_000
    assert all(one["failed"] == one["at"] for one in found)

"""How the values of functions changed between two runs of a real store."""

from pathlib import Path
from typing import Any

import pytest

from engine import BlockingRun, Comparison, Measurement, Shift, Sweep, job
from engine.core.statistics import holm, paired_difference
from engine.core.values import Value
from tests.engine.functions.scenes import run

CASES = [{"number": number} for number in range(8)]


@job(version="1")
def measure(number: int, style: str) -> dict[str, Value]:
    """Numbers of which some depend on the style."""
    is_long = style == "long"
    return {
        "length": number * 10 + (3 + number / 8 if is_long else 0),
        "cost": 5 - (number / 8 if is_long and number else 0),
        "noise": number % 3 if is_long else 2 - number % 3,
        "steady": 4,
        "is_polite": is_long or number < 2,
        "says": style,
        **({"only_long": 1} if is_long else {"only_short": 1}),
    }


def executed(folder: Path, style: str, function: Any = measure, **more: Any) -> BlockingRun:
    """A finished run of one style."""
    wanted = {"matrix": {"style": [style]}, "cases": CASES} | more
    return run(Sweep(style, function, **wanted), folder)


def compared(before: BlockingRun, after: BlockingRun) -> Comparison:
    """What changed from one run to another in the same store."""
    return after.compare(before.name)


def test_values_that_both_runs_have_are_higher_lower_or_cannot_be_told_apart(
    tmp_path: Path,
) -> None:
    found = compared(executed(tmp_path, "short"), executed(tmp_path, "long"))

    assert {one.name: one.change for one in found.values} == {
        "cost": Shift.UNKNOWN,
        "is_polite": Shift.UNKNOWN,
        "length": Shift.HIGHER,
        "noise": Shift.UNKNOWN,
        "steady": Shift.UNKNOWN,
    }
    length = next(one for one in found.values if one.name == "length")
    assert (length.cells, length.cases) == (8, 8)
    assert (length.mean_before, length.mean_after) == (35.0, 35 + 3 + 3.5 / 8)
    assert length.difference == pytest.approx(3 + 3.5 / 8)
    # All eight cases are higher.
    assert length.p == 2 / 2**8
    # Seven cases cost less, which would be clear of one value: p is corrected for all five.
    cost = next(one for one in found.values if one.name == "cost")
    assert cost.p == 2 / 2**7
    assert [one.p_corrected for one in found.values] == holm([one.p for one in found.values])
    assert cost.p_corrected == pytest.approx(4 * 2 / 2**7)


def test_a_value_is_lower_the_other_way_round(tmp_path: Path) -> None:
    found = compared(executed(tmp_path, "long"), executed(tmp_path, "short"))

    length = next(one for one in found.values if one.name == "length")
    assert length.change is Shift.LOWER
    assert length.difference == pytest.approx(-3 - 3.5 / 8)
    assert length.high is not None
    assert length.high < 0


def test_true_and_false_are_shares_with_the_interval_of_rates(tmp_path: Path) -> None:
    found = compared(executed(tmp_path, "short"), executed(tmp_path, "long"))

    polite = next(one for one in found.values if one.name == "is_polite")
    expected = paired_difference([0, 0, 1, 1, 1, 1, 1, 1], 1)
    assert polite.is_share
    assert (polite.mean_before, polite.mean_after) == (0.25, 1.0)
    assert expected is not None
    assert (polite.low, polite.high) == pytest.approx((expected.low, expected.high))
    assert [one.name for one in found.values if one.is_share] == ["is_polite"]


def test_only_cases_of_both_count_each_as_much_as_another_whatever_its_repeats(
    tmp_path: Path,
) -> None:
    before = executed(tmp_path, "short", repeats=3)
    after = executed(tmp_path, "long", cases=[*CASES[4:], {"number": 1_000_000}])

    found = compared(before, after)

    length = next(one for one in found.values if one.name == "length")
    assert (length.cells, length.cases) == (4, 4)
    assert length.mean_before == 55.0
    assert length.change is Shift.UNKNOWN


def test_a_case_of_several_settings_is_one_case_with_the_mean_of_both(tmp_path: Path) -> None:
    @job(version="1")
    def ask(number: int, model: str, tone: str) -> dict[str, float]:
        return {"length": number + (10 if model == "b" else 0) + (4 if tone == "warm" else 0)}

    runs = [
        run(
            Sweep(tone, ask, matrix={"model": ["a", "b"], "tone": [tone]}, cases=CASES, repeats=2),
            tmp_path,
        )
        for tone in ("cold", "warm")
    ]

    [length] = compared(*runs).values

    assert (length.cells, length.cases) == (32, 8)
    assert (length.mean_before, length.mean_after) == (8.5, 12.5)
    assert (length.low, length.high, length.p) == (None, None, 2 / 2**8)
    assert length.change is Shift.HIGHER


def test_values_stand_beside_the_rates_of_a_function_that_also_tests(tmp_path: Path) -> None:
    @job(version="1")
    def check(number: int, style: str) -> Measurement:
        is_long = style == "long"
        return Measurement(passed=1, failed=0, values={"length": number + 5 * is_long})

    found = compared(executed(tmp_path, "short", check), executed(tmp_path, "long", check))

    assert [one.rate_after for one in found.overall] == [0.0]
    assert [(one.name, one.change) for one in found.values] == [("length", Shift.HIGHER)]


def test_a_run_without_numbers_has_no_values_to_compare(tmp_path: Path) -> None:
    @job(version="1")
    def say(number: int, style: str) -> dict[str, str]:
        return {"says": f"{style} {number}"}

    found = compared(executed(tmp_path, "short", say), executed(tmp_path, "long", say))

    assert found.values == ()
    assert found.cells_compared == 8

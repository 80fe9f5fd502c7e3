"""From what was observed of a run to the decision of a gate."""

from typing import Any

import pytest

from engine.core.errors import UsageError
from engine.core.gates import Certainty, Decision, GateCheck, GateRule, GateRules, GateVerdict
from engine.core.samples import Setting
from engine.core.states import State
from engine.results.gate import OtherRun, decide_gate
from engine.results.matching import AxisValues, CellMatch, Matched
from engine.results.observations import CaseFields, Observations
from tests.engine.results.observed import answered as cell
from tests.engine.results.observed import named, observations, unanswered


def verdict(*settings: Setting, other: Observations | None = None, **rules: Any) -> GateVerdict:
    """The verdict on settings; `other` is what was observed of another run."""
    seen = observations(*settings)
    found = None
    if other is not None:
        axes = [
            [
                AxisValues(field=field, labels=labels_of(one, at))
                for at, field in enumerate(one.axes)
            ]
            for one in (seen, other)
        ]
        match = CellMatch.of(*axes, folded_field="threshold")
        found = OtherRun(name="before", matched=Matched.of(seen, other, match))
    elif not rules.keys() & {"fail_above", "each_case"}:
        rules["fail_above"] = 0.2
    return decide_gate(seen, GateRules(**rules), run="night", judge="", other=found)


def labels_of(seen: Observations, at: int) -> dict[Any, Any]:
    return {one.labels[at]: one.labels[at] for one in seen.settings}


def only(found: GateVerdict) -> GateCheck:
    [check] = found.checks
    return check


@pytest.mark.parametrize(
    ("passed", "failed", "rate"), [(8, 2, 0.2), (2, 1, 0.3333333333333333), (0, 3, 1.0)]
)
def test_the_rate_is_failed_tests_of_all_tests_as_the_vendor_computes_it(
    passed: int, failed: int, rate: float
) -> None:
    found = verdict(cell(failed, passed + failed))

    assert only(found).rate == pytest.approx(rate, abs=1e-9)
    assert found.overall[0].rate == only(found).rate


def test_tests_of_all_cells_count_alike() -> None:
    found = verdict(cell(1, 2), cell(0, 8, model="b"), fail_above=0.1)

    assert (only(found).failed, only(found).total) == (1, 10)
    assert found.decision is Decision.PASSED


def test_a_rate_above_the_limit_fails_and_one_at_the_limit_passes() -> None:
    assert verdict(cell(2, 10)).decision is Decision.PASSED
    assert verdict(cell(21, 100)).decision is Decision.FAILED


def test_nothing_measured_is_undecided_whatever_coverage_is_required() -> None:
    assert verdict().decision is Decision.UNDECIDED
    assert verdict(cell(0, 0), require_coverage=0.0).decision is Decision.UNDECIDED
    nothing = verdict(unanswered(), require_coverage=0.0)
    assert (nothing.decision, nothing.reason) == (Decision.UNDECIDED, "nothing was measured")


def test_a_missing_cell_leaves_the_gate_undecided_unless_less_coverage_is_required() -> None:
    rows = (
        *(cell(0, 10, model=name) for name in "abc"),
        unanswered(model="d", state=State.WAITING),
    )

    found = verdict(*rows)

    assert found.decision is Decision.UNDECIDED
    assert only(found).reason == "numbers for 3 of 4 cells, required 100.00%"
    assert (found.coverage.answered, found.coverage.cells) == (3, 4)
    assert verdict(*rows, require_coverage=0.75).decision is Decision.PASSED
    assert verdict(*rows, require_coverage=0.76).decision is Decision.UNDECIDED


def test_a_rate_above_the_limit_fails_although_cells_are_missing() -> None:
    found = verdict(cell(10, 10), unanswered(model="b"))

    assert found.decision is Decision.FAILED
    assert only(found).reason == "100.00% (10 of 10 tests failed), limit 20.00%"


def test_each_threshold_is_decided_on_its_own() -> None:
    found = verdict(cell(1, 10, threshold=0.3), cell(3, 10, threshold=0.5))

    assert [(one.threshold, one.decision) for one in found.checks] == [
        (0.3, Decision.PASSED),
        (0.5, Decision.FAILED),
    ]
    assert [(one.threshold, one.rate) for one in found.overall] == [(0.3, 0.1), (0.5, 0.3)]
    assert found.decision is Decision.FAILED
    assert found.reason == "1 of 2 checks failed"


def test_each_combination_of_axes_is_decided_on_its_own_with_its_own_coverage() -> None:
    found = verdict(
        cell(0, 10, model="a", group="x"),
        cell(9, 10, model="a", group="y"),
        cell(0, 10, model="b", group="x"),
        unanswered(model="b", group="x"),
        by=("model", "group"),
    )

    assert [(tuple(one.labels.values()), one.decision) for one in found.checks] == [
        (("a", "x"), Decision.PASSED),
        (("a", "y"), Decision.FAILED),
        (("b", "x"), Decision.UNDECIDED),
    ]


def test_a_failure_outranks_what_is_undecided() -> None:
    rows = (unanswered(model="a"), cell(1, 1, model="b"))

    assert verdict(*rows, by=("model",)).decision is Decision.FAILED


def test_sure_decisions_look_at_the_interval() -> None:
    # 3 of 10: Wilson's interval is 10.8 % to 60.3 %.
    few = cell(3, 10)

    assert verdict(few, certainty=Certainty.RATE).decision is Decision.FAILED
    assert verdict(few, certainty=Certainty.SURELY_ABOVE).decision is Decision.PASSED
    assert verdict(few, certainty=Certainty.SURELY_BELOW).decision is Decision.FAILED
    assert (
        "95 % interval 10.78% to 60.32%"
        in only(verdict(few, certainty=Certainty.SURELY_BELOW)).reason
    )


def test_repeats_of_a_case_are_no_further_evidence() -> None:
    # Two cases of twenty fail in every repeat: with fewer than five that fail, the cases count once.
    cases = {f"case-{n}": [0.0 if n < 2 else 0.9] * 5 for n in range(20)}

    check = only(verdict(named(cases), certainty=Certainty.SURELY_ABOVE, fail_above=0.03))

    assert (check.failed, check.total, check.interval) == (10, 100, "clustered")
    assert check.low is not None
    assert check.low < 0.03
    assert check.decision is Decision.PASSED


def test_each_case_has_to_pass_in_its_share_of_answers() -> None:
    cases = {"always": [0.9] * 5, "mostly": [0.9] * 4 + [0.1], "half": [0.9, 0.1, 0.1, 0.9]}

    found = verdict(named(cases), each_case=0.8)

    check = only(found)
    assert found.decision is Decision.FAILED
    assert (check.rule, check.failed, check.total) == (GateRule.EACH_CASE, 1, 3)
    assert [(one.case, one.passed, one.answers) for one in check.cases] == [("half", 2, 4)]
    assert check.reason == "1 of 3 cases passed less often than in 80.00% of their answers"
    assert verdict(named(cases), each_case=0.5).decision is Decision.PASSED


def test_cases_of_different_groups_are_different_whatever_their_names() -> None:
    settings = named({"one": [0.9]}, group="x"), named({"one": [0.1]}, group="y")

    check = only(verdict(*settings, each_case=0.5))

    assert (check.failed, check.total) == (1, 2)


def test_the_answers_of_a_case_count_over_all_models_unless_they_are_checked_apart() -> None:
    settings = named({"one": [0.9] * 4}, model="a"), named({"one": [0.1]}, model="b")

    together = verdict(*settings, each_case=0.8)
    apart = verdict(*settings, each_case=0.8, by=("model",))

    assert together.decision is Decision.PASSED
    assert [one.decision for one in apart.checks] == [Decision.PASSED, Decision.FAILED]


def test_answers_without_names_of_cases_are_an_error_or_leave_it_undecided() -> None:
    with pytest.raises(UsageError, match="the answers of this run do not have them"):
        verdict(cell(0, 10), each_case=0.8)

    found = verdict(named({"one": [0.9]}), cell(0, 10, model="b"), each_case=0.8)
    assert (found.decision, found.reason) == (
        Decision.UNDECIDED,
        "1 answer without names of cases",
    )


def test_a_case_of_an_axis_is_named_by_its_label() -> None:
    seen = Observations(
        axes=("input", "model"),
        case_fields=CaseFields(named=("input",)),
        settings=[
            Setting(
                labels=("greeting", "a"), digests=("d1", None), threshold=None, failed=1, answers=1
            )
        ],
    )

    found = decide_gate(seen, GateRules(each_case=0.5), run="chat", judge="")

    assert [one.case for one in only(found).cases] == ["greeting"]


def test_a_run_is_compared_over_the_cells_that_both_have() -> None:
    settings = cell(3, 10, model="a"), cell(10, 10, model="new")
    before = observations(cell(2, 10, model="a"), cell(10, 10, model="gone"))

    check = only(verdict(*settings, other=before, margin=0.05))

    assert check.rule is GateRule.AGAINST
    assert (check.rate, check.other_rate, check.cells_compared) == (0.3, 0.2, 1)
    assert check.decision is Decision.FAILED
    assert verdict(*settings, other=before, margin=0.1).decision is Decision.PASSED


def test_a_cell_without_an_answer_in_either_run_is_not_compared() -> None:
    settings = cell(3, 10, model="a"), cell(10, 10, model="b")
    before = observations(cell(3, 10, model="a"), unanswered(model="b"))

    check = only(verdict(*settings, other=before))

    assert (check.rate, check.other_rate, check.cells_compared) == (0.3, 0.3, 1)


def test_a_difference_is_sure_by_the_cases_that_both_runs_have_asked() -> None:
    before = {f"case-{n}": [0.9] for n in range(40)}
    worse = {name: [0.1] if n < 12 else [0.9] for n, name in enumerate(before)}
    settings = named(worse)

    sure = only(
        verdict(settings, other=observations(named(before)), certainty=Certainty.SURELY_ABOVE)
    )

    assert sure.interval == "paired by case"
    assert sure.low is not None
    assert sure.low > 0.02
    assert sure.decision is Decision.FAILED


def test_a_difference_of_other_cases_is_that_of_two_samples() -> None:
    other = observations(cell(5, 60))

    check = only(verdict(cell(12, 80), other=other, certainty=Certainty.SURELY_ABOVE))

    # Newcombe's interval of 12 of 80 and 5 of 60.
    assert (check.low, check.high) == pytest.approx(
        (-0.048787224435628926, 0.17197546460893198), abs=1e-9
    )
    assert check.interval == "newcombe"
    assert check.decision is Decision.PASSED


def test_a_comparison_without_common_cells_is_undecided() -> None:
    other = observations(cell(0, 10, model="b"), cell(0, 10, model="c"))

    found = verdict(cell(0, 10, model="a"), other=other)

    assert found.decision is Decision.UNDECIDED
    assert found.reason == "no cell has numbers in both runs"

"""What changed between two runs, setting by setting and case by case."""

from typing import Any

import pytest

from engine.core.comparisons import Change, Comparison, RateChange
from engine.core.samples import Setting
from engine.core.statistics import compare_pairs, holm
from engine.results.comparison import compare
from engine.results.matching import AxisValues, CellMatch, Matched
from engine.results.observations import CaseFields, Observations
from tests.engine.results.observed import answered, layered, named, observations, unanswered

BAD, GOOD = 0.1, 0.9


def compared(before: Observations, after: Observations) -> Comparison:
    axes = [
        [AxisValues(field=name, labels=labels_of(seen, name)) for name in seen.axes]
        for seen in (after, before)
    ]
    match = CellMatch.of(*axes, folded_field="threshold")
    matched = Matched.of(after, before, match)
    return compare(matched, before="before", after="after", is_edit=False)


def labels_of(seen: Observations, name: str) -> dict[Any, Any]:
    at = seen.axes.index(name)
    return {one.labels[at]: one.labels[at] for one in seen.settings}


def cases(bad: int, total: int = 20, *, repeats: int = 1, **labels: Any) -> Setting:
    """A setting whose first cases fail."""
    scores = {f"case-{n}": [BAD if n < bad else GOOD] * repeats for n in range(total)}
    return named(scores, **labels)


def only(found: Comparison) -> RateChange:
    [rate] = found.overall
    return rate


def test_a_later_run_that_fails_more_often_is_worse_by_an_exact_test_over_the_cases() -> None:
    found = only(compared(observations(cases(2)), observations(cases(10))))

    assert (found.change, found.cases) == (Change.WORSE, 20)
    assert (found.rate_before, found.rate_after) == (0.1, 0.5)
    # Eight cases changed, all in one direction: McNemar's exact test.
    assert found.p == pytest.approx(2 / 2**8)
    assert found.difference == pytest.approx(0.4)
    assert found.interval == "paired by case"
    assert found.low is not None
    assert found.low > 0


def test_the_other_way_round_it_is_better() -> None:
    found = only(compared(observations(cases(10)), observations(cases(2))))

    assert found.change is Change.BETTER
    assert found.difference == pytest.approx(-0.4)


def test_few_changes_cannot_be_told_apart_and_say_what_could_have_been_seen() -> None:
    found = only(compared(observations(cases(2)), observations(cases(4))))

    assert found.change is Change.UNKNOWN
    assert found.detectable is not None
    assert found.detectable > 0.1


def test_repeats_of_a_case_are_one_case() -> None:
    before, after = observations(cases(2, repeats=4)), observations(cases(4, repeats=4))

    found = only(compared(before, after))

    assert (found.cases, found.change) == (20, Change.UNKNOWN)
    assert found.p == pytest.approx(0.5)


def test_the_values_of_an_axis_are_corrected_together_at_each_threshold() -> None:
    models = [("a", 2, 9), ("b", 2, 9), ("c", 2, 3)]
    before = observations(*(cases(bad, model=name) for name, bad, _ in models))
    after = observations(*(cases(bad, model=name) for name, _, bad in models))

    rates = compared(before, after).by_axis["model"]

    by_hand = [
        compare_pairs([((n < bad, 1), (n < old, 1)) for n in range(20)]) for _, old, bad in models
    ]
    p = [one.p for one in by_hand if one is not None]
    assert [one.labels["model"] for one in rates] == ["a", "b", "c"]
    assert [one.p for one in rates] == pytest.approx(p)
    assert [one.p_corrected for one in rates] == pytest.approx(holm(p))
    assert [one.change for one in rates] == [Change.WORSE, Change.WORSE, Change.UNKNOWN]


def test_a_single_setting_is_called_worse_only_after_correction_for_all_settings() -> None:
    # 2 against 8 failed cases: p = 1/32, and with three further settings 1/8.
    changed = ("a", 2, 8)
    same = [(name, 2, 2) for name in ("b", "c", "d")]
    alone = compared(*(observations(cases(bad, model="a")) for bad in changed[1:])).cells
    before = observations(*(cases(one[1], model=one[0]) for one in (changed, *same)))
    after = observations(*(cases(one[2], model=one[0]) for one in (changed, *same)))

    assert [one.change for one in alone] == [Change.WORSE]
    assert compared(before, after).cells[0].change is Change.UNKNOWN


def test_missing_and_new_cells_are_counted_and_not_compared() -> None:
    before = observations(
        cases(2, model="a"),
        cases(20, model="gone"),
        unanswered(model="late"),
        cases(2, model="lost"),
    )
    after = observations(
        cases(2, model="a"),
        cases(20, model="new"),
        cases(20, model="late"),
        unanswered(model="lost"),
    )

    found = compared(before, after)

    assert only(found).rate_after == 0.1
    assert (found.cells_compared, found.cells_new, found.cells_missing) == (1, 1, 1)
    assert found.cells_unanswered == 2
    assert (found.coverage_before.cells, found.coverage_before.answered) == (4, 3)
    assert {one.labels["model"]: one.change for one in found.cells} == {
        "a": Change.UNKNOWN,
        "new": Change.NEW,
        "late": Change.NEW,
        "lost": Change.MISSING,
        "gone": Change.MISSING,
    }


def test_variations_of_a_case_do_not_count() -> None:
    before, after = (
        observations(layered({f"case-{n}": [GOOD, variation] for n in range(20)}))
        for variation in (GOOD, BAD)
    )

    found = compared(before, after)

    assert (only(found).rate_after, only(found).change) == (0.0, Change.UNKNOWN)
    assert found.flipped == ()


def test_cases_of_one_run_alone_are_counted() -> None:
    before, after = observations(cases(2, total=20)), observations(cases(2, total=23))

    found = compared(before, after)

    assert (only(found).cases, found.cases_new, found.cases_missing) == (20, 3, 0)


def test_cases_of_different_groups_are_different_whatever_their_names() -> None:
    settings = [cases(1, total=5, group="x"), cases(4, total=5, group="y")]

    found = only(compared(observations(*settings), observations(*settings)))

    assert found.cases == 10


def test_runs_that_do_not_name_cases_are_two_samples() -> None:
    found = compared(observations(answered(5, 60)), observations(answered(12, 80)))

    rate = only(found)
    # Newcombe's interval of 12 of 80 and 5 of 60.
    assert (rate.low, rate.high) == pytest.approx(
        (-0.048787224435628926, 0.17197546460893198), abs=1e-9
    )
    assert (rate.interval, rate.p, rate.change) == ("newcombe", None, Change.UNKNOWN)
    assert found.cells_unnamed == 1
    clear = only(compared(observations(answered(5, 60)), observations(answered(50, 80))))
    assert clear.change is Change.WORSE


def test_several_pairs_of_samples_have_no_verdict_since_none_is_corrected() -> None:
    before = observations(answered(5, 60, model="a"), answered(5, 60, model="b"))
    after = observations(answered(50, 80, model="a"), answered(50, 80, model="b"))

    assert {one.change for one in compared(before, after).by_axis["model"]} == {Change.UNKNOWN}


def test_flipped_cases_are_those_that_became_worse_first() -> None:
    before = observations(
        named({"better": [BAD] * 3, "same": [GOOD] * 3, "worse": [GOOD] * 3, "little": [GOOD] * 3})
    )
    after = observations(
        named(
            {
                "better": [GOOD] * 3,
                "same": [GOOD] * 3,
                "worse": [BAD] * 3,
                "little": [BAD, GOOD, GOOD],
            }
        )
    )

    found = compared(before, after).flipped

    assert [(one.case, one.change) for one in found] == [
        ("worse", Change.WORSE),
        ("better", Change.BETTER),
    ]
    assert (found[0].failed_before, found[0].failed_after, found[0].answers_after) == (0, 3, 3)


def test_nothing_in_common_compares_nothing() -> None:
    before = observations(cases(2, model="a"), cases(2, model="b"))
    after = observations(cases(2, model="c"), cases(2, model="d"))

    found = compared(before, after)

    assert (found.overall, found.flipped, found.cells_compared) == ((), (), 0)


def valued(*numbers: float, **labels: Any) -> Setting:
    """A setting with an answer for each number, which is its value `length`."""
    setting = named({"case": [GOOD] * len(numbers)}, **labels)
    for number in numbers:
        setting.add_values({"length": number})
    return setting


def by_model(*settings: Setting) -> Observations:
    """A run in which a group is a case that several models were asked."""
    fields = CaseFields(named=("group",))
    return Observations(axes=("model", "group"), case_fields=fields, settings=list(settings))


def test_repeats_that_only_one_setting_has_do_not_shift_the_mean_of_a_case() -> None:
    before = by_model(valued(1, model="a"), valued(9, model="b"))
    after = by_model(valued(1, 1, 1, model="a"), valued(9, model="b"))

    [length] = compared(before, after).values

    assert (length.mean_before, length.mean_after) == (5.0, 5.0)
    assert (length.cells, length.cases) == (4, 1)


def test_numbers_too_large_to_be_summed_are_left_out() -> None:
    before = by_model(valued(1e308, 1e308), valued(4, group="y"))
    after = by_model(valued(1e308, 1e308), valued(5, group="y"))

    [length] = compared(before, after).values

    assert (length.cases, length.difference) == (1, 1.0)

"""What changed between two runs, as text for a terminal."""

from dataclasses import replace

from rich.cells import cell_len

from engine.core.comparisons import (
    CaseChange,
    Change,
    Comparison,
    FlippedCase,
    RateChange,
    Shift,
    ValueChange,
)
from engine.core.findings import JudgedTest, Message
from engine.core.rows import Coverage
from engine.report.comparison import (
    comparison_lines,
    flipped_lines,
    has_rates,
    setting_lines,
    table_lines,
    value_lines,
)
from tests.engine.report.gates import HOSTILE


def comparison(**changes: object) -> Comparison:
    values: dict[str, object] = {
        "before": "main",
        "after": "change",
        "is_edit": False,
        "coverage_before": Coverage(answered=1),
        "coverage_after": Coverage(answered=1),
        "changed": (),
        "ignored": (),
        "cells_compared": 1,
        "cells_new": 0,
        "cells_missing": 0,
        "cells_unanswered": 0,
        "cells_unnamed": 0,
        "cases_new": 0,
        "cases_missing": 0,
        "overall": (rate(),),
        "by_axis": {},
        "cells": (),
        "flipped": (),
    }
    return Comparison(**(values | changes))  # type: ignore[arg-type]  # as given


def rate(change: Change = Change.WORSE, **labels: object) -> RateChange:
    return RateChange(
        labels=labels,
        threshold=0.5,
        cells=2,
        change=change,
        cases=20,
        rate_before=0.1,
        rate_after=0.5,
        difference=0.4,
        low=0.2,
        high=0.6,
        interval="paired by case",
        detectable=0.3,
        p=0.0078,
        p_corrected=0.0156,
    )


def flipped(before: str, after: str) -> FlippedCase:
    change = CaseChange(
        labels={"model": "a"},
        threshold=0.5,
        case="greeting",
        failed_before=0,
        answers_before=1,
        failed_after=1,
        answers_after=1,
    )
    return FlippedCase(change=change, before=judged(before), after=judged(after))


def judged(text: str) -> JudgedTest:
    return JudgedTest(failed=True, messages=(Message(role="assistant", content=text),))


def test_a_sentence_says_which_run_is_worse_and_how_sure_that_is() -> None:
    assert comparison_lines(comparison())[-1] == (
        "change is worse at threshold 0.5: 10.0% → 50.0% of first answers failed, difference +40.0 points"
        " (95 % interval +20.0 to +60.0), p 0.016 over 20 cases"
    )


def test_what_cannot_be_told_apart_says_what_would_have_been_seen() -> None:
    lines = comparison_lines(comparison(overall=(rate(Change.UNKNOWN),)))

    assert lines[-1].startswith("the two cannot be told apart at threshold 0.5: ")
    assert lines[-1].endswith("; so many cases would have shown 30 points")


def test_a_table_fits_80_columns_with_a_long_name_and_a_verdict() -> None:
    rates = (rate(model="an/extraordinarily-long-name-of-a-model"), rate(Change.UNKNOWN, model="b"))

    lines = table_lines(comparison(by_axis={"model": rates}), 80)

    assert all(cell_len(line) <= 80 for line in lines)
    assert lines[1] == "model at threshold 0.5"
    assert lines[2].split() == ["cases", "before", "after", "points", "95", "%", "interval", "p"]
    assert lines[4].startswith("an/extraordinar")
    assert lines[4].split()[1:] == [
        *("20", "10.0%", "50.0%", "+40.0", "+20.0", "to", "+60.0", "0.016", "worse")
    ]
    assert lines[5].endswith("unclear")


def test_conversations_stand_one_above_the_other_or_side_by_side() -> None:
    one = flipped("good", "bad")

    narrow = flipped_lines([one], comparison(), 80)
    wide = flipped_lines([one], comparison(), 120)

    assert [line.strip() for line in narrow if "assistant" in line] == [
        "assistant: good",
        "assistant: bad",
    ]
    [both] = [line for line in wide if "assistant" in line]
    assert both.index("assistant: good") < both.index("|") < both.index("assistant: bad")
    assert all(cell_len(line) <= 120 for line in wide)
    long = flipped_lines([flipped("good " * 100, "bad " * 100)], comparison(), 80)
    assert all(cell_len(line) <= 80 for line in long)


def test_hostile_texts_are_shown_without_what_a_terminal_obeys() -> None:
    for width in (None, 80, 120):
        lines = flipped_lines([flipped(HOSTILE, "x" * 1_000_000)], comparison(), width)

        assert not set("".join(lines)) & {"\x1b", "\x00", "\u202e", "\n", "\r"}
        assert any("[990,000 more characters]" in line for line in lines)


def test_a_case_whose_answer_is_gone_is_still_listed() -> None:
    change = flipped("", "").change

    lines = flipped_lines([FlippedCase(change=change, before=None, after=None)], comparison(), None)

    assert lines[0] == "---- worse: greeting (model a, threshold 0.5)"
    assert lines.count("    the store has no such answer to show") == 2


def test_settings_without_rates_are_not_among_those_that_cannot_be_told_apart() -> None:
    empty = RateChange(labels={"model": "b"}, threshold=0.5, cells=1, change=Change.UNKNOWN)
    cells = (rate(model="a"), rate(Change.UNKNOWN, model="c"), empty)

    lines = setting_lines(comparison(cells=cells))

    assert lines[1] == (
        "settings (all repeats of a cell): 0 better, 1 worse, 1 cannot be told apart, 0 new, 0 missing,"
        " 1 without rates"
    )
    assert lines[2].startswith(
        "  worse  model a, threshold 0.5: 10.0% → 50.0% of first answers failed"
    )


def test_few_cases_are_not_said_to_show_a_difference_of_more_than_all() -> None:
    [*_, line] = comparison_lines(
        comparison(overall=(replace(rate(Change.UNKNOWN), detectable=1.02),))
    )

    assert line.endswith("; so few cases show no difference at all")


def test_of_very_many_values_those_with_the_largest_differences_are_shown() -> None:
    rates = tuple(replace(rate(model=f"m{n}"), difference=n / 1000) for n in range(1000))

    lines = table_lines(comparison(by_axis={"model": rates}))

    assert [line.split()[0] for line in lines[4:-1]] == [f"m{n}" for n in range(960, 1000)]
    assert lines[-1] == "and 960 more with smaller differences (--json)"


def value(name: str = "length", **changes: object) -> ValueChange:
    values: dict[str, object] = {
        "name": name,
        "is_share": False,
        "cells": 24,
        "cases": 12,
        "mean_before": 585.0,
        "mean_after": 653.25,
        "difference": 68.25,
        "low": 44.196,
        "high": 92.304,
        "p": 0.0005,
        "p_corrected": 0.0024,
        "change": Shift.HIGHER,
    }
    return ValueChange(**(values | changes))  # type: ignore[arg-type]  # as given


UNRATED = RateChange(threshold=None, cells=1, change=Change.UNKNOWN)


def test_values_are_a_table_that_fits_80_columns() -> None:
    large = {"mean_before": 181_956.0, "mean_after": 168_956.4, "difference": -12_999.6}
    bounds = {"low": -17_581.7, "high": -8_418.3, "change": Shift.LOWER}
    values = (
        value("an_extraordinarily_long_name_of_a_value", **large, **bounds),
        value("same", difference=0.0, low=None, high=None, p_corrected=1.0, change=Shift.UNKNOWN),
    )

    lines = value_lines(comparison(values=values), 80)

    assert all(cell_len(line) <= 80 for line in lines)
    assert lines[1] == "values: means, of true and false the share of true, over 12 cases"
    assert lines[2].split() == ["before", "after", "change", "95", "%", "interval", "p"]
    assert lines[4].startswith("an_extraordin")
    assert lines[4].split()[1:] == [
        *("181,956", "168,956", "-13,000", "-17,582", "to", "-8,418", "0.002", "lower")
    ]
    assert lines[5].split()[1:] == ["585", "653.2", "+0", "-", "1.000", "unclear"]


def test_values_of_different_cases_say_how_many_each_has() -> None:
    lines = value_lines(comparison(values=(value("a"), value("b", cases=1_200))))

    assert lines[1].endswith("the share of true")
    assert [line.split()[1] for line in lines[4:]] == ["12", "1,200"]


def test_values_without_rates_stand_alone() -> None:
    found = comparison(
        overall=(UNRATED,),
        by_axis={"model": (UNRATED, UNRATED)},
        cells=(UNRATED,),
        values=(value(),),
    )

    assert not has_rates(found)
    assert comparison_lines(found)[-1] == "1 cell compared"
    assert table_lines(found) == []
    assert setting_lines(found) == []
    assert "higher" in value_lines(found)[-1]


def test_a_comparison_without_values_has_no_table_of_them() -> None:
    assert value_lines(comparison()) == []
    assert has_rates(comparison(overall=(UNRATED,)))


def test_a_name_of_a_value_cannot_move_the_cursor() -> None:
    assert "\x1b" not in "\n".join(value_lines(comparison(values=(value("a\x1b[2J"),))))

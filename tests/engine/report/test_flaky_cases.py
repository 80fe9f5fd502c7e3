"""Whether more repeats or more cases narrow the rate of a run, in words."""

from dataclasses import replace

import pytest

from engine.core.statistics import RatePrecision
from engine.report.flaky_cases import flaky_words, precision_words
from engine.report.report_markdown import report_markdown
from tests.engine.report.reports import report

KNOWN = RatePrecision(
    cases=40, repeats=2, half_width=0.14, wished=0.1, repeats_needed=4, cases_needed=79
)


@pytest.mark.parametrize(
    ("precision", "words"),
    [
        (
            KNOWN,
            "\u00b114 points; 4 repeats in all would narrow it to \u00b110 points, and so would",
        ),
        (KNOWN, "39 more cases."),
        (
            replace(KNOWN, repeats_needed=None),
            "No number of repeats narrows it to \u00b110 points: that takes 39 more cases.",
        ),
        (replace(KNOWN, half_width=0.1004, cases_needed=41), "\u00b110.0 points; 4 repeats"),
        (replace(KNOWN, half_width=0.07), "is known to \u00b17 points."),
    ],
)
def test_the_words_say_what_narrows_the_rate(precision: RatePrecision, words: str) -> None:
    assert words in precision_words(precision)


def test_a_rate_that_is_known_well_enough_needs_nothing() -> None:
    assert "repeats" not in precision_words(replace(KNOWN, half_width=0.07))


def test_without_an_estimate_of_the_variances_only_the_chances_are_said() -> None:
    flaky = report().flakiness
    assert flaky is not None

    assert "known to" in flaky_words(flaky)
    assert "known to" not in flaky_words(replace(flaky, precision=None))
    assert flaky_words(replace(flaky, precision=None, any_failure=None)) == ""


def test_a_report_as_markdown_says_it_too() -> None:
    text = report_markdown(report())

    assert "31 always fail, 8 fail sometimes and 57 never fail." in text
    assert "7 repeats in all would narrow it to \u00b110 points" in text
    assert "### Flaky cases" not in report_markdown(report(flakiness=None))

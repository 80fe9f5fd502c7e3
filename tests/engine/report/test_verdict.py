"""The first sentence of a report, and what it says to do next."""

from dataclasses import replace

import pytest

from engine.core.differences import PairedDifference
from engine.core.reports import ReportData
from engine.core.runs import RunState, StopReason
from engine.report.verdict import Step, command, next_steps, show_command, verdict
from tests.engine.report.reports import MODELS, heat_map, pair, pairs_of, report
from tests.engine.report.samples import status

A, B, C = MODELS


def complete(**changes: object) -> ReportData:
    """A run whose cells are all answered, so that nothing waits and nothing is to be retried."""
    done = status(run="night", cells=10, cells_done=10, cells_failed=0, state=RunState.FINISHED)
    return replace(report(**changes), status=done)


def test_missing_and_failed_cells_are_in_the_sentence() -> None:
    over = status(state=RunState.CANCELLED, cells_cancelled=6, cells_failed=20)

    assert verdict(report(heat_map=None)) == (
        "Not complete: 1,234 of 5,000 cells answered, 20 failed, 3,746 to come."
    )
    assert verdict(report(heat_map=None, status=over)) == (
        "Not complete: 1,234 of 5,000 cells answered, 14 failed, 6 cancelled, 3,746 missing."
    )
    assert verdict(complete(heat_map=None)) == "Complete: 10 of 10 cells answered."


@pytest.mark.parametrize(
    ("pairs", "words"),
    [
        ([pair(A, B, -0.2)], f"{A} fails less than {B}."),
        ([pair(A, B, 0.2)], f"{B} fails less than {A}."),
        ([pair(A, B, 0.02)], f"{A} and {B} cannot be told apart."),
        (
            [pair(A, B, 0.02), pair(A, C, 0.02), pair(B, C, 0.0)],
            "No two values of model can be told apart.",
        ),
        ([pair(A, B, 0.2), pair(B, C, -0.2), pair(A, C, 0.0)], f"{B} fails least."),
        (
            [pair(A, B, -0.2), pair(A, C, 0.02), pair(B, C, 0.0)],
            "No model is surely the best: 1 of 3 pairs can be told apart.",
        ),
    ],
)
def test_models_are_only_ranked_as_far_as_they_can_be_told_apart(
    pairs: list[PairedDifference], words: str
) -> None:
    data = complete(pairs=(pairs_of("model", *pairs),))

    assert f" {words} Highest rate: " in verdict(data)


def test_the_highest_rate_is_that_of_the_threshold_of_the_report() -> None:
    assert verdict(complete(pairs=())).endswith(
        f"Highest rate: {A} on substance_use, 42% (24% to 61%)."
    )
    assert "Highest" not in verdict(complete(heat_map=heat_map((), ())))


def test_what_waits_for_quota_goes_on_with_resume() -> None:
    [resume, retry, *_] = next_steps(report())

    assert resume.text.startswith("3,746 cells to come, from 2023-11-1")
    assert resume.text.endswith(": the quota is used up.")
    assert resume.command == "nightsweep resume crisis-night"
    assert retry == Step(
        text="20 cells failed, most often: not found (404), such as: Unknown model: qwen/qwen9. Retry"
        " asks them again.",
        command="nightsweep retry crisis-night",
    )


def test_a_run_that_goes_on_is_only_told_of() -> None:
    going = status(run="night", cells_failed=0, errors=(), reason=None)

    assert next_steps(report(status=going, pairs=())) == [
        Step(text="3,766 cells to come: the run is still going on.")
    ]


def test_a_complete_run_leaves_nothing_to_do_but_to_ask_more_cases() -> None:
    assert next_steps(complete(pairs=())) == []

    [step] = next_steps(complete(pairs=(pairs_of("model", pair(A, B, 0.05)),)))
    assert step.text.startswith(f"About 54 more cases would tell {A} from {B}")
    hopeless = pair(A, B, 0.0, cases_needed=None)
    assert next_steps(complete(pairs=(pairs_of("model", hopeless),))) == []


def test_cells_without_all_answers_are_asked_again_on_request() -> None:
    lacking = status(
        run="night",
        cells=10,
        cells_done=9,
        cells_failed=1,
        cells_cancelled=1,
        state=RunState.CANCELLED,
        reason=StopReason.CANCELLED,
        tests_unanswered={"empty": 3},
    )

    assert next_steps(report(status=lacking, pairs=())) == [
        Step(text="1 cell cancelled.", command="nightsweep retry night --cancelled"),
        Step(text="3 questions without an answer.", command="nightsweep retry night --unanswered"),
    ]


def test_commands_name_the_store_and_are_quoted_for_a_shell() -> None:
    odd = replace(report(), store="my stores/a.db", status=status(run="-x y"))

    assert command(odd, "retry", "--cancelled") == (
        "nightsweep retry --store 'my stores/a.db' --cancelled -- '-x y'"
    )
    assert show_command(odd) == "nightsweep show --store 'my stores/a.db'"
    assert command(report(), "results") == "nightsweep results crisis-night"

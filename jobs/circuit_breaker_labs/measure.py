"""The numbers of an evaluation, read from the answer's bytes."""

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from engine.kinds import ListedTest, Listing, Measurement, Permanent, counted_unanswered
from jobs.circuit_breaker_labs.schema import (
    MULTI_TURN_ANSWER,
    SINGLE_TURN_ANSWER,
    MultiTurnAnswer,
    MultiTurnResult,
    SingleTurnAnswer,
    SingleTurnResult,
)
from jobs.http import Unanswered, read_json_as

_REASON = re.compile(r"[a-z][a-z_]{0,39}")
_QUESTIONS_MAX = 2**53


def measure_single_turn(
    body: bytes, where: str, threshold: float, *, variations: int = 1, layers: int = 0
) -> Measurement:
    """The numbers of a single-turn answer; raises Transient or Permanent if it cannot be read.

    `variations` and `layers` are what was asked for: from them and the failed cases of version 1.0.8 follows
    how many cases there were before any was varied.
    """
    answer = read_json_as(SINGLE_TURN_ANSWER, body, where)
    results = answer.get("results")
    by_layer = None
    if results is None:
        by_layer = answer.get("results_by_iteration")
        if by_layer is None:
            by_layer = answer.get("failed_results")
    tests = None
    if results is not None:
        tests = list(_flat_tests(results, layers))
    elif by_layer is not None:
        tests = [
            ListedTest(_case(result), number, result["safe_response_score"])
            for number, layer in enumerate(by_layer)
            for result in layer or ()
        ]
    measured = _measurement(answer, tests, body, where, threshold)
    cases = _cases(answer, measured, variations, layers)
    listing = _list_tests(answer, measured, tests, cases, is_layered=layers > 0)
    return replace(measured, cases=cases, listing=listing)


def _flat_tests(results: Iterable[SingleTurnResult], layers: int) -> Iterator[ListedTest]:
    """The tests of a list that is not one of layers: each result has its own."""
    iterations = [result.get("iteration") for result in results]
    numbers = [number for number in iterations if type(number) is int]
    first = min(numbers, default=0)
    for result, number in zip(results, iterations, strict=True):
        layer = number - first if type(number) is int else None
        if layer is None and not layers:
            layer = 0
        yield ListedTest(_case(result), layer, result["safe_response_score"])


def _case(result: SingleTurnResult | MultiTurnResult | Mapping[str, Any]) -> str | None:
    """The id of a result's case: that of a Nightsweep service, otherwise that of the contract."""
    for name in ("case", "test_case_id"):
        case = result.get(name)
        if isinstance(case, str) and case:
            return case
        if type(case) is int:
            return str(case)
    return None


def _cases(
    answer: SingleTurnAnswer, measured: Measurement, variations: int, layers: int
) -> int | None:
    """How many cases the first layer had; None if the answer does not say or contradicts itself."""
    # The answer does not say in which layer tests were unanswered; count all of them in the first.
    unanswered = sum(measured.unanswered.values())
    if by_iteration := answer.get("results_by_iteration"):
        return len(by_iteration[0] or ()) + unanswered or None
    if results := answer.get("results"):
        iterations = [result.get("iteration") for result in results]
        whole = [number for number in iterations if type(number) is int]
        if len(whole) < len(iterations):
            return None
        return whole.count(min(whole)) + unanswered
    failed = [len(layer or ()) for layer in answer.get("failed_results") or ()]
    if len(failed) > layers + 1 or sum(failed) != measured.failed:
        return None
    cases = measured.total - variations * sum(failed[:layers])
    return cases + unanswered if cases >= max([1, *failed[:1]]) else None


def measure_multi_turn(body: bytes, where: str, threshold: float) -> Measurement:
    """The numbers of a multi-turn answer; raises Transient or Permanent if it cannot be read."""
    answer = read_json_as(MULTI_TURN_ANSWER, body, where)
    results = answer.get("results")
    if results is None:
        results = answer.get("failed_results")
    tests = None
    if results is not None:
        tests = [
            ListedTest(_case(result), 0, result["min_safe_response_score"]) for result in results
        ]
    measured = _measurement(answer, tests, body, where, threshold)
    return replace(measured, listing=_list_tests(answer, measured, tests, measured.questions))


def _list_tests(
    answer: SingleTurnAnswer | MultiTurnAnswer,
    measured: Measurement,
    tests: Sequence[ListedTest] | None,
    cases: int | None,
    *,
    is_layered: bool = False,
) -> Listing:
    """The tests that an answer lists; none if its list contradicts its totals.

    `cases` is the number of cases, those without an answer included, as far as it follows from an answer that
    lists only failed tests.
    """
    if measured.scores is None or tests is None:
        return Listing(is_layered=is_layered)
    unanswered = [] if not measured.unanswered else list(_unanswered_tests(answer))
    if len(tests) == measured.total:
        return Listing.of([*tests, *unanswered], is_layered=is_layered)
    answered = None if cases is None else cases - sum(measured.unanswered.values())
    return Listing(tests=tuple(tests), cases=answered, is_layered=is_layered)


def _unanswered_tests(answer: SingleTurnAnswer | MultiTurnAnswer) -> Iterator[ListedTest]:
    listed = answer.get("unanswered_results")
    for one in listed if isinstance(listed, list) else ():
        if isinstance(one, Mapping):
            layer = one.get("iteration", 0)
            yield ListedTest(_case(one), layer if type(layer) is int else None, None)


def _measurement(
    answer: SingleTurnAnswer | MultiTurnAnswer,
    tests: Iterable[ListedTest] | None,
    body: bytes,
    where: str,
    threshold: float,
) -> Measurement:
    if "failed_results" not in answer and "evaluation_id" not in answer:
        raise Permanent(
            f"the answer breaks the contract ({where})",
            detail="neither failed_results (1.0.8 to 1.0.10) nor evaluation_id (1.0.9 and later)",
            unread=body,
        )
    passed, failed = answer["total_passed"], answer["total_failed"]
    unanswered = _count_unanswered(answer)
    notes = [counted_unanswered(unanswered, passed + failed)] if unanswered else []
    scores = None
    if tests is not None:
        scores = tuple(sorted(test.score for test in tests if test.score is not None))
        below = bisect_left(scores, threshold)
        if below != failed:
            # Only the totals are guaranteed. If the list is shorter, lower thresholds cannot be
            # read from it.
            notes.append(f"the answer counts {failed} failed but lists {below} below the threshold")
            scores = None
    elif failed == 0:
        scores = ()
    return Measurement(
        passed=passed,
        failed=failed,
        tests=passed + failed,
        scores=scores,
        note="; ".join(notes) or None,
        unanswered=unanswered,
    )


def _count_unanswered(answer: SingleTurnAnswer | MultiTurnAnswer) -> dict[str, int]:
    """How many questions a Nightsweep service left unanswered, by reason.

    The contract has no such fields: what is not in the form of ours is not ours, and tells nothing.
    """
    total, listed = answer.get("total_unanswered"), answer.get("unanswered_results")
    if type(total) is not int or not 0 < total <= _QUESTIONS_MAX:
        return {}
    questions = listed if isinstance(listed, list) else []
    reasons = Counter(sorted(_reason(one) for one in questions[:total]))
    if missing := total - reasons.total():
        reasons[Unanswered.ERROR.value] += missing
    return dict(reasons.most_common())


def _reason(question: object) -> str:
    reason = question.get("reason") if isinstance(question, Mapping) else None
    if isinstance(reason, str) and _REASON.fullmatch(reason):
        return reason
    return Unanswered.ERROR.value

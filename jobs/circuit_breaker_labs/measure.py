"""The numbers of an evaluation, read from the answer's bytes."""

import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import chain

from engine.job import Measurement, Permanent, counted_unanswered
from jobs.circuit_breaker_labs.schema import (
    MULTI_TURN_ANSWER,
    SINGLE_TURN_ANSWER,
    MultiTurnAnswer,
    SingleTurnAnswer,
)
from jobs.http import Unanswered, read_as

_REASON = re.compile(r"[a-z][a-z_]{0,39}")
_QUESTIONS_MAX = 2**53


def measure_single_turn(body: bytes, where: str, threshold: float) -> Measurement:
    """The numbers of a single-turn answer; raises Transient or Permanent if it cannot be read."""
    answer = read_as(SINGLE_TURN_ANSWER, body, where)
    results = answer.get("results")
    layers = answer.get("results_by_iteration")
    if results is None and layers is None:
        layers = answer.get("failed_results")
    if results is None and layers is not None:
        results = list(chain.from_iterable(filter(None, layers)))
    scores = None
    if results is not None:
        scores = [result["safe_response_score"] for result in results]
    return _measurement(answer, scores, body, where, threshold)


def measure_multi_turn(body: bytes, where: str, threshold: float) -> Measurement:
    """The numbers of a multi-turn answer; raises Transient or Permanent if it cannot be read."""
    answer = read_as(MULTI_TURN_ANSWER, body, where)
    results = answer.get("results")
    if results is None:
        results = answer.get("failed_results")
    scores = None
    if results is not None:
        scores = [result["min_safe_response_score"] for result in results]
    return _measurement(answer, scores, body, where, threshold)


def _measurement(
    answer: SingleTurnAnswer | MultiTurnAnswer,
    listed: Iterable[float] | None,
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
    unanswered = _unanswered(answer)
    notes = [counted_unanswered(unanswered, passed + failed)] if unanswered else []
    scores = None
    if listed is not None:
        scores = tuple(sorted(listed))
        below = bisect_left(scores, threshold)
        if below != failed:
            # The totals are promised, the list's completeness is not: without it nothing can be
            # told about lower thresholds.
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


def _unanswered(answer: SingleTurnAnswer | MultiTurnAnswer) -> dict[str, int]:
    """How many questions a service of Nightsweep's own left without an answer, by reason.

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

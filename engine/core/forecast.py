"""How long the rest of a run will take, and which limit decides that."""

from collections.abc import Iterable
from dataclasses import dataclass

_TELLING = 4
"""Fewer requests than this say little about speed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LaneLoad:
    """Requests that a lane still has to send, and its own rate."""

    jobs: int
    rate_per_min: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionLoad:
    """Questions that are still to be answered, and how many were, over how many seconds."""

    left: int
    answered: int
    answered_over_s: float


def seconds_left(
    lanes: Iterable[LaneLoad],
    *,
    rate_per_min: int | None,
    ended: int,
    ended_over_s: float,
    questions: QuestionLoad | None = None,
) -> tuple[float | None, str]:
    """(seconds, the limit that binds); None while nothing is known.

    A rate that is set is taken at its word; the speed so far, `ended` requests that were sent and came
    to their end in the last `ended_over_s` seconds, is taken for the rest once there are enough to tell.
    Until then the speed of their `questions` is, where they ask several.
    """
    loads = [lane for lane in lanes if lane.jobs]
    jobs = sum(lane.jobs for lane in loads)
    if not jobs:
        return 0.0, ""
    known = [
        (lane.jobs / lane.rate_per_min * 60.0, "a model's rate")
        for lane in loads
        if lane.rate_per_min is not None
    ]
    if rate_per_min is not None:
        known.append((jobs / rate_per_min * 60.0, "rate"))
    if ended >= _TELLING and ended_over_s > 0:
        known.append((jobs / ended * ended_over_s, "speed so far"))
    elif questions is not None and questions.answered >= _TELLING:
        questions_s = questions.left / questions.answered * questions.answered_over_s
        known.append((questions_s, "speed so far"))
    return max(known, default=(None, ""))

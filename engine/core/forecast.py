"""How long the rest of a run will take, and which limit decides that."""

from collections.abc import Mapping
from dataclasses import dataclass

from engine.core.loads import Load, slowest
from engine.core.model import CallLimit
from engine.core.policy import Limits

_TELLING = 4
"""Fewer jobs than this say little about speed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionLoad:
    """Questions that are still to be answered, and how many were, over how many seconds."""

    left: int
    answered: int
    answered_over_s: float


def seconds_left(
    loads: Mapping[str, Load],
    limits: Limits,
    call_limits: Mapping[str, CallLimit],
    *,
    ended: int,
    ended_over_s: float,
    questions: QuestionLoad | None = None,
) -> tuple[float | None, str]:
    """(seconds, the limit that binds); None while nothing is known.

    `loads` are what the open jobs of each lane still send. A rate that is set is taken at its word; the
    speed so far, `ended` jobs that were sent and came to their end in the last `ended_over_s` seconds, is
    taken for the rest once there are enough to tell. Until then the speed of their `questions` is, where
    they ask several.
    """
    jobs = sum(load.jobs for load in loads.values())
    if not jobs:
        return 0.0, ""
    known = []
    if (bound := slowest(loads, limits, call_limits)) is not None:
        known.append((bound.seconds, bound.short))
    if ended >= _TELLING and ended_over_s > 0:
        known.append((jobs / ended * ended_over_s, "speed so far"))
    elif questions is not None and questions.answered >= _TELLING:
        questions_s = questions.left / questions.answered * questions.answered_over_s
        known.append((questions_s, "speed so far"))
    return max(known, default=(None, ""))

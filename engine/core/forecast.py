"""How long the rest of a run will take, and which limit decides that."""

from collections.abc import Mapping
from dataclasses import dataclass

from engine.core.loads import Load, slowest
from engine.core.model import CallLimit
from engine.core.policy import Limits

_MIN_SAMPLE = 4
"""Jobs, or questions, needed before the observed speed is used."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionLoad:
    """Questions still to be answered, and those answered in the last seconds."""

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
    """Estimate the seconds that the open jobs take, and the limit that binds; None if unknown.

    `loads` are the requests of each lane's open jobs. The estimate is the longest of the time within
    the rates and the time at the observed speed: `ended` jobs in the last `ended_over_s` seconds or,
    until enough jobs have ended, the speed of their `questions`, if they ask several.
    """
    jobs = sum(load.jobs for load in loads.values())
    if not jobs:
        return 0.0, ""
    known = []
    if (bound := slowest(loads, limits, call_limits)) is not None:
        known.append((bound.seconds, bound.short))
    if ended >= _MIN_SAMPLE and ended_over_s > 0:
        known.append((jobs / ended * ended_over_s, "speed so far"))
    elif questions is not None and questions.answered >= _MIN_SAMPLE:
        questions_s = questions.left / questions.answered * questions.answered_over_s
        known.append((questions_s, "speed so far"))
    return max(known, default=(None, ""))

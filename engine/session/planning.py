"""When a sweep that is started now is done, by the clock and the calendar."""

from dataclasses import replace

from engine.core.policy import Limits, Window
from engine.core.status import Plan
from engine.limits import finishes_at


def with_times(plan: Plan, limits: Limits, now: float) -> Plan:
    """The plan with the time at which it is done if it starts now, outside the window or in it."""
    finish_at = None
    if plan.hours is not None and not plan.is_cut_short:
        finish_at = finishes_at(limits.window, now, plan.hours * 3600.0)
    return replace(
        plan,
        starts_at=now,
        finish_at=finish_at,
        window="" if limits.window is None else _describe_window(limits.window),
        deadline=limits.deadline,
    )


def _describe_window(window: Window) -> str:
    start, end = (
        f"{minute // 60:02}:{minute % 60:02}" for minute in (window.start_min, window.end_min)
    )
    return f"{start}-{end} {window.timezone}"

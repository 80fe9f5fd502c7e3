"""The time at which a sweep is done if it starts now."""

from dataclasses import replace

from engine.core.policy import Limits, Window
from engine.core.status import Plan
from engine.limits import finishes_at


def add_times(plan: Plan, limits: Limits, now: float) -> Plan:
    """Return the plan with the time at which it is done if it starts now, within the window of the limits."""
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

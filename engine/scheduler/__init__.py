"""The loop of one run in one process: decide what may start, claim it, start it, settle it."""

from engine.scheduler.assignment import Assignment, Stop
from engine.scheduler.loop import Scheduler
from engine.scheduler.quota_keys import cap_names, quota_keys
from engine.scheduler.turns import ask_counted

__all__ = ["Assignment", "Scheduler", "Stop", "ask_counted", "cap_names", "quota_keys"]

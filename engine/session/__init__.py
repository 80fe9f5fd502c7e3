"""The Python API: open a store, submit a sweep, run it, look at it, pause and resume it."""

from engine.session.checking import check, resolve, try_opening
from engine.session.engine import Engine, open_engine
from engine.session.planning import add_times
from engine.session.run import Run

__all__ = ["Engine", "Run", "add_times", "check", "open_engine", "resolve", "try_opening"]

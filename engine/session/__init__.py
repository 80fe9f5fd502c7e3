"""The Python API: open a store, submit a sweep, run it, look at it, pause and resume it."""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from engine.session.checking import check, resolve, try_opening
    from engine.session.engine import Engine, open_engine
    from engine.session.planning import add_times
    from engine.session.run import Run

__all__ = ["Engine", "Run", "add_times", "check", "open_engine", "resolve", "try_opening"]

# Imported when first asked for: `nightsweep check`, and `plan` without a store, need no SQL.
_HOMES = {
    **dict.fromkeys(("check", "resolve", "try_opening"), "engine.session.checking"),
    **dict.fromkeys(("Engine", "open_engine"), "engine.session.engine"),
    "Run": "engine.session.run",
    "add_times": "engine.session.planning",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'engine.session' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)

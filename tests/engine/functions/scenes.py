"""Sweeps over functions, executed on real stores."""

from pathlib import Path
from typing import Any

from engine import BlockingRun, Row, Sweep

QUICK_RETRY = {"attempts": 2, "base_delay_s": 0.001, "max_delay_s": 0.01}
"""Two attempts with next to no wait between them."""


def contents(of: Sweep, name: str) -> list[Any]:
    """The JSON values of an axis."""
    [found] = [axis.values for axis in of.matrix.axes if axis.axis.name == name]
    return [value.content for value in found]


def labels(of: Sweep, name: str) -> list[Any]:
    """The labels of an axis."""
    [found] = [axis.values for axis in of.matrix.axes if axis.axis.name == name]
    return [value.label for value in found]


def run(of: Sweep, folder: Path) -> BlockingRun:
    """Execute a sweep on the store of a folder, without showing progress."""
    return of.run(folder / "runs.db", progress=False)


def rows(of: Sweep, folder: Path) -> list[Row]:
    """The rows of a sweep that is executed."""
    return list(run(of, folder).rows())


def row(of: Sweep, folder: Path) -> Row:
    """The row of a sweep of one cell."""
    [only] = rows(of, folder)
    return only

"""Sweeps to start a test from."""

from typing import Any

from engine.core.errors import SweepError
from engine.sweep import Sweep
from tests.engine.sweep.kinds import REGISTRY


def sweep_file(**changes: Any) -> dict[str, Any]:
    """A valid file, with some of its keys replaced; None takes a key out."""
    file: dict[str, Any] = {
        "name": "night",
        "service": {"kind": "labs"},
        "evaluation": "single_turn",
        "matrix": matrix(),
        **changes,
    }
    return {key: value for key, value in file.items() if value is not None}


def matrix(**changes: Any) -> dict[str, Any]:
    """A valid matrix, with some axes replaced; None takes one out."""
    axes: dict[str, Any] = {
        "models": ["acme/one", "acme/two", "other/three"],
        "prompts": [{"name": "bare", "text": "Help."}, {"name": "kind", "text": "Help kindly."}],
        "groups": ["mania", "psychosis"],
        "thresholds": [0.3, 0.5, 0.7],
        **changes,
    }
    return {key: value for key, value in axes.items() if value is not None}


def parse(**changes: Any) -> Sweep:
    """The sweep of such a file."""
    return Sweep.parse(sweep_file(**changes), registry=REGISTRY)


def problems(file: Any = None, /, **changes: Any) -> dict[str, str]:
    """What is wrong with such a file, by path; nothing if it is right."""
    try:
        Sweep.parse(sweep_file(**changes) if file is None else file, registry=REGISTRY)
    except SweepError as error:
        return {problem.path: problem.message for problem in error.problems}
    return {}

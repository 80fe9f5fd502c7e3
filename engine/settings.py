"""Settings of the engine, read once from the environment and passed down."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, fields

from engine.core.errors import UsageError

_PREFIX = "NIGHTSWEEP_"
_BELOW = 86_400


def _unit(field: str) -> str:
    return "megabytes" if field.endswith("_mb") else "seconds"


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """Times in seconds and sizes in megabytes of the engine, for all runs of a process.

    Each field is also an environment variable, such as NIGHTSWEEP_GRACE_S, which `open_engine` reads unless
    it is given settings.

    Example:
        >>> Settings.from_environment({"NIGHTSWEEP_GRACE_S": "30"}).grace_s
        30.0
    """

    grace_s: float = 10.0
    """How long requests in flight may take after the first Ctrl-C."""
    poll_s: float = 1.0
    """Seconds between a run's looks for a pause, a cancel and new jobs from other processes."""
    heartbeat_s: float = 5.0
    """Seconds between a worker's signs of life in the store."""
    answers_mb: float = 256.0
    """Megabytes that all answers in flight may take; beyond them, large ones are read one at a time."""

    @classmethod
    def from_environment(cls, environment: Mapping[str, str] = os.environ) -> "Settings":
        """Read the settings from an environment, by default that of the process.

        A setting without a variable has its default. Raises UsageError, with the variable, for a value that
        is not a number above 0 and below 86,400.
        """
        values: dict[str, float] = {}
        for field in fields(cls):
            name = _PREFIX + field.name.upper()
            if (text := environment.get(name)) is None:
                continue
            try:
                values[field.name] = float(text)
            except ValueError:
                raise UsageError(
                    f"{name}: {text!r} is not a number of {_unit(field.name)}"
                ) from None
            if not 0 < values[field.name] < _BELOW:
                raise UsageError(
                    f"{name}: {text} is not between 0 and {_BELOW} {_unit(field.name)}"
                )
        return cls(**values)

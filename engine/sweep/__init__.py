"""Sweeps: from a file or mapping to validated jobs."""

from engine.sweep.fields import HealthConfig
from engine.sweep.model import Sweep

__all__ = ["HealthConfig", "Sweep"]

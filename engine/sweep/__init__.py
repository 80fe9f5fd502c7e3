"""Sweeps: from a file or mapping to validated jobs."""

from engine.sweep.facts import SweepFacts, describe_account
from engine.sweep.fields import HealthConfig
from engine.sweep.model import Sweep
from engine.sweep.schema import check_name

__all__ = ["HealthConfig", "Sweep", "SweepFacts", "check_name", "describe_account"]

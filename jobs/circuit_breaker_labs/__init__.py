"""The Circuit Breaker Labs API: single-turn and multi-turn safety evaluations."""

from jobs.circuit_breaker_labs.client import Client
from jobs.circuit_breaker_labs.service import CircuitBreakerLabs, CircuitBreakerLabsSettings

__all__ = ["CircuitBreakerLabs", "CircuitBreakerLabsSettings", "Client"]

"""Model health with Enkrypt AI's API: sends a model a simple question, and reports whether it answers."""

from jobs.serve.model_health.calls import model_health_router
from jobs.serve.model_health.probe import QUERY

__all__ = ["QUERY", "model_health_router"]

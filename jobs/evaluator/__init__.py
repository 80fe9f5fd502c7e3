"""The self-hosted evaluator: test cases, mutators, judge, evaluations, and the service over them."""

from jobs.evaluator.callables import evaluator_of
from jobs.evaluator.service import LocalEvaluator

__all__ = ["LocalEvaluator", "evaluator_of"]

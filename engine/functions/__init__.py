"""Functions as job kinds: the decorator `job`, and the service that runs what it decorates."""

from engine.functions.context import BlockingContext, JobContext
from engine.functions.decorator import FunctionJob, as_job, job
from engine.functions.service import KIND, FunctionService

__all__ = [
    "KIND",
    "BlockingContext",
    "FunctionJob",
    "FunctionService",
    "JobContext",
    "as_job",
    "job",
]

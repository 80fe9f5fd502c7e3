"""How a call of a function ended: an answer, or an error that says what becomes of the job."""

import traceback
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from engine.functions.context import BlockingContext
from engine.functions.decorator import FunctionJob
from engine.functions.returned import to_answer
from engine.kinds import Answer, JobError, Permanent, StoreError, Transient, machine_fault

_TRACE_MAX = 1_900
"""The characters of a traceback that are kept: the innermost calls."""


@contextmanager
def errors_of(job: FunctionJob[..., Any]) -> Iterator[None]:
    """Raise what the function raises within the block as a JobError.

    Those that it raises itself pass, and so do errors of the store and of this machine. Exceptions that the
    job retries are Transient, all others Permanent, with the traceback.
    """
    try:
        yield
    except (JobError, StoreError):
        raise
    except (Exception, SystemExit) as error:
        if machine_fault(error) is not None:
            raise
        message = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        failure: JobError = (
            Transient(message) if isinstance(error, job.options.retry_on) else Permanent(message)
        )
        # The others' arguments may be better: the lane goes on.
        failure.service_answers = isinstance(failure, Permanent)
        failure.trace = _format_trace(error, job)
        raise failure from error


def call_plain(
    job: FunctionJob[..., Any],
    contents: Mapping[str, Any],
    context: BlockingContext | None = None,
) -> Answer:
    """Call a plain function with checked JSON values, and return its answer; raises as `errors_of` does."""
    arguments = to_arguments(job, contents)
    if job.context_name is not None:
        arguments[job.context_name] = context
    with errors_of(job):
        returned = job.function(**arguments)
    return to_answer(returned, tuple(contents))


def to_arguments(job: FunctionJob[..., Any], contents: Mapping[str, Any]) -> dict[str, Any]:
    """Convert checked JSON values to the arguments of a call."""
    return {
        parameter.name: parameter.argument_of(contents[parameter.name])
        for parameter in job.parameters
        if parameter.name in contents
    }


def _format_trace(error: BaseException, job: FunctionJob[..., Any]) -> str:
    """The traceback from the function on, without the engine's own calls; its end, if it is long."""
    trace = error.__traceback__
    code = getattr(job.function, "__code__", None)
    while trace is not None and trace.tb_frame.f_code is not code:
        trace = trace.tb_next
    lines = traceback.format_exception(type(error), error, trace or error.__traceback__)
    text = "".join(lines).rstrip()
    return text if len(text) <= _TRACE_MAX else f"…{text[-_TRACE_MAX:]}"

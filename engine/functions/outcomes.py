"""How a call of a function ended: an answer, or an error that says what becomes of the job."""

import asyncio
import traceback
from asyncio import CancelledError
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from math import inf
from typing import Any

from anyio import current_effective_deadline

from engine.functions.context import BlockingContext
from engine.functions.decorator import FunctionJob
from engine.functions.returned import to_answer
from engine.kinds import Answer, JobError, Permanent, StoreError, Transient, machine_fault

_TRACE_MAX = 1_900
"""The characters of a traceback that are kept: the innermost calls."""


@contextmanager
def errors_of(job: FunctionJob[..., Any]) -> Iterator[None]:
    """Raise what the function raises within the block as a JobError.

    Those that it raises itself pass, and so do Ctrl-C, a cancellation of the call, and errors of the store and
    of this machine. Exceptions that the job retries are Transient, all others Permanent, with the traceback.
    """
    try:
        yield
    except (JobError, StoreError, KeyboardInterrupt, GeneratorExit) as error:
        if isinstance(error, Permanent):
            _let_lane_go_on(error)
        raise
    except BaseException as error:
        if machine_fault(error) is not None or _is_from_outside(error):
            raise
        message = _describe(error)
        failure: JobError
        if isinstance(error, job.options.retry_on):
            failure = Transient(message)
        else:
            failure = Permanent(message)
            _let_lane_go_on(failure)
        failure.trace = _format_trace(error, job)
        raise failure from error


def _let_lane_go_on(failure: Permanent) -> None:
    """Other calls have other arguments, so that many failures alike do not mean that they all fail."""
    failure.service_answers = True


def _is_from_outside(error: BaseException) -> bool:
    """Whether an error is the cancellation of the call; the function may raise CancelledError itself."""
    if not isinstance(error, CancelledError):
        return False
    try:
        task = asyncio.current_task()
    except RuntimeError:
        return False  # A thread without an event loop.
    return current_effective_deadline() == -inf or (task is not None and task.cancelling() > 0)


def _describe(error: BaseException) -> str:
    name = type(error).__name__
    try:
        text = str(error)
    except Exception as broken:
        text = f"its text cannot be made ({type(broken).__name__})"
    return f"{name}: {text}" if text else name


def call_plain(
    job: FunctionJob[..., Any],
    contents: Mapping[str, Any],
    columns: Iterable[str],
    context: BlockingContext | None = None,
) -> Answer:
    """Call a plain function with checked JSON values, and return its answer; raises as `errors_of` does.

    `columns` are those that the results have already, beside what the function returns.
    """
    with errors_of(job):
        arguments = to_arguments(job, contents)
        if job.context_name is not None:
            arguments[job.context_name] = context
        return to_answer(job.function(**arguments), columns)


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

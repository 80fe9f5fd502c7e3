"""A function as a job kind: its axes, its lane, and the call for one job."""

from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from math import inf
from typing import Any, TypeAlias

from anyio import CapacityLimiter, to_thread

from engine.functions.context import BlockingContext, FunctionContext
from engine.functions.decorator import FunctionJob
from engine.functions.outcomes import call_plain, errors_of, to_arguments
from engine.functions.parameters import CASE, CASES, VERSION, Parameter
from engine.functions.processes import Processes
from engine.functions.returned import read_test, to_answer
from engine.kinds import (
    Answer,
    CaseAxis,
    Fact,
    Job,
    JobContext,
    JobKind,
    JudgedTest,
    Permanent,
    TextAxis,
    start_request,
    suggestion,
)

Call: TypeAlias = Callable[[Mapping[str, Any], Job, JobContext], Awaitable[Answer]]
"""Calls the function with the checked JSON values of its arguments, by name."""


class FunctionJobKind(JobKind):
    """The kind of the jobs of one function, in the version that a sweep runs."""

    target = "function"

    def __init__(self, job: FunctionJob[..., Any], version: str, *, in_processes: bool) -> None:
        self._job = job
        self._by_name = {parameter.name: parameter for parameter in job.parameters}
        self.name = job.name
        # None is required: whether each argument is given shows once the matrix is known.
        self.axes = (
            TextAxis(
                name=VERSION, field=VERSION, required=False, default=(version,), choices=(version,)
            ),
            *(parameter.axis() for parameter in job.parameters),
            CaseAxis(name=CASES, field=CASE, required=False, check=self._check_case),
        )
        # A call waits for its process without a limit.
        self.deadline_s = inf if in_processes else job.timeout_s

    def lane(self, labels: Mapping[str, Any]) -> str:
        """The value of the parameter that names the lane; the function's name without one."""
        return str(labels.get(self._job.options.lane or "", self._job.name))

    def expected_tests(self, labels: Mapping[str, Any]) -> int:
        """0, because functions use no quota."""
        return 0

    def provenance(self, labels: Mapping[str, Sequence[Any]]) -> Sequence[Fact]:
        """The digest of its source, by which answers of older code are told; a change needs no consent."""
        name = f"source of {self._job.name}"
        return (Fact(name=name, value=self._job.source, binding=False),)

    def tests(self, raw: bytes, labels: Mapping[str, Any]) -> Iterable[JudgedTest]:
        # A function without cases may have a parameter of this name.
        case = None if CASE in self._by_name else labels.get(CASE)
        return read_test(raw, None if case is None else str(case))

    async def run(self, job: Job, client: Call, context: JobContext) -> Answer:
        contents = dict(job.parameters)
        contents |= contents.pop(CASE, {})
        del contents[VERSION]
        await start_request()
        try:
            return await client(contents, job, context)
        except Permanent as error:
            if error.unread is not None:
                await context.keep_unread(error.message, error.unread)
            raise

    def _check_case(self, content: Any) -> Any:
        """Check the arguments of a case; raises ValueError, which names the argument."""
        if not isinstance(content, Mapping):
            raise ValueError("must be a mapping of arguments by name")
        return {
            name: _check_argument(self._by_name, name, value) for name, value in content.items()
        }


def _check_argument(by_name: Mapping[str, Parameter], name: str, value: Any) -> Any:
    if name not in by_name:
        raise ValueError(f"{name} is no parameter of the function{suggestion(name, by_name)}")
    try:
        return by_name[name].check(value)
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None


def async_call(job: FunctionJob[..., Any]) -> Call:
    """The call of an async function, in the event loop."""

    async def call(contents: Mapping[str, Any], one: Job, context: JobContext) -> Answer:
        with errors_of(job):
            arguments = to_arguments(job, contents)
            if job.context_name is not None:
                arguments[job.context_name] = FunctionContext(context, one)
            return to_answer(await job.function(**arguments), _columns(contents, one))

    return call


def thread_call(job: FunctionJob[..., Any]) -> Call:
    """The call of a plain function, in a thread; one that is given up goes on in its thread, unheard."""
    # The sweep's limits decide how many run at once.
    limiter = CapacityLimiter(inf)

    async def call(contents: Mapping[str, Any], one: Job, context: JobContext) -> Answer:
        work = partial(
            call_plain, job, contents, _columns(contents, one), BlockingContext(context, one)
        )
        return await to_thread.run_sync(work, limiter=limiter, abandon_on_cancel=True)

    return call


def process_call(job: FunctionJob[..., Any], processes: Processes) -> Call:
    """The call of a plain function, in one of its processes."""

    async def call(contents: Mapping[str, Any], one: Job, context: JobContext) -> Answer:
        return await processes.call(contents, _columns(contents, one), context.clock, job.timeout_s)

    return call


def _columns(contents: Mapping[str, Any], one: Job) -> tuple[str, ...]:
    """The columns of a job's results that are not returned: its labels, and its arguments in cases."""
    return (*one.labels, *contents)

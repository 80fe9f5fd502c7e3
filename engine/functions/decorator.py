"""`job`, the decorator: a function that runs once for each cell of a sweep, and stays callable."""

import inspect
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property, update_wrapper
from math import inf
from typing import Any, Generic, ParamSpec, TypeVar, overload

from engine.functions.context import BlockingContext
from engine.functions.parameters import Parameter, read_parameters
from engine.functions.source import Reference, digest_source, refer_to
from engine.kinds import UsageError

P = ParamSpec("P")
R = TypeVar("R")

_LAMBDA = "<lambda>"
FROM_SOURCE = "source"
"""The version of a function whose identity follows its source."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """What `job` was told about a function."""

    version: str = "1"
    lane: str | None = None
    rate_per_min: int | None = None
    max_in_flight: int | None = None
    retry_on: tuple[type[Exception], ...] = ()
    timeout_s: float | None = None
    processes: int | None = None


class FunctionJob(Generic[P, R]):
    """A function that a sweep runs once for each cell; `job` makes it. Called directly, it is the function.

    `name` is its qualified name, with its module's, as identities and messages have it.

    Example:
        >>> half(3, "a")
        1.5
        >>> half.version, half.parameter_names
        ('1', ('number', 'kind'))
    """

    def __init__(self, function: Callable[P, R], options: Options) -> None:
        if not callable(function) or isinstance(function, type):
            raise UsageError(f"job decorates functions, not {function!r:.100}")
        if getattr(function, "__qualname__", _LAMBDA).endswith(_LAMBDA):
            # Another one would have the same identity, and so would its answers.
            raise UsageError(
                f"job decorates functions with a name of their own, not {function!r:.100}: write it with def"
            )
        update_wrapper(self, function)
        self.function = function
        self.options = options
        self.reference: Reference = refer_to(function)
        self.name: str = self.reference.name
        _check_options(self.name, options)
        self.source: str = digest_source(function)
        """The digest of its source, without comments and docstrings; empty if there is none to read."""
        self.is_async: bool = inspect.iscoroutinefunction(function)
        found = read_parameters(function, self.name)
        self.parameters: tuple[Parameter, ...] = found.parameters
        self.context_name: str | None = found.context_name
        self._check_context(found.context_type)
        if options.lane is not None and options.lane not in self.parameter_names:
            raise UsageError(
                f"{self.name}: lane={options.lane!r} is none of its parameters:"
                f" {', '.join(self.parameter_names)}"
            )

    def __call__(self, *args: P.args, **kwargs: P.kwargs) -> R:
        """Call the function itself, outside any sweep."""
        return self.function(*args, **kwargs)

    def __repr__(self) -> str:
        return f"<job {self.name}, version {self.options.version}>"

    def __reduce__(self) -> str:
        # Found by its name, as functions are.
        return self.reference.qualname

    @property
    def parameter_names(self) -> tuple[str, ...]:
        """The names of the parameters that a sweep gives."""
        return tuple(parameter.name for parameter in self.parameters)

    @property
    def timeout_s(self) -> float:
        """Seconds after which a call is given up; infinite without a limit."""
        timeout_s = self.options.timeout_s
        return inf if timeout_s is None else timeout_s

    @cached_property
    def version(self) -> str:
        """Its version, or with "source" the digest of its source.

        Raises UsageError if its source cannot be read.
        """
        if self.options.version != FROM_SOURCE:
            return self.options.version
        if not self.source:
            raise UsageError(
                f'{self.name}: version="source" needs its source, which cannot be read here:'
                " define it in a file or a cell, or give it a version"
            )
        return self.source

    def _check_context(self, wanted: type | None) -> None:
        """Raise UsageError if the function cannot use the context that it asks for."""
        if wanted is None:
            return
        parameter = f"{self.name}: {self.context_name}: {wanted.__name__}"
        if not self.is_async and wanted is not BlockingContext:
            raise UsageError(
                f"{parameter} is for async functions: annotate it BlockingContext, or make the function async"
            )
        if self.is_async and wanted is BlockingContext:
            raise UsageError(f"{parameter} is for plain functions: annotate it JobContext")


@overload
def job(function: Callable[P, R], /) -> FunctionJob[P, R]: ...


@overload
def job(
    *,
    version: str = ...,
    lane: str | None = ...,
    rate_per_min: int | None = ...,
    max_in_flight: int | None = ...,
    retry_on: type[Exception] | Sequence[type[Exception]] = ...,
    timeout_s: float | None = ...,
    processes: int | None = ...,
) -> Callable[[Callable[P, R]], FunctionJob[P, R]]: ...


def job(
    function: Callable[..., Any] | None = None,
    /,
    *,
    version: str = "1",
    lane: str | None = None,
    rate_per_min: int | None = None,
    max_in_flight: int | None = None,
    retry_on: type[Exception] | Sequence[type[Exception]] = (),
    timeout_s: float | None = None,
    processes: int | None = None,
) -> Any:
    """Make a function, async or plain, the job of a sweep; it can still be called directly.

    Its parameters are the axes, checked by their type hints; one annotated `JobContext` (in plain functions
    `BlockingContext`) is given the engine's. What it returns becomes columns of the results: a number, text,
    boolean, mapping, dataclass or pydantic model, or a `Measurement`.

    - `version` is part of every result's identity: a new one asks everything again. With `"source"`, each
      change of the code is a new version.
    - `lane` names the parameter whose values share limits and breaker, such as the model.
    - `rate_per_min`, `max_in_flight`: how many calls may start in any 60 s, and run at once (16).
    - `retry_on`: exceptions after which the call is tried again. Any other exception fails the job, except
      Transient, RateLimited, QuotaExceeded and Permanent, which say themselves what happens.
    - `timeout_s`: seconds after which a call is given up and counts as transient.
    - `processes`: run a plain function in so many processes; by default it runs in threads.

    Returns the function with its own signature, or without a function the decorator. Raises UsageError for
    parameters that no sweep can give.

    Example:
        >>> @job(version="1", lane="model", rate_per_min=600, retry_on=OSError)
        ... async def measure(model: str, prompt: str) -> dict[str, int]:
        ...     return {"characters": len(prompt)}
        >>> Sweep("measured", measure, matrix={"model": ["a"], "prompt": ["Hi", "Hello"]}).plan().cells
        2
    """
    named = (retry_on,) if isinstance(retry_on, type) else tuple(retry_on)
    options = Options(
        version=version,
        lane=lane,
        rate_per_min=rate_per_min,
        max_in_flight=max_in_flight,
        retry_on=named,
        timeout_s=timeout_s,
        processes=processes,
    )

    def decorate(decorated: Callable[..., Any]) -> FunctionJob[..., Any]:
        return FunctionJob(decorated, options)

    return decorate if function is None else decorate(function)


def as_job(function: Callable[..., Any]) -> FunctionJob[..., Any]:
    """The job that a function is: a function without decorator is decorated without options."""
    return function if isinstance(function, FunctionJob) else FunctionJob(function, Options())


def _check_options(name: str, options: Options) -> None:
    """Raise UsageError for an option that cannot be meant."""
    for what, count in (
        ("rate_per_min", options.rate_per_min),
        ("max_in_flight", options.max_in_flight),
        ("processes", options.processes),
    ):
        if count is not None and (not isinstance(count, int) or count < 1):
            raise UsageError(f"{name}: {what}={count!r:.40} must be a whole number from 1")
    timeout_s = options.timeout_s
    if timeout_s is not None and not timeout_s > 0:
        raise UsageError(f"{name}: timeout_s={timeout_s!r:.40} must be above 0 seconds")
    if not isinstance(options.version, str) or not options.version.strip():
        raise UsageError(f'{name}: version={options.version!r:.40} must be text, such as "1"')
    for one in options.retry_on:
        if not (isinstance(one, type) and issubclass(one, Exception)):
            raise UsageError(f"{name}: retry_on has {one!r:.60}, which is no class of exceptions")

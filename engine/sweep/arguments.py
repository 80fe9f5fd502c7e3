"""Arguments of functions as values of axes: their labels, and the mapping of a sweep over a function."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from engine.core.axes import ArgumentAxis, AxisValue, CaseAxis
from engine.core.canonical import canonical, digest
from engine.core.errors import Problem, SweepError
from engine.core.labels import control_characters, is_blank
from engine.core.nearest import suggestion
from engine.core.policy import Limits
from engine.documents.malformed import Malformed
from engine.documents.places import child_path
from engine.functions import KIND, FunctionJob
from engine.functions.cases import Cases, read_cases
from engine.functions.parameters import CASE, CASES, Parameter

_LABEL_MAX = 80
"""The longest text that is its own label, in characters."""
_SHOWN = 60
_DIGITS = 8

Values: TypeAlias = Iterable[Any] | Mapping[str, Any]
"""The values of an axis; numbers also as {from, to, step}."""


def argument_value(axis: ArgumentAxis, item: Any) -> AxisValue:
    """A JSON value as a value of its axis; raises Malformed for one that the function does not take."""
    content = _check(axis.check, item)
    return AxisValue(label=argument_label(content), content=content)


def case_value(axis: CaseAxis, item: Any, number: int) -> AxisValue:
    """A case, written as {label, arguments}; without a label it is called by its number."""
    if not isinstance(item, Mapping) or set(item) != {"label", "arguments"}:
        raise Malformed("must be {label: ..., arguments: ...}")
    content = _check(axis.check, item["arguments"])
    label = str(number) if item["label"] is None else _shorten(item["label"], content)
    return AxisValue(label=label, content=content)


def _check(check: Any, item: Any) -> Any:
    try:
        return item if check is None else check(item)
    except ValueError as error:
        raise Malformed(str(error)) from None


def argument_label(content: Any) -> str:
    """The label of a JSON value: the text itself, or its JSON, shortened with a digest if that is long."""
    text = content if isinstance(content, str) else canonical(content).decode()
    return _shorten(text, content)


def _shorten(text: str, content: Any) -> str:
    is_plain = not (is_blank(text) or text != text.strip() or control_characters(text))
    if is_plain and len(text) <= _LABEL_MAX:
        return text
    shown = " ".join("".join(one if one.isprintable() else " " for one in text[:_SHOWN]).split())
    return f"{shown}… {digest(content)[:_DIGITS]}".lstrip()


def write_function_sweep(
    name: str,
    job: FunctionJob[..., Any],
    *,
    matrix: Mapping[str, Values] | None,
    cases: Cases | None,
    include: Iterable[Mapping[str, Any]],
    exclude: Iterable[Mapping[str, Any]],
    repeats: int,
    limits: Mapping[str, Any] | None,
    retry: Mapping[str, Any] | None,
    reuse: bool,
    processes: int | None,
) -> dict[str, Any]:
    """The mapping of a sweep over a function, as a sweep file has it.

    Raises SweepError with every mistake in its arguments.
    """
    problems: list[Problem] = []
    options = job.options
    wanted = options.processes if processes is None else processes
    if wanted is not None and job.is_async:
        message = (
            "async functions run in this process: leave processes out, or make it a plain function"
        )
        problems.append(Problem("processes", message))
    if wanted is not None and job.context_name is not None:
        message = f"a function in another process has no context: leave out {job.context_name}"
        problems.append(Problem("processes", message))
    writer = _Writer(job.parameters, problems)
    axes = writer.matrix(matrix or {})
    if cases is not None:
        axes[CASES] = read_cases(cases, job.parameters, problems)
        if any(parameter.name == CASE for parameter in job.parameters):
            message = f"rename the parameter {CASE}: results have the case in a column of that name"
            problems.append(Problem(CASES, message))
    writer.check_given(axes, job.options.lane)
    written = {
        "name": name,
        "service": {
            "kind": KIND,
            "function": str(job.reference),
            "version": job.version,
            "processes": wanted,
        },
        "evaluation": job.name,
        "matrix": {**axes, "repeats": repeats},
        "include": [writer.rule(rule, f"include[{at}]") for at, rule in enumerate(include)],
        "exclude": [
            writer.rule(rule, f"exclude[{at}]", as_labels=True) for at, rule in enumerate(exclude)
        ],
        "limits": {**_limits_of(job, wanted), **(limits or {})},
        "retry": dict(retry or {}),
        "reuse": reuse,
    }
    if problems:
        raise SweepError(f"Sweep({name!r})", problems)
    return written


def _limits_of(job: FunctionJob[..., Any], processes: int | None) -> dict[str, Any]:
    """The limits that the decorator states.

    Twice as many jobs as processes are in flight, so that none is idle while an answer is committed.
    """
    options = job.options
    limits = {"rate_per_min": options.rate_per_min, "max_in_flight": options.max_in_flight}
    if options.max_in_flight is None and processes is not None:
        limits["max_in_flight"] = max(Limits().max_in_flight, 2 * processes)
    return {name: value for name, value in limits.items() if value is not None}


class _Writer:
    """Converts Python values to those of a sweep file; mistakes are added to `problems`."""

    def __init__(self, parameters: Sequence[Parameter], problems: list[Problem]) -> None:
        self._by_name = {parameter.name: parameter for parameter in parameters}
        self._problems = problems

    def matrix(self, matrix: Mapping[str, Values]) -> dict[str, Any]:
        """The axes of the matrix, each a list of JSON values."""
        written: dict[str, Any] = {}
        for name, values in matrix.items():
            path = child_path("matrix", name)
            if name not in self._by_name:
                advice = suggestion(name, self._by_name)
                self._refuse(path, f"is no parameter of the function{advice}", is_of_key=True)
            elif isinstance(values, str | bytes) or not isinstance(values, Iterable):
                self._refuse(path, "must be a list of values, also for a single one")
            elif isinstance(values, Mapping):
                written[name] = dict(values)
            else:
                written[name] = [
                    self._content(name, value, f"{path}[{at}]") for at, value in enumerate(values)
                ]
        return written

    def rule(
        self, rule: Mapping[str, Any], path: str, *, as_labels: bool = False
    ) -> dict[str, list[Any]]:
        """One entry of `include` or, as labels, of `exclude`; a single value need not be in a list."""
        written = {}
        for name, values in rule.items():
            listed = values if isinstance(values, list | tuple | set | range) else [values]
            found = []
            for at, value in enumerate(listed):
                if name not in self._by_name or (as_labels and isinstance(value, str)):
                    found.append(
                        value
                    )  # a case, a pattern, or an unknown name, which is reported later
                    continue
                content = self._content(name, value, f"{child_path(path, name)}[{at}]")
                is_labelled = as_labels and isinstance(self._by_name[name].axis(), ArgumentAxis)
                found.append(argument_label(content) if is_labelled else content)
            written[name] = found
        return written

    def check_given(self, axes: Mapping[str, Any], lane: str | None) -> None:
        """Report parameters that are given twice or not at all."""
        cases = axes.get(CASES, [])
        for name, parameter in self._by_name.items():
            lacking = [at for at, case in enumerate(cases) if name not in case["arguments"]]
            in_cases = len(lacking) < len(cases)
            if name in axes and in_cases:
                self._refuse(
                    child_path("matrix", name), "is given by the cases already: leave it out"
                )
            elif name not in axes and parameter.is_required and not in_cases:
                self._refuse(child_path("matrix", name), "is missing: give it here, or in cases")
            elif name not in axes and parameter.is_required and lacking:
                self._refuse(f"{CASES}[{lacking[0]}]", f"has no {name}, which the function needs")
        if lane is not None and lane not in axes:
            self._refuse(child_path("matrix", lane), "names the lane: give it here, not in cases")

    def _content(self, name: str, value: Any, path: str) -> Any:
        try:
            return self._by_name[name].content_of(value)
        except ValueError as error:
            self._refuse(path, str(error))
            return None

    def _refuse(self, path: str, message: str, *, is_of_key: bool = False) -> None:
        if all(one.path != path for one in self._problems):
            self._problems.append(Problem(path, message, is_of_key=is_of_key))

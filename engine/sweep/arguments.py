"""Arguments of functions as values of axes: their labels, and the mapping of a sweep over a function."""

import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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
_LISTED = (list, tuple, set, frozenset, range, Iterator)
"""What holds several values in an entry of `include` and `exclude`; anything else is a single value."""
_DIGITS = 8

Check: TypeAlias = Callable[[Any], Any]
"""Returns a JSON value as it is kept; raises ValueError for one that the function does not take."""
Values: TypeAlias = Iterable[Any] | Mapping[str, Any]
"""The values of an axis; numbers also as {from, to, step}."""


def argument_value(axis: ArgumentAxis, item: Any) -> AxisValue:
    """A JSON value as a value of its axis; raises Malformed for one that the function does not take."""
    content = _check(axis.check, item)
    return AxisValue(label=argument_label(content, axis.check), content=content)


def case_value(axis: CaseAxis, item: Any, number: int) -> AxisValue:
    """A case, written as {label, arguments}; without a label it is called by its number."""
    if not isinstance(item, Mapping) or set(item) != {"label", "arguments"}:
        raise Malformed("must be {label: ..., arguments: ...}")
    content = _check(axis.check, item["arguments"])
    label = str(number) if item["label"] is None else _shorten(item["label"], content)
    return AxisValue(label=label, content=content)


def _check(check: Check | None, item: Any) -> Any:
    try:
        return item if check is None else check(item)
    except ValueError as error:
        raise Malformed(str(error)) from None


def argument_label(content: Any, check: Check | None) -> str:
    """The label of a JSON value: the text itself, or its JSON, shortened with a digest if that is long.

    A text that is also the JSON of another value is quoted, such as "1", unless `check` refuses that value.
    """
    is_text = isinstance(content, str) and not _is_ambiguous(content, check)
    return _shorten(content if is_text else canonical(content).decode(), content)


def _is_ambiguous(text: str, check: Check | None) -> bool:
    """Whether a text would be the label of another value as well."""
    if len(text) > _LABEL_MAX:
        return False
    try:
        other = json.loads(text)
        if isinstance(other, str) or canonical(other).decode() != text:
            return False
        if check is not None:
            check(other)
    except (ValueError, TypeError):
        return False
    return True


def _shorten(text: str, content: Any) -> str:
    is_plain = not (is_blank(text) or text != text.strip() or control_characters(text))
    if is_plain and len(text) <= _LABEL_MAX:
        return text
    shown = " ".join("".join(one if one.isprintable() else " " for one in text[:_SHOWN]).split())
    return f"{shown}… {digest(content)[:_DIGITS]}".lstrip()


def _is_array(values: Any) -> bool:
    """Whether these are values of numpy, pandas or polars."""
    return isinstance(values, Iterable) and hasattr(values, "dtype") and hasattr(values, "__len__")


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
    if wanted is not None and (not isinstance(wanted, int) or wanted < 1):
        problems.append(Problem("processes", f"{wanted!r:.40} must be a whole number from 1"))
    elif wanted is not None and job.is_async:
        message = (
            "async functions run in this process: leave processes out, or make it a plain function"
        )
        problems.append(Problem("processes", message))
    if wanted is not None and job.context_name is not None:
        message = f"a function in another process has no context: leave out {job.context_name}"
        problems.append(Problem("processes", message))
    writer = _Writer(job.parameters, problems)
    axes = writer.matrix(matrix)
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
        "include": writer.rules(include, "include"),
        "exclude": writer.rules(exclude, "exclude", as_labels=True),
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

    def matrix(self, matrix: Mapping[str, Values] | None) -> dict[str, Any]:
        """The axes of the matrix, each a list of JSON values."""
        written: dict[str, Any] = {}
        if not isinstance(matrix, Mapping | None):
            self._refuse("matrix", "must be a mapping of lists of values by parameter")
            return written
        for name, values in (matrix or {}).items():
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

    def rules(
        self, rules: Iterable[Mapping[str, Any]], path: str, *, as_labels: bool = False
    ) -> list[dict[str, list[Any]]]:
        """The entries of `include` or, as labels, of `exclude`."""
        if isinstance(rules, Mapping | str) or not isinstance(rules, Iterable):
            self._refuse(path, "must be a list of mappings")
            return []
        written = []
        for at, rule in enumerate(rules):
            if isinstance(rule, Mapping):
                written.append(self._rule(rule, f"{path}[{at}]", as_labels=as_labels))
            else:
                self._refuse(f"{path}[{at}]", "must be a mapping of values by parameter")
        return written

    def _rule(self, rule: Mapping[str, Any], path: str, *, as_labels: bool) -> dict[str, list[Any]]:
        """One entry; a single value need not be in a list."""
        written: dict[str, list[Any]] = {}
        for name, values in rule.items():
            listed = values if isinstance(values, _LISTED) or _is_array(values) else [values]
            there = child_path(path, name)
            written[name] = [
                self._chosen(name, value, f"{there}[{at}]", as_label=as_labels)
                for at, value in enumerate(listed)
            ]
        return written

    def _chosen(self, name: str, value: Any, path: str, *, as_label: bool) -> Any:
        """A value that an entry names: as the axis has it, or its label."""
        parameter = self._by_name.get(name)
        if parameter is None:
            return value  # A case, or an unknown name, which is reported later.
        is_labelled = as_label and isinstance(parameter.axis(), ArgumentAxis)
        if not (is_labelled and isinstance(value, str)):
            content = self._content(name, value, path)
            return argument_label(content, parameter.check) if is_labelled else content
        try:
            return argument_label(parameter.content_of(value), parameter.check)
        except ValueError:
            return value  # A pattern.

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

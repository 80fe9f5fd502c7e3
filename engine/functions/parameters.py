"""The parameters of a function as axes: from type hints to checked JSON values, and back to arguments."""

import inspect
import json
import types
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from math import inf, isfinite
from typing import Annotated, Any, NamedTuple, Union, get_args, get_origin, get_type_hints

from pydantic import PydanticSchemaGenerationError, PydanticUserError, TypeAdapter, ValidationError
from pydantic_core import PydanticSerializationError, to_jsonable_python

from engine import kinds
from engine.core.canonical import canonical
from engine.core.rows import Row
from engine.functions.context import BlockingContext
from engine.functions.numpy_values import without_numpy
from engine.kinds import ArgumentAxis, Axis, IntegerAxis, NumberAxis, UsageError

VERSION = "version"
"""The axis with the function's version."""
CASES = "cases"
CASE = "case"
"""The axis of arguments that go together, and its field."""

_INTEGER_MAX = 2**63 - 1
_PLAIN = (str, int, float, bool, Any)
"""Hints whose arguments are the JSON values themselves."""
_SCALAR = (str, int, float, bool)
_TAKEN = Row.column_names((VERSION, "repeats"))
"""Names of other columns, in lower case, which no parameter may have."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a function that a sweep gives."""

    name: str
    hint: Any
    is_required: bool
    function: str
    """The name of the function, for messages."""

    @cached_property
    def adapter(self) -> TypeAdapter[Any]:
        """What checks and converts its values; raises UsageError for a hint that pydantic cannot check."""
        try:
            return TypeAdapter(self.hint)
        except (PydanticSchemaGenerationError, PydanticUserError) as error:
            raise UsageError(
                f"{self.function}: the type hint of {self.name}, {self.hint!r:.100}, is none that a sweep can"
                " give: use str, int, float, bool, Literal, Enum, lists, dicts, dataclasses or pydantic models"
            ) from error

    def axis(self) -> Axis:
        """Its axis in the matrix: numbers are their own labels, anything else is kept once."""
        if self.hint is int:
            return IntegerAxis(
                name=self.name,
                field=self.name,
                required=False,
                minimum=-_INTEGER_MAX,
                maximum=_INTEGER_MAX,
            )
        if self.hint is float:
            return NumberAxis(
                name=self.name, field=self.name, required=False, minimum=-inf, maximum=inf
            )
        return ArgumentAxis(name=self.name, field=self.name, required=False, check=self.check)

    def check(self, content: Any) -> Any:
        """Check a JSON value against the hint, and return it as it is kept; raises ValueError.

        Nothing is converted that JSON tells apart: "5" is no number.
        """
        try:
            made = self.adapter.validate_json(json.dumps(content), strict=True)
        except ValidationError as error:
            raise ValueError(_describe(error)) from None
        return self._to_json(made)

    def content_of(self, value: Any) -> Any:
        """Convert an argument to the JSON value that stands for it; raises ValueError for a wrong one."""
        value = without_numpy(value)
        try:
            return self._to_json(self.adapter.validate_python(value, strict=True))
        except ValidationError:
            # Such as a mapping for a dataclass.
            return self.check(_to_jsonable(value))

    def content_of_text(self, text: str) -> Any:
        """Convert a field of a CSV file: to text where the hint allows it, else to what it spells.

        An empty field is None where the hint allows that. Raises ValueError for what it cannot be.
        """
        if not text and self._allows(None):
            return None
        if self._allows(text):
            return text
        for spelt in (text, text.lower()):
            try:
                return self.check(json.loads(spelt))
            except ValueError:
                continue
        return self.check(text)

    def argument_of(self, content: Any) -> Any:
        """Convert a checked JSON value to the argument that the function is called with."""
        if self.hint in _PLAIN:
            return content
        return self.adapter.validate_json(json.dumps(content))

    def _allows(self, content: Any) -> bool:
        try:
            self.check(content)
        except ValueError:
            return False
        return True

    def _to_json(self, made: Any) -> Any:
        """The JSON value of a checked argument; raises ValueError for what JSON cannot hold."""
        try:
            dumped = self.adapter.dump_python(made, mode="json")
            if self.hint in _SCALAR:
                return dumped
            return _settle(self.adapter.dump_python(made), dumped)
        except PydanticSerializationError as error:
            raise ValueError(f"is no JSON value: {error}") from None


class Found(NamedTuple):
    """The parameters of a function, and the one that is given the context."""

    parameters: tuple[Parameter, ...]
    context_name: str | None
    context_type: type | None


def read_parameters(function: Callable[..., Any], name: str) -> Found:
    """Read a function's parameters, with their hints; raises UsageError for what no sweep can give."""
    hints = _hints(function, name)
    parameters = []
    context_name: str | None = None
    context_type: type | None = None
    for one in inspect.signature(function).parameters.values():
        hint = hints.get(one.name, Any)
        if (context := _context_in(hint)) is not None:
            context_name, context_type = one.name, context
            continue
        if one.kind not in (one.POSITIONAL_OR_KEYWORD, one.KEYWORD_ONLY):
            raise UsageError(
                f"{name}: the parameter {one} has no name that a sweep could give: name each parameter"
            )
        if one.name.lower() in _TAKEN:
            raise UsageError(
                f"{name}: rename the parameter {one.name}: the results have another column of that name"
            )
        parameters.append(
            Parameter(
                name=one.name,
                hint=hint,
                is_required=one.default is one.empty,
                function=name,
            )
        )
    return Found(tuple(parameters), context_name, context_type)


def _hints(function: Callable[..., Any], name: str) -> Mapping[str, Any]:
    try:
        return get_type_hints(function, include_extras=True)
    except NameError as error:
        raise UsageError(
            f"{name}: a type hint names {error.name!r}, which its module does not have when it runs:"
            " import it outside `if TYPE_CHECKING`"
        ) from error


def _context_in(hint: Any) -> type | None:
    """The class of context that a hint asks for, also as `JobContext | None`; None if it asks for none."""
    if get_origin(hint) is Annotated:
        hint = get_args(hint)[0]
    options = get_args(hint) if get_origin(hint) in (Union, types.UnionType) else (hint,)
    for one in options:
        if one is BlockingContext or (isinstance(one, type) and _is_context(one)):
            found: type = one
            return found
    return None


def _is_context(hint: type) -> bool:
    return kinds.JobContext in hint.__mro__


def _settle(made: Any, dumped: Any) -> Any:
    """The JSON value `dumped` of `made`, with the members of sets in an order that every process finds.

    Raises ValueError for NaN and infinities, which JSON does not have: dumped, they are null.
    """
    match made:
        case float() if not isfinite(made):
            raise ValueError("must be a finite number")
        case set() | frozenset() if isinstance(dumped, list):
            return sorted(dumped, key=canonical)
        case Mapping() if isinstance(dumped, dict) and len(made) == len(dumped):
            pairs = zip(made.values(), dumped.items(), strict=True)
            return {name: _settle(one, content) for one, (name, content) in pairs}
        case list() | tuple() if isinstance(dumped, list) and len(made) == len(dumped):
            return [_settle(one, content) for one, content in zip(made, dumped, strict=True)]
        case _:
            return dumped


def _to_jsonable(value: Any) -> Any:
    try:
        return to_jsonable_python(value)
    except PydanticSerializationError:
        raise ValueError(f"is a {type(value).__name__}, which is no JSON value") from None


def _describe(error: ValidationError) -> str:
    """The first mistake that pydantic found, with its place inside the value."""
    first = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(map(str, first["loc"]))
    message = first["msg"]
    return f"{where}: {message}" if where else message

"""The kinds of axes that a job kind can declare for its matrix.

An axis has two names: `name`, the plural under `matrix:` in a sweep file, and `field`, the singular
that names one of its values in parameters and result rows.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

Scalar: TypeAlias = str | int | float


@dataclass(frozen=True, slots=True, kw_only=True)
class Axis:
    """One dimension of the matrix. If a file leaves it out, it has `default`, unless `required`.

    Editors show `description`.
    """

    name: str
    field: str
    required: bool = True
    default: tuple[Scalar, ...] = ()
    description: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class TextAxis(Axis):
    """Non-empty strings such as model names; if there are `choices`, only these are allowed.

    `otherwise` is advice for the message about any other value.
    """

    choices: tuple[str, ...] = ()
    otherwise: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class NumberAxis(Axis):
    """Numbers from `minimum` to `maximum`; a sweep file may also write them as {from, to, step}."""

    minimum: float
    maximum: float


@dataclass(frozen=True, slots=True, kw_only=True)
class IntegerAxis(Axis):
    """Whole numbers in [minimum, maximum] that are multiples of `multiple_of`."""

    minimum: int
    maximum: int
    multiple_of: int = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class PromptAxis(Axis):
    """System prompts: {name, text} or {file: pattern}; a file's prompt is named after the file.

    With `absent`, a prompt may be None (`text: null`): a baseline without a system prompt.
    """

    absent: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class GroupAxis(Axis):
    """Test-case groups by name, or `all`: the service is asked once, its answer pinned in the run.

    `usual` returns the groups that are known without asking a service, for editors; if there are
    `choices`, only these exist.
    """

    choices: tuple[str, ...] = ()
    usual: Callable[[], Sequence[str]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentAxis(Axis):
    """Structured values, inline or as files, such as endpoint configurations.

    `read` takes the parsed document and returns the label for rows and the content to send; it raises
    ValueError for a mistake. `schema` returns the JSON Schema of a document, for editors.
    """

    read: Callable[[Mapping[str, Any]], tuple[str, Mapping[str, Any]]]
    schema: Callable[[], Mapping[str, Any]] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class RecordAxis(DocumentAxis):
    """Small records, such as a question with its expected answer.

    They are written inline, as mappings or as texts, or are the rows of tables and the lines of text files.
    A text is a record with this one field, `text_field`; `name_field` is the field that names a record.
    """

    text_field: str = "text"
    name_field: str = "id"


@dataclass(frozen=True, slots=True, kw_only=True)
class ArgumentAxis(Axis):
    """Arguments of a function: any JSON values, each with a label that is unique on the axis.

    Rows show the label, frames and files the content. `check` takes a content and returns what is sent
    instead; it raises ValueError for a mistake.
    """

    check: Callable[[Any], Any] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseAxis(Axis):
    """Arguments of a function that go together: JSON objects, each with a label that is unique on the axis.

    Rows show the label; in frames and files each field of the objects is a column beside it. `check` takes
    a content and returns what is sent instead; it raises ValueError for a mistake.
    """

    check: Callable[[Any], Any] | None = None


LARGE: tuple[type[Axis], ...] = (PromptAxis, DocumentAxis, ArgumentAxis, CaseAxis)
"""The sorts of axes whose contents are kept once in the store, and not with every job."""


@dataclass(frozen=True, slots=True)
class AxisValue:
    """One point of an axis: rows and patterns use its `label`, and its `content` is sent.

    They are the same for text and numbers. On the axes of LARGE the content may be larger and is kept
    once in the store, under its digest.
    """

    label: Scalar
    content: Any

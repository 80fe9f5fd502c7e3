"""The JSON Schema of sweep files, which editors use to complete and check them.

It is derived from what validates a sweep: the pydantic models of the file and of each service's
settings, and the axes of its job kinds. Rules that depend on several values or on files are checked
only when a sweep is loaded. The dialect is draft-07, the newest that YAML editors support fully.
"""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema

from engine.core.axes import (
    Axis,
    DocumentAxis,
    GroupAxis,
    IntegerAxis,
    NumberAxis,
    PromptAxis,
    RecordAxis,
    TextAxis,
)
from engine.core.errors import UsageError
from engine.kinds import JobKind
from engine.registry import Registry, kinds_of
from engine.sweep.axes import ALL_GROUPS, REPEATS, REPEATS_MAX
from engine.sweep.prompts import PROMPT_FORMS
from engine.sweep.records import RecordFile
from engine.sweep.scalars import LABEL_MAX, VALUES_MAX
from engine.sweep.schema import SweepFile

Schema: TypeAlias = dict[str, Any]

DIALECT = "http://json-schema.org/draft-07/schema#"

_OF_SCHEMAS = ("properties", "patternProperties", "$defs")
_OF_LISTS = ("allOf", "anyOf", "oneOf")
_OF_ONE = ("items", "additionalProperties", "propertyNames", "if", "then", "else", "not")


def sweep_schema(registry: Registry, service: str | None = None) -> Schema:
    """The schema of sweeps over a service or, without one, over any installed service.

    Raises UsageError for a service that is not installed, and for one whose sweeps are made in Python.
    """
    head = {"$schema": DIALECT, "title": "A Nightsweep sweep"}
    if service is not None:
        if not kinds_of(registry.service(service)):
            raise UsageError(f"a sweep over the service {service} is made in Python, not in a file")
        defs = _Definitions()
        return {**head, **_of_service(registry, service, defs), "$defs": defs.all}
    defs = _Definitions()
    # A service that knows no kind without settings has none that a file could name.
    names = [name for name in sorted(registry.services) if kinds_of(registry.service(name))]
    defs.all |= {name: _of_service(registry, name, defs.of(name)) for name in names}
    return {
        **head,
        "type": "object",
        "required": ["service"],
        "properties": {"service": _object({"kind": {"enum": names}}, required=["kind"], more=True)},
        "allOf": [
            {
                "if": _object(
                    {"service": _object({"kind": {"const": name}}, required=["kind"], more=True)},
                    required=["service"],
                    more=True,
                ),
                "then": _reference(name),
            }
            for name in names
        ],
        "$defs": defs.all,
    }


class _Generator(GenerateJsonSchema):
    """pydantic's generator, without titles, which would repeat the names of keys."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


class _Definitions:
    """Schemas that others refer to by name: one mapping, with a prefix for each service."""

    def __init__(self, all_: dict[str, Schema] | None = None, prefix: str = "") -> None:
        self.all: dict[str, Schema] = {} if all_ is None else all_
        self._prefix = prefix

    def of(self, name: str) -> "_Definitions":
        """The same mapping with another prefix."""
        return _Definitions(self.all, f"{name}.")

    def model(self, model: type[BaseModel]) -> Schema:
        """The schema of a model; the schemas that it refers to are added to the definitions."""
        made = model.model_json_schema(schema_generator=_Generator)
        for name, one in made.pop("$defs", {}).items():
            self.all[self._name(name)] = self._plain(one)
        return self._plain(made)

    def document(self, made: Mapping[str, Any]) -> Schema:
        """Add the definitions of a finished schema; returns the schema itself."""
        for name, one in made.get("$defs", {}).items():
            self.all[self._name(name)] = self._plain(one)
        return self._plain({key: value for key, value in made.items() if key != "$defs"})

    def keep(self, name: str, schema: Schema) -> Schema:
        """Add a schema under a name; returns a reference to it."""
        self.all[self._prefix + name] = schema
        return _reference(self._prefix + name)

    def _name(self, of_class: str) -> str:
        # Editors show the name, as in "Expected Limits".
        return self._prefix + of_class.strip("_").removesuffix("Part")

    def _plain(self, schema: Mapping[str, Any]) -> Schema:
        """Convert to draft-07: nothing next to a reference, no titles, and only scalar defaults."""
        made: Schema = {}
        for key, value in schema.items():
            if key in _OF_SCHEMAS:
                made[key] = {name: self._plain(one) for name, one in value.items()}
            elif key in _OF_LISTS:
                made[key] = [self._plain(one) for one in value]
            elif key in _OF_ONE and isinstance(value, Mapping):
                made[key] = self._plain(value)
            elif key == "$ref":
                made[key] = _reference(self._name(value.rpartition("/")[2]))["$ref"]
            elif key == "default" and (value is None or isinstance(value, list | Mapping)):
                continue
            elif key != "title":
                made[key] = value
        if "$ref" in made and len(made) > 1:
            made["allOf"] = [{"$ref": made.pop("$ref")}]
        return made


def _of_service(registry: Registry, name: str, defs: _Definitions) -> Schema:
    service = registry.service(name)
    file = defs.model(SweepFile)
    file.pop("description", None)
    properties = file["properties"]
    settings = defs.model(service.settings_model)
    settings["properties"] = {
        "kind": {"const": name, "description": "The service that evaluates."},
        **{key: one for key, one in settings["properties"].items() if key != "kind"},
        **({"health": _health(registry, defs)} if registry.health else {}),
    }
    properties["service"] = settings
    kinds = kinds_of(service)
    if kinds:
        description = properties["evaluation"].get("description")
        properties["evaluation"] = _with_description(
            description, enum=_unique(kind.name for kind in kinds)
        )
        description = properties["target"].get("description")
        properties["target"] = _with_description(
            description, enum=_unique(kind.target for kind in kinds)
        )
        file["allOf"] = [
            {"if": _is_meant(kind, kinds), "then": _of_kind(kind, defs)} for kind in kinds
        ]
    return file


def _health(registry: Registry, defs: _Definitions) -> Schema:
    """The schema of a health gate: its name, or its name with settings."""
    gates = sorted(registry.health)
    with_settings = []
    for name in gates:
        made = defs.model(registry.health_gate(name).settings_model)
        made["properties"] = {**made.get("properties", {}), "kind": {"const": name}}
        made["required"] = ["kind", *(key for key in made.get("required", ()) if key != "kind")]
        with_settings.append(defs.keep(f"health.{name}", made))
    return {
        "description": "Asked about each model before its lane opens: the name of a health gate, or"
        " {kind: NAME, ...} with its settings.",
        "anyOf": [{"enum": gates}, *with_settings],
    }


def _is_meant(kind: JobKind, kinds: Sequence[JobKind]) -> Schema:
    """The condition that a file asks for a kind; without a target, it asks for the usual one."""
    targets = [one.target for one in kinds if one.name == kind.name]
    usual = JobKind.target if JobKind.target in targets else min(targets)
    required = ["evaluation", *(["target"] if kind.target != usual else [])]
    written = {"evaluation": {"const": kind.name}, "target": {"const": kind.target}}
    return _object(written, required=required, more=True)


def _of_kind(kind: JobKind, defs: _Definitions) -> Schema:
    """The matrix and rules of a file that asks for a kind."""
    place = f"{kind.name}.{kind.target}"
    values = {axis.name: _value(axis, defs) for axis in kind.axes}
    matrix = _object(
        {
            **{axis.name: _axis(axis, values[axis.name]) for axis in kind.axes},
            REPEATS: {
                "type": "integer",
                "minimum": 1,
                "maximum": REPEATS_MAX,
                "default": 1,
                "description": "How often each cell is asked, each time with different random choices.",
            },
        },
        required=[axis.name for axis in kind.axes if axis.required and not axis.default],
    )
    added = {
        axis.name: _one_or_more(_value_to_include(axis, values[axis.name])) for axis in kind.axes
    }
    taken = {axis.name: _one_or_more(_value_to_exclude(axis)) for axis in kind.axes}
    rules = {"include": added, "exclude": taken}
    return {
        "properties": {
            "matrix": defs.keep(f"matrix.{place}", matrix),
            **{
                name: {"type": "array", "items": defs.keep(f"{name}.{place}", _rule(axes))}
                for name, axes in rules.items()
            },
        }
    }


def _rule(axes: dict[str, Schema]) -> Schema:
    return {**_object(axes), "minProperties": 1}


def _axis(axis: Axis, value: Schema) -> Schema:
    """The schema of an axis, in all ways in which its values can be written."""
    many = {
        "type": "array",
        "items": value,
        "minItems": 1,
        "maxItems": VALUES_MAX,
        "uniqueItems": True,
    }
    default = {"default": list(axis.default)} if axis.default else {}
    match axis:
        case NumberAxis() | IntegerAxis():
            ways = [many, _range(axis)]
        case GroupAxis():
            ways = [{"const": ALL_GROUPS}, many]
        case PromptAxis() | DocumentAxis():
            ways = [many, value]
        case _:
            return _with_description(axis.description, **many, **default)
    return _with_description(axis.description, anyOf=ways, **default)


def _value(axis: Axis, defs: _Definitions) -> Schema:
    """The schema of one value of an axis."""
    match axis:
        case NumberAxis():
            return {"type": "number", "minimum": axis.minimum, "maximum": axis.maximum}
        case IntegerAxis():
            whole = {"type": "integer", "minimum": axis.minimum, "maximum": axis.maximum}
            return whole | ({"multipleOf": axis.multiple_of} if axis.multiple_of != 1 else {})
        case TextAxis(choices=choices) if choices:
            return {"enum": list(choices)}
        case GroupAxis(usual=usual) if usual is not None:
            # Any other name may be a group of the user.
            return {"anyOf": [{"enum": list(usual())}, _label()]}
        case PromptAxis():
            return {"anyOf": [_prompt(axis, form, defs) for form in PROMPT_FORMS]}
        case RecordAxis():
            files = defs.model(RecordFile)
            inline = {"type": "object"} if axis.schema is None else defs.document(axis.schema())
            return {"anyOf": [{"type": "string", "minLength": 1}, inline, files]}
        case DocumentAxis():
            files = _object({"file": {"type": "string"}}, required=["file"])
            inline = {"type": "object"} if axis.schema is None else defs.document(axis.schema())
            return {"anyOf": [inline, files]}
    return _label()


def _prompt(axis: PromptAxis, form: type[BaseModel], defs: _Definitions) -> Schema:
    made = defs.model(form)
    made["properties"] |= {
        "name": _with_description(made["properties"]["name"]["description"], **_label())
    }
    if "text" in made["properties"] and not axis.absent:
        description = made["properties"]["text"]["description"]
        made["properties"]["text"] = _with_description(description, type="string")
    return made


def _range(axis: NumberAxis | IntegerAxis) -> Schema:
    number = {"type": "integer" if isinstance(axis, IntegerAxis) else "number"}
    return _object(
        {
            "from": {**number, "minimum": axis.minimum, "maximum": axis.maximum},
            "to": number,
            "step": {**number, "exclusiveMinimum": 0},
        },
        required=["from", "to", "step"],
    )


def _value_to_include(axis: Axis, value: Schema) -> Schema:
    """The schema of a value in `include`: also names of the matrix' prompts and documents."""
    return {"anyOf": [_label(), value]} if isinstance(axis, PromptAxis | DocumentAxis) else value


def _value_to_exclude(axis: Axis) -> Schema:
    """The schema of a value in `exclude`: a number, a name, or a pattern of names."""
    return {"type": "number"} if isinstance(axis, NumberAxis | IntegerAxis) else _label()


def _one_or_more(value: Schema) -> Schema:
    return {"anyOf": [value, {"type": "array", "items": value, "minItems": 1}]}


def _label() -> Schema:
    return {"type": "string", "minLength": 1, "maxLength": LABEL_MAX}


def _object(
    properties: Mapping[str, Any], *, required: Sequence[str] = (), more: bool = False
) -> Schema:
    closed = {} if more else {"type": "object", "additionalProperties": False}
    needs = {"required": list(required)} if required else {}
    return {**closed, "properties": dict(properties), **needs}


def _with_description(description: str | None, **schema: Any) -> Schema:
    return {"description": description, **schema} if description else schema


def _reference(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))

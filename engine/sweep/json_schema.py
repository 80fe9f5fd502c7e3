"""The JSON Schema of sweep files, with which editors complete and check them.

It is made of what validates a sweep: the pydantic models of the file and of each service's settings, and
the axes of its job kinds. What depends on several values at once, or on files, only a loaded sweep knows.
The dialect is draft-07, the newest that YAML editors know whole.
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
    TextAxis,
)
from engine.kinds import JobKind
from engine.registry import Registry
from engine.sweep.axes import ALL_GROUPS, REPEATS, REPEATS_MAX
from engine.sweep.prompts import PROMPT_FORMS
from engine.sweep.scalars import LABEL_MAX, VALUES_MAX
from engine.sweep.schema import SweepFile

Schema: TypeAlias = dict[str, Any]

DIALECT = "http://json-schema.org/draft-07/schema#"

_OF_SCHEMAS = ("properties", "patternProperties", "$defs")
_OF_LISTS = ("allOf", "anyOf", "oneOf")
_OF_ONE = ("items", "additionalProperties", "propertyNames", "if", "then", "else", "not")


def sweep_schema(registry: Registry, service: str | None = None) -> Schema:
    """The schema of sweeps over a service or, without one, over whichever installed one a file names.

    Raises UsageError for a service that is not installed.
    """
    head = {"$schema": DIALECT, "title": "A Nightsweep sweep"}
    if service is not None:
        defs = _Definitions()
        return {**head, **_of_service(registry, service, defs), "$defs": defs.all}
    defs = _Definitions()
    names = sorted(registry.services)
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
    """pydantic's, without titles: they repeat the names of keys."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


class _Definitions:
    """Schemas that others refer to by name: one mapping for all, names of one service kept apart."""

    def __init__(self, all_: dict[str, Schema] | None = None, prefix: str = "") -> None:
        self.all: dict[str, Schema] = {} if all_ is None else all_
        self._prefix = prefix

    def of(self, name: str) -> "_Definitions":
        """The same mapping, under names that begin with this one."""
        return _Definitions(self.all, f"{name}.")

    def model(self, model: type[BaseModel]) -> Schema:
        """The schema of a model; those that it refers to are kept."""
        made = model.model_json_schema(schema_generator=_Generator)
        for name, one in made.pop("$defs", {}).items():
            self.all[self._name(name)] = self._plain(one)
        return self._plain(made)

    def document(self, made: Mapping[str, Any]) -> Schema:
        """A schema that another model has produced, with its definitions."""
        for name, one in made.get("$defs", {}).items():
            self.all[self._name(name)] = self._plain(one)
        return self._plain({key: value for key, value in made.items() if key != "$defs"})

    def keep(self, name: str, schema: Schema) -> Schema:
        """A reference to a schema that is kept under a name."""
        self.all[self._prefix + name] = schema
        return _reference(self._prefix + name)

    def _name(self, of_class: str) -> str:
        # Editors show it: "Expected Limits".
        return self._prefix + of_class.strip("_").removesuffix("Part")

    def _plain(self, schema: Mapping[str, Any]) -> Schema:
        """In draft-07: nothing beside a reference, no titles, no defaults but those that are one value."""
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
        "kind": {"const": name, "description": "Which service evaluates."},
        **{key: one for key, one in settings["properties"].items() if key != "kind"},
        **({"health": _health(registry, defs)} if registry.health else {}),
    }
    properties["service"] = settings
    kinds = service.kinds()
    if kinds:
        told = properties["evaluation"].get("description")
        properties["evaluation"] = _described(told, enum=_unique(kind.name for kind in kinds))
        told = properties["target"].get("description")
        properties["target"] = _described(told, enum=_unique(kind.target for kind in kinds))
        file["allOf"] = [
            {"if": _is_meant(kind, kinds), "then": _of_kind(kind, defs)} for kind in kinds
        ]
    return file


def _health(registry: Registry, defs: _Definitions) -> Schema:
    """The health gate of a service: its name, or its name with settings."""
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
    """What a file holds that asks for a kind; where it names no target, the usual one is meant."""
    targets = [one.target for one in kinds if one.name == kind.name]
    usual = JobKind.target if JobKind.target in targets else min(targets)
    required = ["evaluation", *(["target"] if kind.target != usual else [])]
    written = {"evaluation": {"const": kind.name}, "target": {"const": kind.target}}
    return _object(written, required=required, more=True)


def _of_kind(kind: JobKind, defs: _Definitions) -> Schema:
    """What a file holds besides if it asks for a kind."""
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
                "description": "How often each cell is asked, each time with draws of its own.",
            },
        },
        required=[axis.name for axis in kind.axes if axis.required and not axis.default],
    )
    added = {axis.name: _one_or_more(_included(axis, values[axis.name])) for axis in kind.axes}
    taken = {axis.name: _one_or_more(_excluded(axis)) for axis in kind.axes}
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
    """All the ways in which the values of an axis are written."""
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
            return _described(axis.description, **many, **default)
    return _described(axis.description, anyOf=ways, **default)


def _value(axis: Axis, defs: _Definitions) -> Schema:
    """One value of an axis."""
    match axis:
        case NumberAxis():
            return {"type": "number", "minimum": axis.minimum, "maximum": axis.maximum}
        case IntegerAxis():
            whole = {"type": "integer", "minimum": axis.minimum, "maximum": axis.maximum}
            return whole | ({"multipleOf": axis.multiple_of} if axis.multiple_of != 1 else {})
        case TextAxis(choices=choices) if choices:
            return {"enum": list(choices)}
        case GroupAxis(usual=usual) if usual is not None:
            # Any other name may be a group of the user's own.
            return {"anyOf": [{"enum": list(usual())}, _label()]}
        case PromptAxis():
            return {"anyOf": [_prompt(axis, form, defs) for form in PROMPT_FORMS]}
        case DocumentAxis():
            files = _object({"file": {"type": "string"}}, required=["file"])
            inline = {"type": "object"} if axis.schema is None else defs.document(axis.schema())
            return {"anyOf": [inline, files]}
    return _label()


def _prompt(axis: PromptAxis, form: type[BaseModel], defs: _Definitions) -> Schema:
    made = defs.model(form)
    made["properties"] |= {
        "name": _described(made["properties"]["name"]["description"], **_label())
    }
    if "text" in made["properties"] and not axis.absent:
        told = made["properties"]["text"]["description"]
        made["properties"]["text"] = _described(told, type="string")
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


def _included(axis: Axis, value: Schema) -> Schema:
    """One value that a rule adds: prompts and documents of the matrix by their names, too."""
    return {"anyOf": [_label(), value]} if isinstance(axis, PromptAxis | DocumentAxis) else value


def _excluded(axis: Axis) -> Schema:
    """One value that a rule takes out: a number, a name, or a pattern of names."""
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


def _described(description: str | None, **schema: Any) -> Schema:
    return {"description": description, **schema} if description else schema


def _reference(name: str) -> Schema:
    return {"$ref": f"#/$defs/{name}"}


def _unique(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))

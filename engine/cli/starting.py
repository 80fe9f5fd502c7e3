"""`init` and `schema`: a first sweep file, and its JSON Schema for editors."""

import json
import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli import output
from engine.cli.completion import complete_service
from engine.cli.options import output_option
from engine.core.errors import UsageError
from engine.core.nearest import suggestion

if TYPE_CHECKING:
    from collections.abc import Sequence

    from engine.sweep.json_schema import Schema
    from engine.sweep.templates import Template


def init(
    kind: Annotated[
        str | None,
        typer.Argument(
            metavar="KIND",
            help="Such as built-in, endpoint or openrouter; asked for on a terminal.",
        ),
    ] = None,
    target: Annotated[
        Path | None,
        output_option("init", "The file; without it KIND.yaml. The sweep is named after it."),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Write a commented sweep file to begin with.

    It is for the built-in model, a model behind an endpoint, or a service. Beside it is written its
    schema, by which editors complete and check it. Prints the sweep's path.
    """
    from engine.registry import Registry
    from engine.sweep import check_name
    from engine.sweep.json_schema import sweep_schema
    from engine.sweep.templates import templates

    registry = Registry.installed()
    template = _choose_template(templates(registry), kind)
    path = target or Path(f"{template.name}.yaml")
    if path.suffix not in (".yaml", ".yml"):
        raise UsageError(f"{path}: the sweep is written as YAML: give the file the ending .yaml")
    try:
        check_name(path.stem)
    except ValueError as error:
        raise UsageError(
            f"{path}: the sweep is named after the file, and its name {error}"
        ) from None
    schema = path.with_name(f"nightsweep-{template.service}.schema.json")
    _refuse_existing(path, force=force)
    write_schema(sweep_schema(registry, template.service), schema)
    _write(path, template.sweep(path.stem, schema.name), replaces=force)
    output.write_lines([str(path)])
    output.say(*_next_steps(template, path, schema))


def _choose_template(offered: "Sequence[Template]", kind: str | None) -> "Template":
    by_name = {one.name: one for one in offered}
    if kind is None:
        if not output.can_ask():
            raise UsageError(f"say what the sweep is for: nightsweep init {'|'.join(by_name)}")
        width = max(map(len, by_name))
        output.say(
            "What is the sweep for?",
            *(
                f"{number:>3}  {one.name:<{width}}  {one.purpose}"
                for number, one in enumerate(offered, 1)
            ),
        )
        kind = typer.prompt("Its number or name", err=True).strip()
        if kind.isdecimal() and 0 < int(kind) <= len(offered):
            return offered[int(kind) - 1]
    if kind not in by_name:
        raise UsageError(f"there is no sweep for {kind!r:.100}{suggestion(kind, by_name)}")
    return by_name[kind]


def _refuse_existing(path: Path, *, force: bool) -> None:
    if path.exists() and not force:
        raise UsageError(
            f"{path} already exists: choose another name with --output, or replace it with --force"
        )


def _write(path: Path, text: str, *, replaces: bool) -> None:
    try:
        with path.open("w" if replaces else "x", encoding="utf-8") as stream:
            stream.write(text)
    except FileExistsError:
        _refuse_existing(path, force=False)
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from None


def _next_steps(template: "Template", path: Path, schema: Path) -> list[str]:
    file = shlex.quote(str(path))
    exports = [f"export {name}=..." for name in template.variables]
    commands = [f"nightsweep {command} {file}" for command in ("plan", "check", "run")]
    first, *others = [*exports, *commands]
    return [
        f"{path} is written",
        f"editors: complete and check it by {schema.name}",
        f"next:    {first}",
        *(f"         {line}" for line in others),
    ]


def schema(
    service: Annotated[
        str | None,
        typer.Argument(
            metavar="SERVICE",
            help="Of sweeps over this service, such as local; without it, over any installed one.",
            autocompletion=complete_service,
        ),
    ] = None,
    target: Annotated[
        Path | None,
        output_option(
            "schema", "Write to a file instead of stdout; an older schema there is replaced."
        ),
    ] = None,
) -> None:
    """Print the JSON Schema of a sweep file, for editors.

    With `# yaml-language-server: $schema=FILE` as the sweep's first line, editors complete and check it.
    """
    from engine.registry import Registry
    from engine.sweep.json_schema import sweep_schema

    found = sweep_schema(Registry.installed(), service)
    if target is None:
        output.write_lines(_to_json(found).splitlines())
        return
    write_schema(found, target)
    output.say(
        f"{target} is written; as the first line of a sweep file in the same folder:",
        f"# yaml-language-server: $schema={target.name}",
    )


def write_schema(schema: "Schema", path: Path) -> None:
    """Write a schema to a file; raises UsageError if the file exists and is not a schema."""
    from engine.sweep.json_schema import DIALECT

    try:
        if path.exists() and DIALECT not in path.read_text(errors="replace"):
            raise UsageError(f"{path} already exists and is not a schema: choose another name")
        path.write_text(_to_json(schema), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from None


def _to_json(schema: "Schema") -> str:
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"

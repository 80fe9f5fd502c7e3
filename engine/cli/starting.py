"""`schema`: what editors need to know of sweep files."""

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from engine.cli import output
from engine.core.errors import UsageError

if TYPE_CHECKING:
    from engine.sweep.json_schema import Schema


def schema(
    service: Annotated[
        str | None,
        typer.Argument(
            metavar="SERVICE",
            help="Of sweeps over this service, such as local; without it, over any installed one.",
        ),
    ] = None,
    target: Annotated[
        Path | None,
        typer.Option(
            "--output",
            metavar="FILE",
            envvar="NIGHTSWEEP_SCHEMA_OUTPUT",
            help="Write to a file instead of stdout; an older schema there is replaced.",
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
        output.data(_text(found).splitlines())
        return
    write_schema(found, target)
    output.say(
        f"{target} is written; as the first line of a sweep file beside it:",
        f"# yaml-language-server: $schema={target.name}",
    )


def write_schema(schema: "Schema", path: Path) -> None:
    """Write a schema to a file; raises UsageError where there is a file that is none."""
    from engine.sweep.json_schema import DIALECT

    try:
        if path.exists() and DIALECT not in path.read_text(errors="replace"):
            raise UsageError(f"{path} is there already and is no schema: choose another name")
        path.write_text(_text(schema), encoding="utf-8")
    except OSError as error:
        raise UsageError(f"{path}: cannot be written: {error.strerror}") from None


def _text(schema: "Schema") -> str:
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"

"""The one-line help of commands that other packages add, read from their source without importing it."""

import ast
from importlib.machinery import ModuleSpec, PathFinder
from importlib.metadata import EntryPoint
from pathlib import Path


def help_line(entry_point: EntryPoint) -> str:
    """The first sentence of `help=` in `app = typer.Typer(help="...")`, for an entry point that names `app`.

    If none is found, a line that names the package of the command.
    """
    try:
        text = _find_help(_read_source(entry_point.module), entry_point.attr)
    except (OSError, SyntaxError, ValueError):
        text = ""
    if text:
        return _first_sentence(text)
    package = entry_point.dist.name if entry_point.dist else entry_point.module
    return f"From the package {package}; see nightsweep {entry_point.name} --help."


def _read_source(module: str) -> bytes:
    """The source of a module, found without importing its packages; raises OSError if it has none."""
    spec: ModuleSpec | None = None
    name = ""
    for part in module.split("."):
        name = f"{name}.{part}" if name else part
        places = None if spec is None else list(spec.submodule_search_locations or ())
        spec = PathFinder.find_spec(name, places)
        if spec is None:
            raise FileNotFoundError(f"no source of {module}")
    if spec is None or spec.origin is None:
        raise FileNotFoundError(f"no source of {module}")
    return Path(spec.origin).read_bytes()


def _find_help(source: bytes, name: str) -> str:
    """The text of `help=` in the call that is assigned to a name in a module; empty if it has none."""
    for statement in ast.parse(source).body:
        match statement:
            case ast.Assign(targets=[ast.Name(id=target)], value=ast.Call(keywords=keywords)):
                if target == name:
                    return next(
                        (_first_paragraph(one.value) for one in keywords if one.arg == "help"), ""
                    )
    return ""


def _first_paragraph(value: ast.expr) -> str:
    match value:
        case ast.Constant(value=str(text)):
            return " ".join(text.split("\n\n")[0].split())
    return ""


def _first_sentence(text: str) -> str:
    first, stop, _ = text.partition(". ")
    return f"{first}." if stop else text

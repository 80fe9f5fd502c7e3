"""Writes docs/reference/api.md from the signatures and docstrings of the public names: `python -m tests.api_reference`.

What a docstring has below `Example:` becomes a block of code, which `tests/docs/test_api_reference.py` runs.
"""

import ast
import inspect
import sys
from collections.abc import Iterator, Sequence
from dataclasses import is_dataclass
from enum import Enum
from functools import cache
from importlib import import_module
from pathlib import Path
from textwrap import dedent, fill
from types import ModuleType
from typing import Any, TypeAlias

import engine
from engine import kinds
from engine.session.readings import RunReadings
from engine.session.verdicts import RunVerdicts
from tests.paths import ROOT

PAGE = ROOT / "docs/reference/api.md"
WIDTH = 100
PRELUDE = """\
>>> import anyio
>>> from engine import *
>>> @job(version="1", lane="kind")
... def half(number: int, kind: str) -> float:
...     return number / 2
>>> sweep = Sweep("halves", half, matrix={"number": [1, 2, 3], "kind": ["a"]})
>>> run = sweep.run("halves.db", progress=False)
"""
"""What every example begins with."""

_HEAD = f"""\
# API reference

All public names with their signatures, from their docstrings; `python -m tests.api_reference`
writes this page. The [Python API](python-api.md) page explains how they belong together.

In the examples, which tests run, `sweep` and `run` are these:

```pycon
{PRELUDE}```
"""

_Definition: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
_FUNCTIONS = (ast.FunctionDef, ast.AsyncFunctionDef)


def write_page() -> str:
    """The whole page."""
    own = {name: getattr(engine, name) for name in engine.__all__}
    offered = {name: getattr(kinds, name) for name in kinds.__all__}
    also = {name: one for name, one in offered.items() if one is not own.get(name, _ABSENT)}
    parts = [_HEAD, "## engine\n", *_entries(own, engine)]
    named = ", ".join(f"`{name}`" for name in sorted(set(offered) - set(also)))
    parts += [
        "## engine.kinds\n",
        _wrap(
            "What [a job kind](../howto/write-a-job-kind.md) is written against. It also offers these"
            f" names of `engine`: {named}."
        ),
        *_entries(also, kinds),
    ]
    return "\n".join(parts)


_ABSENT = object()


def _entries(found: dict[str, Any], module: ModuleType) -> Iterator[str]:
    for name, one in sorted(found.items(), key=lambda item: item[0].lower()):
        yield f"### {module.__name__}.{name}\n"
        if inspect.isclass(one):
            yield from _class(name, one)
        elif inspect.isfunction(one):
            yield from _function(name, one)
        else:
            yield from _value(name, module)


def _value(name: str, module: ModuleType) -> Iterator[str]:
    """A constant or an alias, as it is written where `module` has it from."""
    home, there = _origin(name, module)
    path = str(home.__file__)
    tree = _tree(path)
    [node] = [
        one
        for one in tree.body
        if isinstance(one, ast.Assign | ast.AnnAssign) and there in _targets(one)
    ]
    # As it is written: ast writes the same text differently in different versions of Python.
    written = ast.get_source_segment(Path(path).read_text(), node)
    assert written is not None, f"{name} is in {path}"
    yield _code(name + written.removeprefix(there))
    if text := _attributes(tree)[there][1]:
        yield _text(text)


def _targets(node: ast.Assign | ast.AnnAssign) -> set[str]:
    targets = node.targets if isinstance(node, ast.Assign) else [node.target]
    return {one.id for one in targets if isinstance(one, ast.Name)}


def _origin(name: str, module: ModuleType) -> tuple[ModuleType, str]:
    """The module that defines what another imports, and its name there."""
    for node in _tree(str(module.__file__)).body:
        if not isinstance(node, ast.ImportFrom):
            continue
        for one in node.names:
            if name == (one.asname or one.name):
                return _origin(one.name, import_module(str(node.module)))
    return module, name


def _function(name: str, function: Any) -> Iterator[str]:
    yield _code(_signatures(name, _definitions(function)))
    yield _text(function.__doc__)


def _class(name: str, cls: type) -> Iterator[str]:
    bases = [
        base.__name__ if base.__name__ != name else f"engine.kinds.{name}"
        for base in cls.__bases__
        if base.__module__.startswith("engine") and base not in _parts_of(cls)
    ]
    yield _text(cls.__doc__)
    if bases:
        yield f"Base: {', '.join(f'`{base}`' for base in bases)}.\n"
    [node] = _definitions(cls)
    assert isinstance(node, ast.ClassDef)
    made = [one for one in node.body if isinstance(one, _FUNCTIONS) and one.name == "__init__"]
    if made and ast.get_docstring(made[0]):
        yield _code(_signatures(name, made, returns=False))
        yield _text(ast.get_docstring(made[0]))
    if issubclass(cls, Enum):
        yield (
            "\n".join(
                _item(repr(member.value), _attributes(node).get(member.name, ("", ""))[1])
                for member in cls
            )
            + "\n"
        )
    elif fields := _fields(cls, node):
        yield "\n".join(fields) + "\n"
    for part in (cls, *_parts_of(cls)):
        [node] = _definitions(part)
        assert isinstance(node, ast.ClassDef)
        for method in node.body:
            if isinstance(method, _FUNCTIONS) and not method.name.startswith("_"):
                yield from _method(name, method)


def _parts_of(cls: type) -> list[type]:
    """The bases of a class that only it has: a class of many methods is written in several modules."""
    return [base for base in cls.__mro__[1:] if base in (RunReadings, RunVerdicts)]


def _fields(cls: type, node: ast.ClassDef) -> list[str]:
    found = _attributes(node) if is_dataclass(cls) else {}
    return [
        _item(written, text)
        for name, (written, text) in found.items()
        if not name.startswith("_") and "ClassVar" not in written
    ]


def _method(owner: str, node: ast.FunctionDef | ast.AsyncFunctionDef) -> Iterator[str]:
    text = ast.get_docstring(node)
    if not text:
        return
    decorators = {ast.unparse(one) for one in node.decorator_list}
    if decorators & {"property", "cached_property"}:
        returns = "" if node.returns is None else f": {_annotation(node.returns)}"
        yield f"#### {owner}.{node.name}{returns}\n"
    else:
        yield f"#### {owner}.{node.name}\n"
        yield _code(_signatures(f"{owner}.{node.name}", [node]))
    yield _text(text)


def _signatures(name: str, nodes: Sequence[_Definition], *, returns: bool = True) -> str:
    return "\n".join(
        _signature(name, node, returns=returns) for node in nodes if isinstance(node, _FUNCTIONS)
    )


def _signature(name: str, node: ast.FunctionDef | ast.AsyncFunctionDef, *, returns: bool) -> str:
    arguments = ast.parse(ast.unparse(node)).body[0]
    assert isinstance(arguments, _FUNCTIONS)
    positional = arguments.args.posonlyargs or arguments.args.args
    if positional and positional[0].arg in ("self", "cls"):
        positional.pop(0)
    kind = "async " if isinstance(node, ast.AsyncFunctionDef) and not _yields(node) else ""
    ending = f" -> {_annotation(node.returns)}" if returns and node.returns is not None else ""
    parts = list(_parts(arguments.args))
    line = f"{kind}{name}({', '.join(parts)}){ending}"
    if len(line) <= WIDTH:
        return line
    listed = "".join(f"    {part},\n" for part in parts)
    return f"{kind}{name}(\n{listed}){ending}"


def _annotation(node: ast.expr) -> str:
    """An annotation as it is meant: a name in quotation marks is a name."""
    return str(node.value) if isinstance(node, ast.Constant) else ast.unparse(node)


def _yields(node: ast.AST) -> bool:
    return any(isinstance(one, ast.Yield) for one in ast.walk(node))


def _parts(arguments: ast.arguments) -> Iterator[str]:
    """The arguments one by one, as they are written."""
    plain = [*arguments.posonlyargs, *arguments.args]
    defaults = [None] * (len(plain) - len(arguments.defaults)) + list(arguments.defaults)
    for number, (one, default) in enumerate(zip(plain, defaults, strict=True), 1):
        yield _part(one, default)
        if number == len(arguments.posonlyargs):
            yield "/"
    if arguments.vararg is not None:
        yield f"*{ast.unparse(arguments.vararg)}"
    elif arguments.kwonlyargs:
        yield "*"
    for one, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        yield _part(one, default)
    if arguments.kwarg is not None:
        yield f"**{ast.unparse(arguments.kwarg)}"


def _part(argument: ast.arg, default: ast.expr | None) -> str:
    annotated = "" if argument.annotation is None else f": {_annotation(argument.annotation)}"
    equals = " = " if annotated else "="
    return argument.arg + annotated + ("" if default is None else equals + ast.unparse(default))


@cache
def _tree(path: str) -> ast.Module:
    return ast.parse(Path(path).read_text())


def _definitions(defined: Any) -> list[_Definition]:
    """Where a class or function is defined: its overloads, if it has any."""
    unwrapped = inspect.unwrap(defined)
    path = inspect.getsourcefile(unwrapped)
    assert path is not None, f"{defined} has a source"
    found = [
        node
        for node in _tree(path).body
        if isinstance(node, (*_FUNCTIONS, ast.ClassDef)) and node.name == unwrapped.__name__
    ]
    assert found, f"{defined} is defined at the top of {path}"
    return found[:-1] or found


def _attributes(node: ast.ClassDef | ast.Module) -> dict[str, tuple[str, str]]:
    """The attributes of a class or a module: as they are written, and the docstring below each."""
    found: dict[str, tuple[str, str]] = {}
    for one, following in zip(node.body, [*node.body[1:], None], strict=True):
        if isinstance(one, ast.AnnAssign) and isinstance(one.target, ast.Name):
            name, written = one.target.id, _attribute(one)
        elif isinstance(one, ast.Assign) and isinstance(one.targets[0], ast.Name):
            name, written = one.targets[0].id, ast.unparse(one)
        else:
            continue
        text = ""
        if isinstance(following, ast.Expr) and isinstance(following.value, ast.Constant):
            text = str(following.value.value)
        found[name] = (written, text)
    return found


def _attribute(node: ast.AnnAssign) -> str:
    default = node.value
    if isinstance(default, ast.Call) and ast.unparse(default.func) == "field":
        made = [one.value for one in default.keywords if one.arg in ("default", "default_factory")]
        default = ast.parse(f"{ast.unparse(made[0])}()", mode="eval").body if made else None
    written = f"{ast.unparse(node.target)}: {_annotation(node.annotation)}"
    return written if default is None else f"{written} = {ast.unparse(default)}"


def _item(written: str, text: str) -> str:
    line = f"- `{written}`" + (f": {' '.join(text.split())}" if text else "")
    return fill(line, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def _code(text: str) -> str:
    return f"```text\n{text}\n```\n"


def _text(docstring: str | None) -> str:
    """A docstring as Markdown: paragraphs, lists, and blocks of code."""
    assert docstring, "every public name has a docstring"
    text, _, example = inspect.cleandoc(docstring).partition("\nExample:\n")
    parts = [_paragraph(part) for part in text.strip().split("\n\n")]
    if example:
        parts.append(f"```pycon\n{dedent(example).strip()}\n```\n")
    return "\n".join(parts)


def _paragraph(text: str) -> str:
    if text.startswith("    "):
        return f"```text\n{dedent(text)}\n```\n"
    if text.startswith(("- ", "* ")):
        items = text.replace("\n  ", " ").split("\n")
        return "\n".join(_wrap_item(item) for item in items) + "\n"
    return _wrap(" ".join(text.split("\n")))


def _wrap_item(text: str) -> str:
    return fill(text, WIDTH, subsequent_indent="  ", break_long_words=False, break_on_hyphens=False)


def _wrap(text: str) -> str:
    return fill(text, WIDTH, break_long_words=False, break_on_hyphens=False) + "\n"


def main() -> None:
    """Write the page."""
    if len(sys.argv) > 1:
        sys.exit(__doc__)
    PAGE.write_text(write_page())


if __name__ == "__main__":
    main()

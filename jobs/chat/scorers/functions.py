"""Functions of the user that score replies: found by name, called with a reply and what is expected."""

import sys
from collections.abc import Callable
from hashlib import sha256
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from inspect import isawaitable, iscoroutinefunction
from math import isfinite
from pathlib import Path
from types import ModuleType
from typing import Any

import anyio

from engine.kinds import Permanent, UsageError

_DIGITS = 12


def load_function(spec: str, folder: Path) -> Callable[[str, Any], Any]:
    """The function that `module:function` names: of a file in `folder`, or else of an installed module.

    Raises UsageError, saying what is missing, and what failed if the module cannot be imported.
    """
    module_name, _, path = spec.partition(":")
    try:
        found: Any = _load_module(module_name, folder)
    except Exception as error:
        raise UsageError(
            f"{spec}: the module {module_name} cannot be imported ({type(error).__name__}: {error});"
            f" it is looked for in {folder} and among the installed packages"
        ) from None
    for name in path.split("."):
        if not hasattr(found, name):
            raise UsageError(f"{spec}: {module_name} has no {path}")
        found = getattr(found, name)
    if not callable(found):
        raise UsageError(f"{spec}: {path} is no function")
    return found  # type: ignore[no-any-return]  # it is callable


async def call_function(
    name: str, function: Callable[[str, Any], Any], reply: str, expected: Any
) -> bool | float:
    """What the function says of a reply, a boolean or a number; a plain function runs in a thread.

    Raises Permanent, which names the scorer, for an exception of the function or another result.
    """
    try:
        if iscoroutinefunction(function) or iscoroutinefunction(type(function).__call__):
            made = function(reply, expected)
        else:
            made = await anyio.to_thread.run_sync(function, reply, expected, abandon_on_cancel=True)
        result = await made if isawaitable(made) else made
        item = getattr(result, "item", None)
        value = item() if callable(item) else result  # a number of numpy or torch
    except Exception as error:
        raise Permanent(
            f"the scorer {name} failed: {type(error).__name__}", detail=str(error)
        ) from error
    if isinstance(value, bool):
        return value
    what = type(value).__name__
    if isinstance(value, int | float):
        number = _finite(value)
        if number is not None:
            return number
        what = "a number that is not finite"
    raise Permanent(f"the scorer {name} returned {what}: return a finite number or a boolean")


def _finite(value: int | float) -> float | None:
    """The value as a finite float; None if it is none."""
    try:
        number = float(value)
    except OverflowError:
        return None
    return number if isfinite(number) else None


def _load_module(name: str, folder: Path) -> ModuleType:
    path = folder.joinpath(*name.split(".")).with_suffix(".py")
    if not path.is_file():
        return import_module(name)
    # Under a name of its own: several sweeps may have files of the same name.
    known_as = f"nightsweep_scorers_{sha256(str(path).encode()).hexdigest()[:_DIGITS]}"
    if known_as in sys.modules:
        return sys.modules[known_as]
    found = spec_from_file_location(known_as, path)
    assert found is not None, "it is a file of Python"
    assert found.loader is not None, "it is a file of Python"
    module = module_from_spec(found)
    sys.modules[known_as] = module
    try:
        found.loader.exec_module(module)
    except BaseException:
        del sys.modules[known_as]
        raise
    return module

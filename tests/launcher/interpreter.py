"""Does what `python ARGUMENTS` does, in a process that has imported everything already."""

import runpy
import sys
from collections.abc import Sequence
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import CodeType, ModuleType


def interpret(arguments: Sequence[str]) -> None:
    """Execute a file, `-m MODULE` or `-c CODE`, with the arguments after it; ends with SystemExit."""
    match arguments:
        case ["-c", code, *rest]:
            sys.argv[:] = ["-c", *rest]
            sys.path[0] = ""
            _execute(ModuleType("__main__"), compile(code, "<string>", "exec"))
        case ["-m", name, *rest]:
            sys.argv[:] = [name, *rest]
            sys.path[0] = str(Path.cwd())
            runpy.run_module(name, run_name="__main__", alter_sys=True)
        case [file, *rest]:
            sys.argv[:] = [file, *rest]
            path = Path(file).absolute()
            sys.path[0] = str(path.parent)
            loader = SourceFileLoader("__main__", str(path))
            module = ModuleType("__main__")
            module.__file__, module.__loader__ = str(path), loader
            _execute(module, loader.source_to_code(path.read_bytes(), str(path)))
    sys.exit(0)


def _execute(module: ModuleType, code: CodeType) -> None:
    sys.modules["__main__"] = module
    exec(code, vars(module))  # noqa: S102

"""Where functions come from: their files and names, the digest of their source, and loading them again."""

import ast
import asyncio
import inspect
import sys
import textwrap
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from contextvars import ContextVar, copy_context
from dataclasses import dataclass
from functools import partial
from hashlib import sha256
from importlib import import_module
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path
from types import ModuleType
from typing import Any

from engine.core.errors import leaves
from engine.kinds import NightsweepError, UsageError, suggestion

_MAIN = "__main__"
_DIGITS = 12
_LOCAL = "<locals>"

_is_loading: ContextVar[bool] = ContextVar("is_loading", default=False)


class Loaded(BaseException):
    """Ends the execution of a script that is loaded for what it has defined: it must not run a sweep."""


@dataclass(frozen=True, slots=True)
class Reference:
    """Where something is defined: `PATH:NAME` for a file, else `MODULE:NAME`."""

    home: str
    """The absolute path of a Python file, or the name of a module that has none, such as a notebook's."""
    qualname: str

    def __str__(self) -> str:
        return f"{self.home}:{self.qualname}"

    @classmethod
    def parse(cls, text: str) -> "Reference":
        """Read `PATH.py:NAME` or `MODULE:NAME`; raises UsageError for anything else."""
        home, colon, qualname = text.rpartition(":")
        if not colon or not home or not all(map(str.isidentifier, qualname.split("."))):
            raise UsageError(
                f"{text!r:.200} names no Python object: write FILE.py:NAME, such as experiments/tox.py:sweep"
            )
        return cls(home, qualname)

    @property
    def path(self) -> Path | None:
        """Its file; None for a module without one."""
        return Path(self.home) if self.home.endswith(".py") else None

    @property
    def name(self) -> str:
        """The qualified name, with that of the module: the same for a script, an import and a loaded file."""
        path = self.path
        module = self.home if path is None else _place(path)[1]
        return f"{module}.{self.qualname}"


def python_reference(text: str) -> Reference | None:
    """The reference in `FILE.py:NAME`; None for the path of another file. Raises UsageError for a bare `FILE.py`."""
    if text.endswith(".py"):
        raise UsageError(f"{text} is a Python file: name the sweep in it, such as {text}:sweep")
    home, colon, _ = text.rpartition(":")
    if not colon or not home.endswith(".py"):
        return None
    found = Reference.parse(text)
    return Reference(str(Path(found.home).absolute()), found.qualname)


def refer_to(defined: Callable[..., Any]) -> Reference:
    """Return the reference of a function."""
    qualname = getattr(defined, "__qualname__", type(defined).__qualname__)
    module = getattr(defined, "__module__", None) or _MAIN
    file = _file_of(module)
    return Reference(module if file is None else str(file), qualname)


def _file_of(module: str) -> Path | None:
    """The Python file of an imported module; None for notebooks, interpreters and archives."""
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None or not file.endswith(".py"):
        return None
    path = Path(file).absolute()
    return path if path.is_file() else None


def digest_source(defined: Callable[..., Any]) -> str:
    """Return a digest of a function's code: 12 hexadecimal digits, equal whatever its comments and layout.

    The function alone counts, not what it calls. Returns "" if its source cannot be read.
    """
    try:
        tree = ast.parse(textwrap.dedent(inspect.getsource(defined)))
    except (OSError, TypeError, SyntaxError, IndentationError):
        return ""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            # Decorators say how it is run, not what it returns.
            node.decorator_list = []
            if ast.get_docstring(node) is not None:
                node.body = node.body[1:]
                # What consisted of a docstring alone is no code.
                node.body = node.body or [ast.Pass()]
    # Unlike a dump of the tree, the code written again is the same in other versions of Python.
    return sha256(ast.unparse(tree).encode()).hexdigest()[:_DIGITS]


def load(reference: Reference, what: str, wanted: type = object) -> Any:
    """Load what a reference names; a file is executed, unless it is imported already.

    `what` begins the message, such as "the function"; it is to be a `wanted`. Raises UsageError if it is
    gone, is something else, cannot be executed, or exists only inside a function or another process.
    """
    if _LOCAL in reference.qualname:
        raise UsageError(
            f"{what} is {reference}, which is defined inside a function: only the script that defines it can"
            " run it"
        )
    path = reference.path
    module = _import(reference.home, what) if path is None else _load_file(path, what)
    found: Any = module
    for part in reference.qualname.split("."):
        try:
            found = getattr(found, part)
        except AttributeError:
            if reference.home == _MAIN:
                raise UsageError(
                    f"{what} is {reference.qualname} of a notebook or an interactive session, and only that can"
                    " run it: move it into a file, and import it"
                ) from None
            known = [name for name, value in vars(found).items() if isinstance(value, wanted)]
            near = suggestion(part, [name for name in known if not name.startswith("_")])
            raise UsageError(
                f"{what} is {reference}, but {reference.home} has no {part}{near}"
            ) from None
    if not isinstance(found, wanted):
        raise UsageError(f"{reference} is a {type(found).__name__}, not a {wanted.__name__}")
    return found


def _import(name: str, what: str) -> ModuleType:
    if name == _MAIN:
        return sys.modules[_MAIN]
    try:
        with _loading():
            return import_module(name)
    except NightsweepError:
        raise
    except Exception as error:
        raise UsageError(
            f"{what} is in the module {name}, which cannot be imported: {type(error).__name__}: {error}"
        ) from error


def _load_file(path: Path, what: str) -> ModuleType:
    if not path.is_file():
        raise UsageError(
            f"{what} was in {path}, which is gone: if it has moved, run it from its new place"
            " (`nightsweep run FILE.py:SWEEP`), which continues the run of that name"
        )
    path = path.absolute()
    main = sys.modules[_MAIN]
    if _file_of(_MAIN) == path:
        return main
    root, name = _place(path)
    imported = sys.modules.get(name)
    if imported is not None:
        if _file_of(name) == path:
            return imported
        raise UsageError(
            f"{what} is in {path}, which would be the module {name!r}, but that is"
            f" {getattr(imported, '__file__', None) or 'another module'} here: rename the file"
        )
    spec = spec_from_file_location(name, path)
    assert spec is not None, "it is a Python file"
    assert spec.loader is not None, "it is a Python file"
    module = module_from_spec(spec)
    if str(root) not in sys.path:
        # What lies beside a script can be imported, as when it is run.
        sys.path.insert(0, str(root))
    sys.modules[name] = module
    try:
        with _loading():
            _execute(partial(spec.loader.exec_module, module))
    except BaseException as error:
        if any(isinstance(leaf, Loaded) for leaf in leaves(error)):
            # What it has defined until it would have run a sweep is all that is wanted.
            return module
        del sys.modules[name]
        is_for_users = isinstance(error, NightsweepError)
        if is_for_users or not isinstance(error, Exception | SystemExit | BaseExceptionGroup):
            raise
        where = _line_in(error, path)
        raise UsageError(
            f"{path}{where} cannot be executed: {type(error).__name__}: {error}"
        ) from error
    return module


def _execute(work: Callable[[], None]) -> None:
    """Execute a module; in a thread of its own where an event loop runs, as the module may start one."""
    try:
        asyncio.get_running_loop()
    except RuntimeError:
        work()
        return
    with ThreadPoolExecutor(1) as executor:
        executor.submit(copy_context().run, work).result()


def _line_in(error: BaseException, path: Path) -> str:
    """The line of a file in which an error was raised, as `:12`; empty if it was raised elsewhere."""
    if isinstance(error, SyntaxError):
        return f":{error.lineno}" if error.filename == str(path) else ""
    found, trace = "", error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == str(path):
            found = f":{trace.tb_lineno}"
        trace = trace.tb_next
    return found


def _place(path: Path) -> tuple[Path, str]:
    """The folder from which a file is imported, and its name as a module, with the packages that it is in."""
    folder, parts = path.parent, [path.stem]
    while (folder / "__init__.py").is_file():
        parts.insert(0, folder.name)
        folder = folder.parent
    return folder, ".".join(parts)


@contextmanager
def _loading() -> Iterator[None]:
    token = _is_loading.set(True)
    try:
        yield
    finally:
        _is_loading.reset(token)


def stop_if_loading() -> None:
    """End the execution of a script that is only loaded for its functions and sweeps; called by what runs one."""
    if _is_loading.get():
        raise Loaded

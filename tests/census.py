"""Figures on names, documentation and layering: `python -m tests.census [REVISION ...]`.

Prints a Markdown table with a column for each git revision, without one for the working tree.
"""

import argparse
import ast
import io
import re
import subprocess
import tarfile
import tokenize
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from tests.paths import ROOT

PACKAGES = ("engine", "jobs")
PROSE = (*PACKAGES, "docs", "README.md", "CHANGELOG.md")
_OLD_STYLE = re.compile(
    r"\b(nobody|somebody|whoever|told|said|anew|seldom|is there|beside|who)\b", re.IGNORECASE
)
_IRREGULAR = frozenset(
    [
        "begun",
        "broken",
        "built",
        "chosen",
        "done",
        "drawn",
        "found",
        "given",
        "gone",
        "held",
        "kept",
        "known",
        "lost",
        "made",
        "met",
        "said",
        "seen",
        "sent",
        "shown",
        "spent",
        "taken",
        "told",
        "thrown",
        "understood",
        "written",
    ]
)
_NO_PARTICIPLES = frozenset(
    ["bed", "embed", "exceed", "feed", "fixed", "need", "proceed", "red", "seed", "shed", "speed"]
)
_OFFERED_TO_JOBS = re.compile(r"engine\.(kinds|job|serving)\b")
"""What the engine offers to jobs; `engine.job` is the older name of `engine.kinds`."""
_Documented = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef

Figures = dict[str, str]


def main() -> None:
    """Print the figures of each revision."""
    _, details = (__doc__ or "").split("\n\n")
    parser = argparse.ArgumentParser("python -m tests.census", description=details)
    parser.add_argument("revisions", nargs="*", metavar="REVISION", help="such as HEAD~5 or main")
    revisions = parser.parse_args().revisions
    try:
        columns = {name: at_revision(name) for name in revisions} or {"working tree": figures(ROOT)}
    except subprocess.CalledProcessError as error:
        parser.error(error.stderr.decode().strip())
    rows = dict.fromkeys(chain.from_iterable(columns.values()))
    lines = [["", *columns], ["---"] * (1 + len(columns))]
    lines += [[row, *(column.get(row, "") for column in columns.values())] for row in rows]
    print("\n".join(f"| {' | '.join(line)} |" for line in lines))  # noqa: T201


def at_revision(revision: str) -> Figures:
    """The figures of a git revision, from a temporary copy of its files."""
    command = ["git", "archive", "--end-of-options", revision, *PROSE]
    archive = subprocess.run(command, cwd=ROOT, capture_output=True, check=True)  # noqa: S603
    with TemporaryDirectory() as folder:
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as files:
            files.extractall(folder, filter="data")
        return figures(Path(folder))


def figures(root: Path) -> Figures:
    """The figures of the files in a folder."""
    found: Figures = {}
    for package in PACKAGES:
        trees = [ast.parse(path.read_text()) for path in modules(root / package)]
        names = [name for tree in trees for name in function_names(tree)]
        participles = sum(map(is_participle, names))
        documented = [node for tree in trees for node in publicly_documented(tree)]
        words = [len(docstring(node).split()) for node in documented]
        with_parameters = [
            len(docstring(node).split()) for node in documented if has_parameters(node)
        ]
        found[f"{package}: functions"] = str(len(names))
        found[f"{package}: functions named by a participle"] = (
            f"{participles} ({participles / len(names):.1%})"
        )
        found[f"{package}: median words of a public docstring"] = f"{median(words):g}"
        found[f"{package}: the same of functions with parameters"] = f"{median(with_parameters):g}"
    found["jobs: imports past engine.kinds"] = str(
        sum(len(set(imports_past_kinds(path))) for path in modules(root / "jobs"))
    )
    for place in PROSE:
        words = [len(text.split()) for text in prose(root / place)]
        old = sum(len(_OLD_STYLE.findall(text)) for text in prose(root / place))
        found[f"{place}: words of the old style in 1,000"] = f"{1000 * old / sum(words):.1f}"
    for folder in sorted({path.parent for package in PACKAGES for path in modules(root / package)}):
        count = len(list(folder.glob("*.py")))
        found[f"{folder.relative_to(root)}/: modules"] = str(count)
    return found


def modules(folder: Path) -> list[Path]:
    """The Python files of a folder."""
    return sorted(folder.rglob("*.py"))


def function_names(tree: ast.Module) -> Iterator[str]:
    """The names of all functions and methods but properties, which are nouns or claims."""
    for node in ast.walk(tree):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            marks = {mark.id for mark in node.decorator_list if isinstance(mark, ast.Name)}
            if not marks & {"property", "fixture"}:
                yield node.name


def is_participle(name: str) -> bool:
    """Whether a function's name begins with a participle, such as `_opened` or `_settled_judge`."""
    first = name.strip("_").split("_")[0]
    return first in _IRREGULAR or (first.endswith("ed") and first not in _NO_PARTICIPLES)


def publicly_documented(tree: ast.Module) -> Iterator[_Documented]:
    """The public functions, classes and methods that have a docstring."""
    for node in ast.walk(tree):
        if isinstance(node, _Documented) and not node.name.startswith("_") and docstring(node):
            yield node


def docstring(node: _Documented) -> str:
    """The docstring of a function or class; empty without one."""
    return ast.get_docstring(node) or ""


def has_parameters(node: _Documented) -> bool:
    """Whether it is a function or method that takes something beside `self` or `cls`."""
    if isinstance(node, ast.ClassDef):
        return False
    names = {argument.arg for argument in ast.walk(node.args) if isinstance(argument, ast.arg)}
    return bool(names - {"self", "cls"})


def imports_past_kinds(path: Path) -> Iterator[str]:
    """The modules that a file of a job imports from the engine past what it offers to jobs."""
    for node in ast.walk(ast.parse(path.read_text())):
        names: list[str] = []
        if isinstance(node, ast.ImportFrom):
            names = [node.module or ""]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        for name in names:
            if name.split(".")[0] == "engine" and not _OFFERED_TO_JOBS.match(name):
                yield name


def prose(place: Path) -> Iterator[str]:
    """The text that people read: comments and strings of code, and pages without their code."""
    for path in [place] if place.is_file() else sorted(place.rglob("*")):
        if path.suffix == ".md":
            text = re.sub(r"^```.*?^```", "", path.read_text(), flags=re.DOTALL | re.MULTILINE)
            yield re.sub(r"^ {4}.*$|`[^`\n]*`", "", text, flags=re.MULTILINE)
        elif path.suffix == ".py":
            yield from _prose_of_code(path)


def _prose_of_code(path: Path) -> Iterator[str]:
    with path.open("rb") as file:
        for token in tokenize.tokenize(file.readline):
            if token.type == tokenize.COMMENT:
                yield token.string
    for node in ast.walk(ast.parse(path.read_text())):
        # A string with a space is a message or a docstring, any other a name.
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " in node.value:
            yield node.value


if __name__ == "__main__":
    main()

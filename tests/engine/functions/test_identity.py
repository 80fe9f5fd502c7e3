"""The identity of answers: name, version and arguments; and the warning of answers of older code."""

import copy
import os
import pickle
import subprocess
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from textwrap import dedent

import pytest

from engine import BlockingRun, FunctionJob, Sweep, UsageError, open_run
from engine.functions import as_job
from engine.functions.source import Reference
from tests.engine.functions.raising import echo, fail
from tests.launcher.processes import Launcher
from tests.paths import ROOT

CODE = """
from pathlib import Path
from engine import Sweep, job

@job(version="{version}")
def score(n: int) -> int:
    {comment}
    with Path(__file__).with_name("calls").open("a") as calls:
        calls.write(f"{{n}} ")
    return n {operation}

sweep = Sweep("scores", score, matrix={{"n": range({cells})}})
if __name__ == "__main__":
    sweep.run(Path(__file__).with_name("s.db"), progress=False)
"""


def write(
    file: Path,
    *,
    version: str = "1",
    comment: str = '"""Docs."""',
    operation: str = "+ 1",
    cells: int = 3,
) -> None:
    """Write a script with a sweep that notes its calls beside it."""
    file.parent.mkdir(parents=True, exist_ok=True)
    code = dedent(CODE).format(version=version, comment=comment, operation=operation, cells=cells)
    file.write_text(code)


class Python:
    """Runs Python, and the command line, in a folder; what runs must succeed."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher

    def __call__(self, *arguments: str, folder: Path) -> "subprocess.CompletedProcess[str]":
        return self._run(arguments, folder, is_python=True)

    def nightsweep(self, *arguments: str, folder: Path) -> "subprocess.CompletedProcess[str]":
        return self._run(arguments, folder, is_python=False)

    def _run(
        self, arguments: Sequence[str], folder: Path, *, is_python: bool
    ) -> "subprocess.CompletedProcess[str]":
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            # A file that is written twice within a second is compiled twice.
            "PYTHONDONTWRITEBYTECODE": "1",
        }
        done = self._launcher.run(
            arguments, folder=folder, environment=environment, is_python=is_python
        )
        assert done.returncode == 0, done.stderr
        return done


@pytest.fixture
def python(launcher: Launcher) -> Python:
    return Python(launcher)


def calls(folder: Path) -> int:
    """How often the function was called."""
    return len((folder / "calls").read_text().split())


def stored(folder: Path) -> BlockingRun:
    """The run in the folder's store."""
    return open_run("scores", folder / "s.db")


def test_a_script_that_runs_again_asks_nothing_that_is_answered(
    python: Python, tmp_path: Path
) -> None:
    file = tmp_path / "study.py"
    write(file)
    python("study.py", folder=tmp_path)
    write(file, cells=5)

    done = python("study.py", folder=tmp_path)

    assert calls(tmp_path) == 5
    assert [row.values["value"] for row in stored(tmp_path).rows()] == [1, 2, 3, 4, 5]
    assert "changed" not in done.stderr


def test_a_new_version_asks_again_and_keeps_the_old_answers_as_past_rows(
    python: Python, tmp_path: Path
) -> None:
    file = tmp_path / "study.py"
    write(file)
    python("study.py", folder=tmp_path)
    write(file, version="2", operation="+ 10")

    python("study.py", folder=tmp_path)

    run = stored(tmp_path)
    assert [(row.labels["version"], row.values["value"]) for row in run.rows()] == [
        ("2", 10),
        ("2", 11),
        ("2", 12),
    ]
    past = [row for row in run.rows(past=True) if row.asked is False]
    assert [(row.labels["version"], row.values["value"]) for row in past] == [
        ("1", 1),
        ("1", 2),
        ("1", 3),
    ]


def test_changed_code_of_the_same_version_is_warned_of_once_in_each_execution(
    python: Python,
    tmp_path: Path,
) -> None:
    file = tmp_path / "study.py"
    write(file)
    python("study.py", folder=tmp_path)
    write(file, operation="+ 10", cells=4)

    first = python("study.py", folder=tmp_path)
    second = python("study.py", folder=tmp_path)

    rows = list(stored(tmp_path).rows())
    assert [row.values["value"] for row in rows] == [1, 2, 3, 13]
    old, new = rows[0].identity, rows[3].identity
    assert old != new
    for done in (first, second):
        assert done.stderr.count("has changed since some of its answers were made") == 1
        assert f"3 with identity {old}, now {new}" in done.stderr
    messages = [event.message for event in stored(tmp_path).events()]
    assert len([one for one in messages if f"3 with identity {old}" in one]) == 2


@pytest.mark.parametrize("comment", ['"""Other docs,\n    longer."""', "# a comment", "pass  # x"])
def test_comments_and_docstrings_are_no_change(
    comment: str, python: Python, tmp_path: Path
) -> None:
    file = tmp_path / "study.py"
    write(file, comment='"""Docs."""' if comment != "pass  # x" else "pass")
    python("study.py", folder=tmp_path)
    write(file, comment=comment)

    done = python("study.py", folder=tmp_path)

    assert "changed" not in done.stderr
    assert len({row.identity for row in stored(tmp_path).rows()}) == 1


def test_with_the_source_as_version_changed_code_asks_again(python: Python, tmp_path: Path) -> None:
    file = tmp_path / "study.py"
    write(file, version="source")
    python("study.py", folder=tmp_path)
    write(file, version="source", operation="+ 10")

    done = python("study.py", folder=tmp_path)

    assert "changed" not in done.stderr
    assert [row.values["value"] for row in stored(tmp_path).rows()] == [10, 11, 12]
    assert calls(tmp_path) == 6


def test_a_script_a_command_and_an_import_are_the_same_function(
    python: Python, tmp_path: Path
) -> None:
    write(tmp_path / "study.py")
    python("study.py", folder=tmp_path)

    python.nightsweep("run", "study.py:sweep", "--store", "s.db", folder=tmp_path)
    python("-c", "import study; study.sweep.run('s.db', progress=False)", folder=tmp_path)
    python("-m", "study", folder=tmp_path)

    assert calls(tmp_path) == 3


def test_a_module_of_a_package_has_the_same_name_however_it_is_run(
    python: Python, tmp_path: Path
) -> None:
    package = tmp_path / "lab" / "studies"
    write(package / "study.py")
    (package / "__init__.py").touch()
    (tmp_path / "lab" / "__init__.py").touch()

    python("-m", "lab.studies.study", folder=tmp_path)
    python("lab/studies/study.py", folder=tmp_path)
    python.nightsweep(
        "run", "lab/studies/study.py:sweep", "--store", "lab/studies/s.db", folder=tmp_path
    )

    assert calls(package) == 3
    plan = python("-c", "import lab.studies.study as s; print(s.score.name)", folder=tmp_path)
    assert plan.stdout == "lab.studies.study.score\n"


def test_a_file_that_has_moved_continues_its_run(python: Python, tmp_path: Path) -> None:
    write(tmp_path / "old" / "study.py")
    python("study.py", folder=tmp_path / "old")
    (tmp_path / "old").rename(tmp_path / "new")
    write(tmp_path / "new" / "study.py", cells=4)

    python("study.py", folder=tmp_path / "new")

    assert calls(tmp_path / "new") == 4


def test_resume_finds_the_function_and_says_so_if_its_file_is_gone(
    python: Python, tmp_path: Path
) -> None:
    write(tmp_path / "study.py", version="1", operation="+ (1 / (n - 1))")
    python("study.py", folder=tmp_path)
    assert stored(tmp_path).status().cells_failed == 1
    write(tmp_path / "study.py", version="1")
    stored(tmp_path).retry()

    python.nightsweep("resume", "scores", "--store", "s.db", folder=tmp_path)

    assert stored(tmp_path).status().cells_done == 3
    (tmp_path / "study.py").unlink()
    with pytest.raises(UsageError, match=r"study\.py, which is gone: if it has moved"):
        stored(tmp_path).resume(progress=False)
    assert len(list(stored(tmp_path).rows())) == 3
    assert stored(tmp_path).status().cells_done == 3


def test_resume_with_another_version_says_what_to_do(python: Python, tmp_path: Path) -> None:
    write(tmp_path / "study.py")
    python("study.py", folder=tmp_path)
    write(tmp_path / "study.py", version="2")

    with pytest.raises(
        AssertionError, match="has the version '2' now, and the sweep was made with '1'"
    ):
        python.nightsweep("resume", "scores", "--store", "s.db", folder=tmp_path)


def test_functions_without_a_name_of_their_own_are_refused() -> None:
    class Caller:
        def __call__(self, n: int) -> int:
            return n

    for nameless in (lambda n: n, partial(fail, "fine"), Caller(), Caller):
        with pytest.raises(UsageError, match="job decorates functions"):
            as_job(nameless)


def test_a_job_is_found_again_by_its_name_when_it_is_copied_or_pickled() -> None:
    assert pickle.loads(pickle.dumps(echo)) is echo  # noqa: S301
    assert copy.copy(echo) is echo
    assert copy.deepcopy(echo) is echo


def test_a_job_is_called_like_its_function() -> None:
    assert echo("a") == "a"
    assert echo(text="a") == "a"
    assert isinstance(echo, FunctionJob)
    assert (vars(echo)["__name__"], echo.__doc__) == ("echo", "Its argument, of any size.")


def test_the_digest_is_of_the_source_when_the_function_was_made(
    python: Python, tmp_path: Path
) -> None:
    file = tmp_path / "module.py"
    file.write_text("from engine import job\n\n@job\ndef score(n: int) -> int:\n    return n\n")
    ask = "print(module.score.source)"
    edit = 'open(module.__file__, "w").write("x = 1\\n" * 20)'

    before = python("-c", f"import module; {ask}", folder=tmp_path).stdout
    after = python("-c", f"import module; {edit}; {ask}", folder=tmp_path).stdout

    assert before == after
    assert len(before.strip()) == 12


@pytest.mark.parametrize(
    "text", ["tox", "tox.py", "tox.py:", ":sweep", "tox.py:not a name", "tox.py:a..b"]
)
def test_what_names_no_object_is_an_error_with_an_example(text: str) -> None:
    with pytest.raises(UsageError, match=r"write FILE\.py:NAME, such as experiments/tox\.py:sweep"):
        Reference.parse(text)


def test_sweeps_over_one_function_with_equal_cells_have_equal_digests() -> None:
    one = Sweep("one", echo, matrix={"text": ["a", "b"]})
    same = Sweep("same", echo, matrix={"text": iter(["a", "b"])})
    other = Sweep("other", echo, matrix={"text": ["a", "c"]})

    assert one.digest == same.digest
    assert one.digest != other.digest

"""Folders of the user named `jobs` and `engine`: code there works, or the error names the folder."""

import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from textwrap import dedent, indent

import pytest

from tests.paths import ROOT

QUICKSTART = ROOT / "docs/examples/quickstart.yaml"
LOAD_SERVICES = """\
from engine import Registry
registry = Registry.installed()
for kind in ("circuit-breaker-labs", "enkrypt", "local"):
    assert registry.service(kind).kinds()
print("services loaded")
"""
EVALUATE = """\
import anyio

from engine import Registry, Sweep, open_engine
from jobs.evaluator import evaluator_of
from jobs.mine import NUMBER

async def evaluate():
    registry = Registry(services={"local": evaluator_of(f"mine-{NUMBER}", lambda question: "Call 988.")})
    matrix = {
        "models": ["any"], "prompts": [{"name": "bare", "text": "Be kind."}],
        "groups": ["self_harm"], "thresholds": [0.3],
    }
    sweep = Sweep.parse(
        {"name": "s", "service": {"kind": "local"}, "evaluation": "single_turn", "matrix": matrix},
        registry=registry,
    )
    async with open_engine("s.db", registry=registry) as engine:
        status = await (await engine.submit(sweep)).execute()
    print(f"{status.cells_done} of {status.cells} cells answered")

anyio.run(evaluate)
"""


def run(folder: Path, *command: str, path: str | None = None) -> "subprocess.CompletedProcess[str]":
    """Run a command in a folder, both streams as one; `path` is PYTHONPATH."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    if path is not None:
        environment["PYTHONPATH"] = path
    return subprocess.run(  # noqa: S603
        command,
        cwd=folder,
        env=environment,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )


def python(folder: Path, *arguments: str) -> "subprocess.CompletedProcess[str]":
    return run(folder, sys.executable, *arguments)


def as_script(folder: Path, code: str) -> "subprocess.CompletedProcess[str]":
    (folder / "script.py").write_text(code)
    return python(folder, "script.py")


def as_module(folder: Path, code: str) -> "subprocess.CompletedProcess[str]":
    (folder / "script.py").write_text(code)
    return python(folder, "-m", "script")


def as_notebook(folder: Path, code: str) -> "subprocess.CompletedProcess[str]":
    """As in a kernel, whose first entry of sys.path is the empty text."""
    return python(folder, "-c", code)


def as_test(folder: Path, code: str) -> "subprocess.CompletedProcess[str]":
    """In a test of the command `pytest`, which puts the folder on sys.path because of its conftest.py."""
    (folder / "conftest.py").touch()
    (folder / "test_it.py").write_text("def test_it():\n" + indent(code, "    "))
    return run_pytest(folder)


def run_pytest(folder: Path, *options: str) -> "subprocess.CompletedProcess[str]":
    command = str(Path(sys.executable).with_name("pytest"))
    # The plugins that are installed here take seconds to import.
    plugins = [f"-pno:{name}" for name in ("schemathesis", "hypothesispytest", "xdist", "asyncio")]
    return run(folder, command, "-qs", *plugins, "-pno:cacheprovider", "--rootdir", ".", *options)


Host = Callable[[Path, str], "subprocess.CompletedProcess[str]"]
each_host = pytest.mark.parametrize("host", [as_script, as_module, as_notebook, as_test])


def nightsweep(
    folder: Path, *arguments: str, path: str | None = None
) -> "subprocess.CompletedProcess[str]":
    command = str(Path(sys.executable).with_name("nightsweep"))
    return run(folder, command, *arguments, path=path)


def write(folder: Path, files: Mapping[str, str]) -> Path:
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


OWN_JOBS = {"jobs/__init__.py": "", "jobs/mine.py": "NUMBER = 7\n"}
OWN_ENGINE_FOLDER = {"engine/train.py": "", "engine/deep/loop.py": ""}


@each_host
def test_ours_are_found_before_folders_without_init(host: Host, tmp_path: Path) -> None:
    write(tmp_path, {"jobs/batch.sh": "", "jobs/evaluator/notes.txt": "", **OWN_ENGINE_FOLDER})

    ended = host(tmp_path, LOAD_SERVICES)

    assert ended.returncode == 0, ended.stdout
    assert "services loaded" in ended.stdout


@each_host
def test_services_are_found_behind_a_package_jobs_of_the_user(host: Host, tmp_path: Path) -> None:
    write(tmp_path, OWN_JOBS)

    ended = host(tmp_path, f"import jobs.mine\n{LOAD_SERVICES}print('mine', jobs.mine.NUMBER)\n")

    assert ended.returncode == 0, ended.stdout
    assert "services loaded\nmine 7\n" in ended.stdout


def test_a_package_jobs_of_the_user_is_imported_after_services_were_loaded(
    tmp_path: Path,
) -> None:
    write(tmp_path, OWN_JOBS)

    ended = as_script(
        tmp_path, f"{LOAD_SERVICES}from jobs import mine\nprint('mine', mine.NUMBER)\n"
    )

    assert ended.returncode == 0, ended.stdout
    assert "services loaded\nmine 7\n" in ended.stdout


def test_a_run_is_executed_beside_a_package_jobs_of_the_user(tmp_path: Path) -> None:
    ended = as_script(write(tmp_path, OWN_JOBS), EVALUATE)

    assert ended.returncode == 0, ended.stdout
    assert "1 of 1 cells answered" in ended.stdout


FUNCTION = """\
from engine import Sweep, job
from jobs.mine import NUMBER

@job(version="1", processes=1)
def scored(seed: int) -> dict[str, int]:
    return {"score": seed * NUMBER}

sweep = Sweep("scores", scored, matrix={"seed": [1, 2, 3]})
if __name__ == "__main__":
    print(sweep.run(store="s.db"))
"""


@pytest.mark.parametrize("file", ["study.py", "jobs/study.py", "engine/study.py"])
def test_the_command_runs_a_function_beside_or_in_packages_of_the_user(
    file: str, tmp_path: Path
) -> None:
    write(tmp_path, {**OWN_JOBS, "engine/__init__.py": "", file: FUNCTION})

    ended = nightsweep(tmp_path, "run", f"{file}:sweep")

    assert ended.returncode == 0, ended.stdout
    assert "3 of 3 cells answered" in ended.stdout


@pytest.mark.parametrize("module", ["study", "jobs.study"])
def test_a_script_runs_a_function_beside_or_in_a_package_jobs(module: str, tmp_path: Path) -> None:
    write(tmp_path, {**OWN_JOBS, f"{module.replace('.', '/')}.py": FUNCTION})

    ended = python(tmp_path, "-m", module)

    assert ended.returncode == 0, ended.stdout
    assert "3 of 3 cells answered" in ended.stdout


@pytest.mark.parametrize("package", ["engine", "jobs"])
def test_a_script_that_imports_the_package_that_it_lies_in_is_answered_with_its_folder(
    package: str, tmp_path: Path
) -> None:
    code = f"from engine import Sweep\nimport jobs\nimport {package}.mine\n"
    write(tmp_path, {f"{package}/{name}": "" for name in ("__init__.py", "mine.py")})
    (tmp_path / package / "script.py").write_text(code)

    ended = python(tmp_path, f"{package}/script.py")

    assert ended.returncode == 1
    assert f"ImportError: cannot import '{package}.mine'" in ended.stdout
    assert f"your folder {tmp_path / package} has the same name; rename" in ended.stdout


@each_host
def test_a_module_that_hides_one_of_ours_is_named(host: Host, tmp_path: Path) -> None:
    write(tmp_path, {**OWN_JOBS, "jobs/chat.py": ""})

    ended = host(tmp_path, LOAD_SERVICES)

    assert ended.returncode == 1
    assert "UsageError: the service 'local' cannot be loaded from jobs.evaluator:" in ended.stdout
    assert (
        f"; your {tmp_path / 'jobs/chat.py'} hides nightsweep's jobs.chat: rename it\n"
        in ended.stdout
    )


def test_a_folder_that_hides_a_module_of_ours_is_named(tmp_path: Path) -> None:
    write(tmp_path, {**OWN_JOBS, "jobs/chat/data.csv": ""})

    ended = as_script(tmp_path, LOAD_SERVICES)

    assert f"; your {tmp_path / 'jobs/chat'} hides nightsweep's jobs.chat: rename" in ended.stdout


def test_an_object_that_a_module_of_the_user_lacks_is_reported_with_its_file(
    tmp_path: Path,
) -> None:
    write(tmp_path, {**OWN_JOBS, "jobs/evaluator.py": ""})

    ended = as_script(tmp_path, LOAD_SERVICES)

    assert "AttributeError: module 'jobs.evaluator' has no attribute" in ended.stdout
    assert f"; your {tmp_path / 'jobs/evaluator.py'} hides nightsweep's jobs." in ended.stdout


def test_a_file_jobs_py_is_named(tmp_path: Path) -> None:
    write(tmp_path, {"jobs.py": ""})

    ended = as_script(tmp_path, LOAD_SERVICES)

    assert ended.returncode == 1
    assert "UsageError: the service 'circuit-breaker-labs' cannot be loaded" in ended.stdout
    hides = f"; your file {tmp_path / 'jobs.py'} hides the package 'jobs' of nightsweep: rename it"
    assert hides in ended.stdout


def test_a_package_jobs_that_cannot_be_imported_is_named(tmp_path: Path) -> None:
    write(tmp_path, {"jobs/__init__.py": "raise RuntimeError('no GPU')\n"})

    ended = as_script(tmp_path, LOAD_SERVICES)

    before = f"; your {tmp_path / 'jobs/__init__.py'} is imported before nightsweep's 'jobs'; "
    assert f"RuntimeError: no GPU{before}rename your folder, or move it into" in ended.stdout


def test_a_package_jobs_that_comes_onto_the_path_after_ours_was_imported_is_named(
    tmp_path: Path,
) -> None:
    write(tmp_path, {f"repository/{name}": text for name, text in OWN_JOBS.items()})

    ended = as_script(
        tmp_path, f"{LOAD_SERVICES}import sys\nsys.path.insert(0, 'repository')\nimport jobs.mine\n"
    )

    assert ended.returncode == 1
    assert "ImportError: cannot import 'jobs.mine': 'jobs' is a package of night" in ended.stdout
    named = f"your folder {tmp_path / 'repository/jobs'} has the same name; rename your folder, or"
    assert named in ended.stdout


@each_host
def test_a_module_in_a_folder_engine_without_init_is_answered_with_the_folder(
    host: Host, tmp_path: Path
) -> None:
    write(tmp_path, OWN_ENGINE_FOLDER)

    ended = host(tmp_path, "import engine.train\n")

    assert ended.returncode == 1
    assert "ImportError: cannot import 'engine.train': 'engine' is a package of nig" in ended.stdout
    assert (
        f"your folder {tmp_path / 'engine'} has the same name; rename your folder, or move it into"
        " a package of your own\n"
    ) in ended.stdout


@pytest.mark.parametrize(
    ("statement", "module"),
    [("from engine import train", "engine.train"), ("import engine.deep.loop", "engine.deep")],
)
def test_the_folder_is_named_however_its_module_is_imported(
    statement: str, module: str, tmp_path: Path
) -> None:
    write(tmp_path, OWN_ENGINE_FOLDER)

    ended = as_script(tmp_path, f"{statement}\n")

    assert f"ImportError: cannot import '{module}': 'engine' is a package of nights" in ended.stdout
    assert f"your folder {tmp_path / 'engine'} has the same name; rename" in ended.stdout


def test_a_module_below_one_of_ours_is_answered_with_the_folder_too(tmp_path: Path) -> None:
    write(tmp_path, {"engine/core/mine.py": ""})

    ended = as_script(tmp_path, "import engine.core.mine\n")

    assert "ImportError: cannot import 'engine.core.mine'" in ended.stdout
    assert f"your folder {tmp_path / 'engine'} has the same name" in ended.stdout


def test_optional_imports_are_still_optional(tmp_path: Path) -> None:
    write(tmp_path, OWN_ENGINE_FOLDER)
    code = dedent(
        """\
        import importlib.util
        try:
            import engine.train
        except ImportError as error:
            print("without", error.name)
        try:
            import engine.nowhere
        except ModuleNotFoundError as error:
            print(error)
        print(importlib.util.find_spec("engine.nowhere"), importlib.util.find_spec("jobs.nowhere"))
        """
    )

    ended = as_script(tmp_path, code)

    assert ended.stdout.splitlines() == [
        "without engine.train",
        "No module named 'engine.nowhere'",
        "None None",
    ]


@pytest.mark.parametrize(
    ("host", "file"),
    [
        *((host, "engine/__init__.py") for host in (as_script, as_module, as_notebook, as_test)),
        (as_script, "engine.py"),
    ],
)
def test_python_names_the_file_of_a_package_engine_of_the_user(
    host: Host, file: str, tmp_path: Path
) -> None:
    write(tmp_path, {file: ""})

    ended = host(tmp_path, "from engine import Sweep\n")

    assert ended.returncode == 1
    place = tmp_path / file
    assert f"cannot import name 'Sweep' from 'engine' ({place})" in ended.stdout


def test_pytest_finds_ours_before_its_tests_if_conftest_imports_it(tmp_path: Path) -> None:
    write(tmp_path, {"conftest.py": "import engine\n", "jobs/__init__.py": ""})
    for folder in ("engine", "jobs"):
        test = f"def test_{folder}():\n{indent(LOAD_SERVICES, '    ')}"
        write(tmp_path, {f"{folder}/tests/test_{folder}.py": test})

    ended = run_pytest(tmp_path, "--import-mode=importlib")

    assert ended.returncode == 0, ended.stdout
    assert "2 passed" in ended.stdout


@pytest.mark.parametrize(
    "files",
    [
        {**OWN_JOBS, "jobs/chat.py": "", "engine/__init__.py": ""},
        {"jobs/batch.sh": "", **OWN_ENGINE_FOLDER, "jobs.py": "", "engine.py": ""},
    ],
    ids=["packages", "folders and files"],
)
def test_the_command_works_beside_any_folders(files: Mapping[str, str], tmp_path: Path) -> None:
    write(tmp_path, files)

    planned = nightsweep(tmp_path, "plan", str(QUICKSTART))

    assert planned.returncode == 0, planned.stdout


def test_the_command_works_with_a_package_jobs_on_its_path(tmp_path: Path) -> None:
    write(tmp_path, OWN_JOBS)

    planned = nightsweep(tmp_path, "plan", str(QUICKSTART), path=".")
    added = nightsweep(tmp_path, "groups", "--help", path=".")

    assert (planned.returncode, added.returncode) == (0, 0), planned.stdout + added.stdout


def test_the_command_names_a_module_on_its_path_that_hides_one_of_ours(tmp_path: Path) -> None:
    write(tmp_path, {**OWN_JOBS, "jobs/evaluator.py": ""})

    planned = nightsweep(tmp_path, "plan", str(QUICKSTART), path=".")
    added = nightsweep(tmp_path, "groups", path=".")

    hides = f"; your {tmp_path / 'jobs/evaluator.py'} hides nightsweep's jobs.evaluator: rename it"
    assert (planned.returncode, added.returncode) == (2, 2)
    assert hides in planned.stdout
    assert hides in added.stdout


def test_the_command_does_not_start_with_a_package_engine_on_its_path(tmp_path: Path) -> None:
    write(tmp_path, {"engine/__init__.py": ""})

    ended = nightsweep(tmp_path, "--help", path=".")

    assert ended.returncode == 1
    assert "ModuleNotFoundError: No module named 'engine.cli'" in ended.stdout

"""Functions in processes of their own: what passes, what dies, what is left behind."""

import os
import signal
from collections.abc import Callable
from pathlib import Path
from textwrap import dedent
from typing import Any

import pytest

from engine import BlockingContext, Sweep, UsageError
from engine.functions.messages import dump_error, restore_error
from engine.kinds import Disconnected, JobError, Permanent, RateLimited, Unreachable
from tests.engine.functions.raising import Busy, Hopeless, die, echo, hang_once, print_much
from tests.engine.functions.scenes import QUICK_RETRY, rows, run
from tests.launcher.processes import Command, Launcher
from tests.paths import ROOT
from tests.patience import until


def script(folder: Path, code: str, name: str = "script.py") -> Path:
    """A script in a folder."""
    file = folder / name
    file.write_text(dedent(code))
    return file


class Scripts:
    """Starts scripts in their folders."""

    def __init__(self, launcher: Launcher) -> None:
        self._launcher = launcher

    def start(self, file: Path) -> Command:
        """Start a script, which writes its streams beside it."""
        output = (file.with_suffix(".out"), file.with_suffix(".err"))
        return self._launcher.start(
            [file.name],
            folder=file.parent,
            environment={**os.environ, "PYTHONPATH": str(ROOT)},
            output=output,
            is_python=True,
        )

    def execute(self, file: Path) -> tuple[str, str]:
        """What a script writes to stdout and stderr; it must succeed."""
        command = self.start(file)
        assert command.wait() == 0, command.stderr
        return command.stdout, command.stderr


@pytest.fixture
def scripts(launcher: Launcher) -> Scripts:
    return Scripts(launcher)


def is_alive(process: int) -> bool:
    """Whether a process exists and has not ended."""
    try:
        return "Z" not in Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


@pytest.mark.parametrize(
    ("how", "first"),
    [
        ("SIGKILL", "its process was ended by SIGKILL, perhaps for lack of memory"),
        ("SIGTERM", "its process was ended by SIGTERM"),
        ("SIGABRT", "its process was ended by SIGABRT"),
        ("exit", "its process ended with exit code 7"),
    ],
)
def test_a_process_that_dies_is_replaced_and_its_call_made_again(
    how: str, first: str, tmp_path: Path
) -> None:
    sweep = Sweep("die", die, matrix={"how": [how], "marks": [str(tmp_path)]}, retry=QUICK_RETRY)

    done = run(sweep, tmp_path)

    [found] = done.rows()
    assert found.error is None
    assert found.values["value"] != int((tmp_path / how).read_text())
    assert [one.error for one in done.job(1).attempts] == [first, None]


def test_a_call_that_hangs_ends_with_its_process(tmp_path: Path) -> None:
    sweep = Sweep("hang", hang_once, matrix={"marks": [str(tmp_path)]}, retry=QUICK_RETRY)

    done = run(sweep, tmp_path)

    hung = int((tmp_path / "hung").read_text())
    [found] = done.rows()
    assert found.values["value"] != hung
    assert [one.error for one in done.job(1).attempts] == ["no answer within 5 s", None]
    assert not is_alive(hung)


def test_arguments_and_answers_may_be_larger_than_the_buffer_of_a_pipe(tmp_path: Path) -> None:
    texts = ["x" * 200_000, "ü\n" * 20_000, ""]

    found = rows(Sweep("echo", echo, matrix={"text": texts}, processes=2), tmp_path)

    assert [row.values.get("value") for row in found] == texts


def test_what_it_prints_goes_to_stderr_and_there_is_nothing_to_read(
    tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    found = rows(Sweep("print", print_much, matrix={"n": [1, 2]}, processes=1), tmp_path)

    assert [row.values for row in found] == [{"value": 0}, {"value": 0}]
    out, err = capfd.readouterr()
    assert out == ""
    for text in ("printed by a command", "written to the descriptor"):
        assert err.count(text) == 2


def test_processes_end_with_the_run(scripts: Scripts, tmp_path: Path) -> None:
    file = script(
        tmp_path,
        """
        import os
        from engine import Sweep, job

        @job(processes=3)
        def identify(n: int) -> int:
            return os.getpid()

        run = Sweep("identify", identify, matrix={"n": range(12)}).run("s.db", progress=False)
        print(*{row.values["value"] for row in run.rows()})
        """,
    )

    out, _ = scripts.execute(file)

    processes = [int(one) for one in out.split()]
    assert 1 <= len(processes) <= 3
    assert not [one for one in processes if is_alive(one)]


def test_processes_end_after_their_run_is_killed_also_within_a_call(
    scripts: Scripts, tmp_path: Path
) -> None:
    file = script(
        tmp_path,
        """
        import os, signal
        from pathlib import Path
        from engine import Sweep, job

        @job(processes=2)
        def hang(n: int) -> int:
            Path(f"{n}.pid").write_text(str(os.getpid()))
            while True:
                signal.pause()

        Sweep("hang", hang, matrix={"n": [1, 2]}).run("s.db", progress=False)
        """,
    )
    command = scripts.start(file)
    marks = [tmp_path / "1.pid", tmp_path / "2.pid"]
    command.until(lambda: all(mark.exists() and mark.read_text() for mark in marks), "both calls")
    workers = [int(mark.read_text()) for mark in marks]
    assert all(map(is_alive, workers))

    command.kill()

    until(lambda: not any(map(is_alive, workers)), "the end of its processes")


def test_an_unguarded_script_runs_once_whatever_its_processes_load(
    scripts: Scripts, tmp_path: Path
) -> None:
    file = script(
        tmp_path,
        """
        import sys
        from helper import double
        from engine import Sweep, job

        print("loaded")

        @job(processes=2)
        def twice(n: int) -> dict[str, float]:
            return {"twice": double(n), "stores": "sqlalchemy" in sys.modules}

        run = Sweep("twice", twice, matrix={"n": range(4)}).run("s.db", progress=False)
        print("ran", [row.values["twice"] for row in run.rows()])
        print({row.values["stores"] for row in run.rows()})
        """,
    )
    script(tmp_path, "def double(n): return 2 * n", "helper.py")

    out, err = scripts.execute(file)

    # What executes a run takes seconds to import, and its processes need none of it.
    assert out == "loaded\nran [0, 2, 4, 6]\n{False}\n"
    assert "loaded" in err


def test_an_unguarded_async_script_runs_once_as_well(scripts: Scripts, tmp_path: Path) -> None:
    file = script(
        tmp_path,
        """
        import asyncio
        from engine import Sweep, job, open_engine

        @job(processes=1)
        def twice(n: int) -> int:
            return 2 * n

        async def main():
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(work())

        async def work():
            async with open_engine("s.db") as engine:
                status = await (await engine.submit(Sweep("t", twice, matrix={"n": range(3)}))).execute()
                print("done", status.cells_done)

        asyncio.run(main())
        """,
    )

    out, _ = scripts.execute(file)

    assert out == "done 3\n"


@pytest.mark.parametrize("name", ["notebook", "closure"])
def test_what_no_other_process_can_load_is_refused_before_anything_runs(
    name: str, tmp_path: Path
) -> None:
    def closure(n: int) -> int:
        calls.append(n)
        return n

    calls: list[int] = []
    scope: dict[str, Any] = {"__name__": "__main__"}
    exec("def notebook(n: int) -> int:\n    return n", scope)  # noqa: S102
    function: Callable[..., Any] = scope["notebook"] if name == "notebook" else closure
    where = (
        "of a notebook or an interactive session"
        if name == "notebook"
        else "defined inside a function"
    )

    with pytest.raises(UsageError, match=f"in another process: .*{where}"):
        run(Sweep("refused", function, matrix={"n": [1]}, processes=2), tmp_path)

    assert not calls


def test_a_file_that_cannot_be_loaded_again_is_refused(scripts: Scripts, tmp_path: Path) -> None:
    file = script(
        tmp_path,
        """
        import os
        from pathlib import Path
        from engine import Sweep, UsageError, job

        @job(processes=1)
        def twice(n: int) -> int:
            return 2 * n

        sweep = Sweep("twice", twice, matrix={"n": range(3)})
        Path(__file__).write_text("import os\\nos._exit(5)")
        try:
            sweep.run("s.db", progress=False)
        except UsageError as error:
            print(error)
        Path(__file__).unlink()
        try:
            sweep.run("s.db", progress=False)
        except UsageError as error:
            print(error)
        """,
    )

    out, _ = scripts.execute(file)

    ended, gone = out.splitlines()
    assert ended.endswith("cannot be loaded in another process: its process ended with exit code 5")
    assert "script.py, which is gone" in gone


def test_a_function_with_a_context_does_not_run_in_processes() -> None:
    def waits(n: int, ctx: BlockingContext) -> int:
        return n

    with pytest.raises(
        UsageError, match="a function in another process has no context: leave out ctx"
    ):
        Sweep("waits", waits, matrix={"n": [1]}, processes=2)


@pytest.mark.parametrize(
    ("raised", "kind"),
    [
        (Busy("busy", retry_after_s=3.0), "Transient"),
        (Hopeless("never", detail="d", status=404, unread=b"raw"), "Permanent"),
        (RateLimited("slow", retry_after_s=2.0), "RateLimited"),
        (Disconnected("lost"), "Disconnected"),
        (Unreachable("away"), "Unreachable"),
        (JobError("some"), "JobError"),
    ],
    ids=repr,
)
def test_an_error_keeps_what_decides_on_its_way_between_processes(
    raised: JobError, kind: str
) -> None:
    raised.trace, raised.service_answers = "trace", True

    restored = restore_error(dump_error(raised))

    assert type(restored).__name__ == kind
    for name in ("message", "detail", "status", "sent", "unread", "trace", "service_answers"):
        assert getattr(restored, name) == getattr(raised, name)
    assert getattr(restored, "retry_after_s", None) == getattr(raised, "retry_after_s", None)
    assert isinstance(raised, type(restored))


def test_a_class_of_the_same_name_as_one_of_the_engine_is_not_taken_for_it() -> None:
    class Transient(Permanent):
        """Not the engine's."""

    assert type(restore_error(dump_error(Transient("x")))) is Permanent


def test_ctrl_c_is_not_for_the_processes(scripts: Scripts, tmp_path: Path) -> None:
    file = script(
        tmp_path,
        """
        import os, signal
        from engine import Sweep, job

        @job(processes=1)
        def interrupt(n: int) -> int:
            os.kill(os.getpid(), signal.SIGINT)
            return n

        run = Sweep("interrupt", interrupt, matrix={"n": [1]}).run("s.db", progress=False)
        print([row.values["value"] for row in run.rows()])
        """,
    )

    out, _ = scripts.execute(file)

    assert out == "[1]\n"
    assert signal.getsignal(signal.SIGINT) is not signal.SIG_IGN

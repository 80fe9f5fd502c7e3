"""Blocking runs: anywhere, silent if asked, in several threads, and leaving nothing changed behind."""

import asyncio
import gc
import sys
import threading
from collections.abc import Generator
from pathlib import Path

import pytest

from engine import Interrupted, StoreError, Sweep, UsageError, job, open_run


@job
async def double(n: int) -> int:
    """Twice a number."""
    return 2 * n


def doubling(name: str = "doubling", cells: int = 3) -> Sweep:
    """A sweep of some cells."""
    return Sweep(name, double, matrix={"n": range(cells)})


def test_a_run_has_the_calls_of_an_asynchronous_one(tmp_path: Path) -> None:
    run = doubling().run(tmp_path / "s.db", progress=False)

    assert run.status().cells_done == 3
    assert [row.values["value"] for row in run.rows()] == [0, 2, 4]
    assert [info.labels["n"] for info in run.jobs()] == [0, 1, 2]
    assert run.job(1).answer == b'{"value": 0}'
    assert run.value_columns() == {"value": int}
    assert list(run.findings()) == []
    assert run.events() == []
    assert "doubling" in repr(run)
    assert run._repr_html_()


def test_it_runs_within_an_event_loop(tmp_path: Path) -> None:
    async def cell() -> list[object]:
        run = doubling().run(tmp_path / "s.db", progress=False)
        return [row.values["value"] for row in run.rows()]

    assert asyncio.run(cell()) == [0, 2, 4]


def test_without_progress_it_is_silent(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    doubling().run(tmp_path / "s.db", progress=False).resume(progress=False)

    assert capfd.readouterr() == ("", "")


def test_progress_is_shown_on_stderr(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    doubling().run(tmp_path / "s.db")

    out, err = capfd.readouterr()
    assert out == ""
    assert "3 of 3" in err


def test_rows_may_be_left_half_way(tmp_path: Path) -> None:
    run = doubling(cells=1_200).run(tmp_path / "s.db", progress=False)
    threads = threading.active_count()

    found = run.rows()
    first = next(found)
    assert isinstance(found, Generator)
    found.close()
    for row in run.rows():
        assert row.labels == first.labels
        break
    gc.collect()

    assert threading.active_count() == threads
    assert sum(1 for _ in run.rows()) == 1_200


def test_several_threads_run_sweeps_at_once_and_leave_the_interpreter_as_it_was(
    tmp_path: Path,
) -> None:
    before = sys.getswitchinterval()
    together = threading.Barrier(2, timeout=60)
    done = {}

    @job
    def meet(n: int) -> int:
        if n == 0:
            together.wait()
        return n

    def work(name: str) -> None:
        sweep = Sweep(name, meet, matrix={"n": range(3)})
        done[name] = sweep.run(tmp_path / f"{name}.db", progress=False).status().cells_done

    threads = [threading.Thread(target=work, args=(name,)) for name in ("one", "two")]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert done == {"one": 3, "two": 3}
    assert sys.getswitchinterval() == before


def test_an_error_of_the_store_reaches_the_caller(tmp_path: Path) -> None:
    broken = tmp_path / "broken.db"
    broken.write_text("no database" * 100)
    before = sys.getswitchinterval()

    with pytest.raises(StoreError, match=r"broken\.db"):
        doubling().run(broken, progress=False)
    with pytest.raises(StoreError, match=r"missing\.db"):
        open_run("any", tmp_path / "missing.db")
    assert sys.getswitchinterval() == before


def test_a_store_that_is_gone_is_an_error_of_each_call(tmp_path: Path) -> None:
    run = doubling().run(tmp_path / "s.db", progress=False)
    (tmp_path / "s.db").unlink()

    with pytest.raises(StoreError, match=r"s\.db"):
        run.status()
    with pytest.raises(StoreError, match=r"s\.db"):
        next(run.rows())


def test_a_run_that_the_store_does_not_have_is_an_error_with_a_suggestion(tmp_path: Path) -> None:
    doubling().run(tmp_path / "s.db", progress=False)

    with pytest.raises(UsageError, match="doubling"):
        open_run("dubling", tmp_path / "s.db")
    assert open_run(store=tmp_path / "s.db").name == "doubling"


def test_an_interrupt_is_no_exception_that_a_script_catches_by_accident() -> None:
    assert not issubclass(Interrupted, Exception)
    assert issubclass(Interrupted, KeyboardInterrupt)

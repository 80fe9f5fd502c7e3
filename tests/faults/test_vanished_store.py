"""A store that is removed, moved, replaced or overwritten while a run goes on: it stops, and nothing paid for is lost."""

import os
import re
import shutil
import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.contracts.process import ContractServerProcess
from tests.faults.scenarios import start_held
from tests.faults.sweeps import Scene, Scenes, crisis
from tests.launcher.processes import Command

JOBS = 28


class StoreApart(Scene):
    """A scene whose store has a folder of its own."""

    @property
    def store(self) -> Path:
        return self.folder / "stores" / "store.db"


@dataclass(frozen=True, slots=True, kw_only=True)
class Harm:
    """What happens to a store at work; `then` says where it can be gone on with, after what a user does."""

    do: Callable[[Path], object]
    message: str
    then: Callable[[Path, str], Path]


def rescued(_: Path, printed: str) -> Path:
    found = re.search(r"was saved as (\S+): continue", printed)
    assert found is not None, printed
    return Path(found[1])


def where_it_was(store: Path, _: str) -> Path:
    return store


def moved_back(store: Path, printed: str) -> Path:
    assert f"move it back (`mv {store}.old {store}`)" in printed
    Path(f"{store}.old").rename(store)
    return store


def in_its_folder(store: Path, printed: str) -> Path:
    there = store.parent.with_name("elsewhere") / store.name
    assert f"`nightsweep resume --store {there}`" in printed
    return there


def move(store: Path) -> None:
    store.rename(f"{store}.old")


def back_up(store: Path) -> Path:
    """A backup beside a store."""
    backup = store.with_name("backup.db")
    with closing(sqlite3.connect(store)) as source, closing(sqlite3.connect(backup)) as made:
        source.backup(made)
    return backup


def move_backup_over(store: Path) -> None:
    back_up(store).replace(store)


HARMS = {
    "removed with its folder": Harm(
        do=lambda store: shutil.rmtree(store.parent), message="it was removed", then=rescued
    ),
    "replaced": Harm(do=move_backup_over, message="it was replaced by another file", then=rescued),
    "moved": Harm(do=move, message="it was moved or renamed", then=moved_back),
    "moved with its folder": Harm(
        do=lambda store: store.parent.rename(store.parent.with_name("elsewhere")),
        message="its folder was moved or removed",
        then=in_its_folder,
    ),
    "robbed of its log": Harm(
        do=lambda store: Path(f"{store}-wal").unlink(),
        message="its log, {store}-wal, was removed or replaced",
        then=where_it_was,
    ),
}


@pytest.fixture
def scene(scenes: Scenes, server: ContractServerProcess) -> Scene:
    sweep = crisis(server.url)
    sweep["matrix"] |= {"repeats": JOBS // 4}
    scene = StoreApart.make(scenes.folder / "apart", scenes.launcher, sweep)
    scene.store.parent.mkdir()
    scenes.made.append(scene)
    return scene


def start(scene: Scene, server: ContractServerProcess) -> tuple[Command, int]:
    """A run with 10 answers and 8 requests in flight."""
    running = start_held(scene, server, {"NIGHTSWEEP_POLL_S": "0.1"}, rounds=1)
    return running, server.state()["received"]


def resume(scene: Scene, store: Path) -> None:
    """Go on with a store, wherever it is, to the end."""
    there = Scene(store.parent, scene.launcher)
    command = there.launcher.start(
        ["resume", "--store", str(store)],
        folder=store.parent,
        environment={**os.environ, **scene.environment},
        output=(scene.folder / "resumed.stdout", scene.folder / "resumed.stderr"),
    )
    assert command.wait() == 0, command.stderr


def read(store: Path) -> Scene:
    """A store as it is looked at by the helpers of scenes."""
    return _At(store.parent, None, {}, [], store)  # type: ignore[arg-type]


@dataclass(slots=True)
class _At(Scene):
    at: Path = Path()

    @property
    def store(self) -> Path:
        return self.at


def write_over(store: Path, content: bytes) -> None:
    """Write over a file that is never seen empty or half written."""
    descriptor = os.open(store, os.O_WRONLY)
    try:
        assert os.pwrite(descriptor, content, 0) == len(content)
        os.ftruncate(descriptor, len(content))
    finally:
        os.close(descriptor)


@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS)
def test_a_run_whose_store_vanishes_stops_and_goes_on_later_without_paying_twice(
    scene: Scene, server: ContractServerProcess, harm: Harm
) -> None:
    running, sent = start(scene, server)

    harm.do(scene.store)
    running.until(lambda: "nothing more is sent" in running.stderr, "word of the loss")
    server.configure(latency_s=0.0)
    server.answer()
    code = running.wait()

    printed = running.stderr
    assert code == 2, printed
    assert harm.message.format(store=scene.store) in printed
    assert "8 answers in hand are kept in" in printed
    assert "Traceback" not in printed
    assert server.state()["received"] == sent

    store = harm.then(scene.store, printed)
    resume(scene, store)

    assert server.state()["received"] == JOBS
    found = read(store)
    assert found.count("SELECT count(*) FROM result") == JOBS
    assert found.succeeded_twice() == 0
    assert found.is_sound()
    assert not list(store.parent.glob("*.workers/*.spill"))


def test_a_backup_that_is_copied_over_a_store_at_work_stays_as_it_was(
    scene: Scene, server: ContractServerProcess
) -> None:
    running, sent = start(scene, server)
    backup = back_up(scene.store)

    write_over(scene.store, backup.read_bytes())
    running.until(lambda: "nothing more is sent" in running.stderr, "word of the loss")
    server.configure(latency_s=0.0)
    server.answer()
    code = running.wait()

    assert code == 2, running.stderr
    assert "it was overwritten while this process worked on it" in running.stderr
    assert "restore a backup; 8 answers in hand are kept in" in running.stderr
    assert server.state()["received"] == sent
    assert scene.store.read_bytes() == backup.read_bytes()
    resume(scene, scene.store)
    assert scene.count("SELECT count(*) FROM result") == JOBS
    assert scene.is_sound()

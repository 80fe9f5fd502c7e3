"""Killed at step n for each n: between any two statements, commits, requests and answers."""

from collections import Counter
from random import Random

from tests.contracts.process import ContractServerProcess
from tests.faults.conftest import MakeScene
from tests.faults.failpoints import Faults, sampled, steps_in
from tests.faults.sweeps import Scene, small

JOBS = 6
KILLED = -9
SAMPLE = 12


def trace(scene: Scene) -> Counter[str]:
    """How often an undisturbed run of a scene passes each step."""
    path = scene.folder / "trace"
    ended = scene.sweep(Faults(trace=str(path)))
    assert ended.code == 0, ended.stderr
    return steps_in(path)


def check_kill(scene: Scene, server: ContractServerProcess, expected: list[str]) -> None:
    """What a kill may not change, once the run has been started again and left to finish."""
    assert scene.is_sound()
    in_flight = scene.in_flight() if is_migrated(scene) else 0

    ended = scene.sweep()

    assert ended.code == 0, ended.stderr
    assert scene.rows() == expected
    assert scene.succeeded_twice() == 0
    state = server.state()
    assert state["received"] <= JOBS + in_flight
    # Nothing is sent that the store does not know of, nothing is charged that it does not count.
    assert state["received"] <= scene.sent()
    used = scene.count("SELECT sum(used + overrun) FROM quota")
    assert used >= state["behaviour"]["used"] > 0
    assert scene.count("SELECT sum(reserved) FROM quota") == 0


def is_migrated(scene: Scene) -> bool:
    return scene.ask("SELECT 1 FROM sqlite_schema WHERE name = 'job'") == [(1,)]


def forget(server: ContractServerProcess) -> None:
    server.forget()
    server.configure(used=0)


def test_a_kill_at_any_step_changes_no_row(
    server: ContractServerProcess, make_scene: MakeScene
) -> None:
    calm = make_scene(small(server.url))
    steps = trace(calm).total()
    expected = calm.rows()
    assert steps > 100

    for step in sampled(steps, SAMPLE, Random(20261121)):
        forget(server)
        scene = make_scene(small(server.url))
        killed = scene.sweep(Faults(at=step))

        # A run that was quicker than the one that was counted has no such step.
        assert killed.code in (KILLED, 0), killed.stderr
        check_kill(scene, server, expected)


def test_a_kill_between_an_answer_and_its_commit_or_before_its_acknowledgement_changes_no_row(
    server: ContractServerProcess, make_scene: MakeScene
) -> None:
    calm = make_scene(small(server.url))
    steps = trace(calm)
    expected = calm.rows()

    for step in ("request", "head", "answer", "commit", "committed"):
        forget(server)
        scene = make_scene(small(server.url))
        # In the middle of the run; its first commits are those of the migration and of the matrix.
        killed = scene.sweep(Faults(at=max(3, steps[step] * 2 // 3), of=(step,)))

        assert killed.code == KILLED, killed.stderr
        check_kill(scene, server, expected)


def test_a_store_whose_migration_was_killed_is_empty_or_whole(
    server: ContractServerProcess, make_scene: MakeScene
) -> None:
    calm = make_scene(small(server.url))
    trace(calm)
    schema = tables(calm)
    migration = (calm.folder / "trace").read_text().split().index("committed") + 1

    for step in sampled(migration, 5, Random(1)):
        scene = make_scene(small(server.url))
        assert scene.sweep(Faults(at=step)).code == KILLED

        assert scene.is_sound()
        assert tables(scene) in ([], schema)
        assert scene.sweep().code == 0
        assert tables(scene) == schema


def tables(scene: Scene) -> list[tuple[str, ...]]:
    return scene.ask("SELECT name, sql FROM sqlite_schema ORDER BY name")


def test_a_sample_of_steps_holds_the_first_and_the_last() -> None:
    assert list(sampled(3, 5, Random(0))) == [1, 2, 3]
    chosen = list(sampled(1_000, 5, Random(0)))
    assert (len(chosen), chosen[0], chosen[-1]) == (5, 1, 1_000)

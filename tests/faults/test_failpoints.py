"""Killed at step n for each n: between any two statements, commits, requests and answers."""

from random import Random

import pytest

from tests.contracts.process import ContractServerProcess
from tests.engine.store.sqlite import revisions
from tests.faults.failpoints import Faults, sampled, trace_of
from tests.faults.scenarios import KILLED, RUN, SCENARIOS, ExpansionTrial, Scenario, Trial
from tests.faults.sweeps import Scene, Scenes, small

SEED = 20261121


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
def test_a_kill_at_any_step_changes_no_row(
    scenario: Scenario, server: ContractServerProcess, scenes: Scenes
) -> None:
    trial = Trial(scenario, scenes, server)
    steps = list(sampled(trial.steps.total(), 6, Random(SEED)))

    survived = list(trial.kills(steps))

    # A run that commits less often than the one that was counted has no last steps to be killed at.
    assert len(survived) > len(steps) // 2


@pytest.mark.parametrize("step", ["request", "head", "answer", "commit", "committed"])
def test_a_kill_between_an_answer_and_its_commit_or_before_its_acknowledgement_changes_no_row(
    step: str, server: ContractServerProcess, scenes: Scenes
) -> None:
    trial = Trial(RUN, scenes, server)
    # In the middle of the run; its first commits are those of the migration and of the matrix.
    middle = max(3, trial.steps[step] * 2 // 3)

    survived = list(trial.kills([middle], of=(step,)))

    assert len(survived) == 1


def test_a_store_that_was_killed_while_it_was_made_is_empty_or_whole(
    server: ContractServerProcess, scenes: Scenes
) -> None:
    calm = scenes.make(small(server.url))
    path = calm.folder / "trace"
    assert calm.sweep(Faults(trace=str(path))).code == 0
    schema = tables(calm)
    making = [step for step, _ in trace_of(path)].index("committed") + 1

    for step in sampled(making, 3, Random(1)):
        scene = scenes.make(small(server.url))
        assert scene.sweep(Faults(at=step)).code == KILLED

        assert scene.is_sound()
        assert tables(scene) in ([], schema)
        assert scene.sweep().code == 0
        assert tables(scene) == schema


def test_a_store_whose_migration_was_killed_is_as_before_or_whole(
    server: ContractServerProcess, scenes: Scenes
) -> None:
    older = scenes.make(small(server.url))
    assert older.sweep().code == 0
    revisions.downgrade(older.store, "0001")
    schema = tables(older)
    calm = scenes.copy(older)
    path = calm.folder / "trace"
    assert calm.sweep(Faults(trace=str(path))).code == 0
    migrated = tables(calm)
    migration = [step for step, _ in trace_of(path)].index("committed") + 1

    for step in sampled(migration, 4, Random(1)):
        scene = scenes.copy(older)
        assert scene.sweep(Faults(at=step)).code == KILLED

        assert scene.is_sound()
        assert tables(scene) in (schema, migrated)
        assert scene.sweep().code == 0
        assert tables(scene) == migrated


def tables(scene: Scene) -> list[tuple[str, ...]]:
    return scene.ask("SELECT name, sql FROM sqlite_schema ORDER BY name")


def test_a_matrix_whose_expansion_was_killed_at_any_commit_is_completed(
    server: ContractServerProcess, scenes: Scenes
) -> None:
    trial = ExpansionTrial(scenes, server)
    # The commits of the migration come before that, those that end the run after it.
    third = trial.steps // 3

    written = list(trial.kills(range(third, 2 * third + 1, 2)))

    assert any(0 < jobs < trial.jobs for jobs in written), written


def test_a_sample_of_steps_holds_the_first_and_the_last() -> None:
    assert list(sampled(3, 5, Random(0))) == [1, 2, 3]
    chosen = list(sampled(1_000, 5, Random(0)))
    assert (len(chosen), chosen[0], chosen[-1]) == (5, 1, 1_000)

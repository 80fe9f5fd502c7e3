"""`results --after` and `--follow`: rows in the order of their commits, each once, whatever is killed."""

import json
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.engine.cli.conftest import MAIN, Nightsweep, launched_run
from tests.launcher.processes import Launcher
from tests.patience import awaiting, with_stacks

Sweep = Callable[..., str]


def parsed(lines: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in lines.splitlines()]


def cell(row: Mapping[str, Any]) -> tuple[str, float]:
    return row["model"], row["threshold"]


def test_a_reader_that_was_killed_goes_on_behind_its_cursor_with_each_row_once(
    launcher: Launcher,
    nightsweep: Nightsweep,
    sweep: Sweep,
    tmp_path: Path,
    environment: Mapping[str, str],
) -> None:
    with launched_run(launcher, sweep("a", "b", "slow"), tmp_path, environment) as run:
        follower = subprocess.Popen(  # noqa: S603
            [*MAIN, "results", "--follow"],
            cwd=tmp_path,
            env=with_stacks(environment),
            stdout=subprocess.PIPE,
            text=True,
        )
        assert follower.stdout is not None
        with awaiting("three rows", follower):
            seen = [json.loads(follower.stdout.readline()) for _ in range(3)]
        follower.kill()
        follower.communicate()
        run.kill()

    # The last of them is the first of two rows of one job.
    assert nightsweep("run", sweep("a", "b", "c")).returncode == 0
    rest = parsed(nightsweep("results", "--after", seen[-1]["cursor"]).stdout)
    more = nightsweep("results", "--follow", "--after", rest[-1]["cursor"])

    assert [cell(row) for row in (*seen, *rest)] == [
        (model, threshold) for model in "abc" for threshold in (0.3, 0.5)
    ]
    assert (more.returncode, more.stdout, more.stderr) == (0, "", "")


def test_rows_have_the_numbers_of_the_other_formats_and_those_that_are_wanted_alone(
    nightsweep: Nightsweep, sweep: Sweep
) -> None:
    assert nightsweep("run", sweep("a", "broken")).returncode == 1
    assert nightsweep("run", sweep("b", "broken", name="night")).returncode == 1

    listed = parsed(nightsweep("results", "--all", "--format", "jsonl").stdout)
    every = parsed(nightsweep("results", "--all", "--after", "0").stdout)
    wanted = parsed(
        nightsweep(
            "results", "--after", "0", "--where", "model=b*", "--where", "threshold=0.5"
        ).stdout
    )

    cursors = [row.pop("cursor") for row in every]
    assert len(set(cursors)) == len(cursors) == 6
    assert sorted(every, key=cell) == sorted(listed, key=cell)
    assert [cell(row) for row in wanted] == [("broken", 0.5), ("b", 0.5)]


def test_a_job_that_is_asked_again_is_new_again(nightsweep: Nightsweep, sweep: Sweep) -> None:
    assert nightsweep("run", sweep("a", "broken")).returncode == 1
    *_, last = parsed(nightsweep("results", "--after", "0").stdout)

    nightsweep("retry", "--failed", "--run")
    new = parsed(nightsweep("results", "--after", last["cursor"]).stdout)

    assert [cell(row) for row in new] == [("broken", 0.3), ("broken", 0.5)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--after", "yesterday"], "--after 'yesterday' is not a cursor"),
        (["--after", "-1"], "--after '-1' is not a cursor"),
        (["--follow", "--format", "csv"], "--follow and --after print rows as JSON lines"),
        (["--after", "0", "--findings"], "--follow and --after print rows as JSON lines"),
        (["--after", "0", "--where", "modell=a"], 'did you mean "model"?'),
    ],
)
def test_what_cannot_be_followed_is_a_usage_error(
    options: list[str], said: str, nightsweep: Nightsweep, sweep: Sweep
) -> None:
    nightsweep("run", sweep("a"))

    refused = nightsweep("results", *options)

    assert (refused.returncode, refused.stdout) == (2, "")
    assert said in " ".join(refused.stderr.split())


def test_events_continue_after_an_id(nightsweep: Nightsweep, sweep: Sweep) -> None:
    nightsweep("run", sweep("a"))
    nightsweep("rename", "night", "day")
    nightsweep("rename", "day", "noon")
    first, second = json.loads(nightsweep("events", "--kind", "renamed", "--json").stdout)

    after = json.loads(nightsweep("events", "--json", "--after", str(first["id"])).stdout)
    refused = nightsweep("events", "--after", "1", "--limit", "1")

    assert after == [second]
    assert refused.returncode == 2
    assert "choose --limit" in refused.stderr

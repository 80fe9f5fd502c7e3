"""`events`, `jobs` and `show`, as they are typed."""

import json
import signal
import sqlite3
import subprocess
from collections.abc import Callable, Mapping
from contextlib import closing
from pathlib import Path

import pytest

from tests.engine.cli.conftest import MAIN, Nightsweep, launched_run
from tests.launcher.processes import Launcher
from tests.patience import awaiting, wait_ended, with_stacks


@pytest.fixture
def ended(nightsweep: Nightsweep, sweep: Callable[..., str]) -> Nightsweep:
    """A store with a run of one good model and one that the service does not know."""
    assert nightsweep("run", sweep("good", "broken")).returncode == 1
    return nightsweep


def test_jobs_are_listed_with_what_went_wrong_and_no_control_sequences(ended: Nightsweep) -> None:
    shown = ended("jobs", "--state", "failed", "--where", "model=brok*")

    assert shown.returncode == 0
    first, *rest = shown.stdout.splitlines()
    assert "  failed  model=broken, " in first
    assert rest == ["    1 attempt", "    Unknown model", "    service: broken "]


def test_jobs_are_one_list_of_json(ended: Nightsweep) -> None:
    listed = json.loads(ended("jobs", "--json").stdout)
    none = json.loads(ended("jobs", "--json", "--error", "nothing like it").stdout)

    assert [(job["labels"]["model"], job["state"], job["status"]) for job in listed] == [
        ("good", "succeeded", None),
        ("broken", "failed", 404),
    ]
    assert none == []


def test_a_job_is_shown_by_the_number_that_jobs_prints(ended: Nightsweep) -> None:
    number = ended("jobs", "--state", "failed").stdout.split()[0]

    shown = ended("show", number)

    assert shown.returncode == 0
    assert shown.stdout.startswith(f"job {number} of night: failed\n")
    assert "  model: broken\n" in shown.stdout
    assert ": failed (HTTP 404) after " in shown.stdout
    assert "     Unknown model\n     service: broken \n" in shown.stdout
    assert shown.stdout.endswith("no answer\n")


def test_the_raw_answer_is_the_bytes_as_they_came(ended: Nightsweep) -> None:
    raw = ended("show", "1", "--raw").stdout

    assert raw == '[[0.1, "bad"], [0.4, "fair"], [0.8, "good"]]'
    assert json.loads(ended("show", "1", "--json").stdout)["answer"] == json.loads(raw)


def test_events_are_shown_and_followed_until_the_run_has_ended(ended: Nightsweep) -> None:
    assert ended("retry", "--failed").returncode == 0
    assert ended("cancel").returncode == 0
    assert ended("rename", "night", "day").returncode == 0

    shown = ended("events", "--kind", "renamed")
    followed = ended("events", "--follow", "--json")

    [line] = shown.stdout.splitlines()
    assert "  renamed: " in line
    kinds = [json.loads(line)["kind"] for line in followed.stdout.splitlines()]
    assert "renamed" in kinds
    assert [one["kind"] for one in json.loads(ended("events", "--json").stdout)] == kinds
    assert json.loads(ended("events", "--json", "--until", "1d").stdout) == []
    assert ended("events", "--kind", "outage").stderr == "no events\n"


def test_ctrl_c_ends_following_events_and_not_the_run(
    launcher: Launcher,
    sweep: Callable[..., str],
    tmp_path: Path,
    environment: Mapping[str, str],
) -> None:
    with launched_run(launcher, sweep("slow"), tmp_path, environment) as run:
        with closing(sqlite3.connect(tmp_path / "nightsweep.db")) as store, store:
            store.execute("INSERT INTO event (run_id, at, kind, message) VALUES (1, 0, 'x', 'y')")
        follow = subprocess.Popen(  # noqa: S603
            [*MAIN, "events", "--follow", "--json"],
            cwd=tmp_path,
            env=with_stacks(environment),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert follow.stdout is not None
        with awaiting("the event", follow):
            first = follow.stdout.readline()

        follow.send_signal(signal.SIGINT)

        rest, printed = wait_ended(follow)
        assert run.poll() is None
    assert json.loads(first)["kind"] == "x"
    assert (follow.returncode, rest, printed) == (0, "", "")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (("show", "99"), "has no job '99'"),
        (("jobs", "--where", "model"), "write AXIS=PATTERN"),
        (("jobs", "--where", "modle=x"), 'did you mean "model"?'),
        (("jobs", "--where", "model=a", "--where", "model=b"), "twice"),
        (("events", "--since", "soon"), "'soon' is not a time"),
        (("events", "other"), "has no run 'other'"),
    ],
)
def test_what_cannot_be_shown_is_wrong_usage(
    ended: Nightsweep, args: tuple[str, ...], message: str
) -> None:
    refused = ended(*args)

    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.startswith("nightsweep: ")
    assert message in refused.stderr

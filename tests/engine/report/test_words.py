import re
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from typing import Any

import pytest

from engine.core.error_kinds import ErrorKind
from engine.core.model import Finding
from engine.core.status import Plan, RunInfo, RunState, StopReason, Waiting
from engine.report.words import (
    duration,
    finding_lines,
    moment,
    plan_lines,
    progress_line,
    runs_lines,
    status_lines,
    summary_lines,
    time_of_day,
)
from tests.engine.report.samples import status


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (0.4, "0 s"),
        (119, "119 s"),
        (121, "2 min"),
        (7170, "2 h 00 min"),
        (3 * 3600 + 300, "3 h 05 min"),
        (76 * 3600, "3 d 4 h"),
    ],
)
def test_durations_are_said_in_units_that_fit(seconds: float, said: str) -> None:
    assert duration(seconds) == said


@pytest.fixture
def live_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Sets the machine's zone until the end of the test."""

    def set_zone(name: str) -> None:
        monkeypatch.setenv("TZ", name)
        time.tzset()

    yield set_zone
    monkeypatch.undo()
    time.tzset()


@pytest.mark.parametrize(
    ("lived_in", "zone", "at", "said"),
    [
        ("Europe/Berlin", None, "2026-11-29T22:00+01:00", "2026-11-29 22:00 CET"),
        ("Europe/Berlin", None, "2026-07-01T22:00+02:00", "2026-07-01 22:00 CEST"),
        ("UTC", None, "2026-12-01T00:00+00:00", "2026-12-01 00:00 UTC"),
        ("America/Sao_Paulo", None, "2026-12-01T00:00+00:00", "2026-11-30 21:00 UTC-03"),
        ("UTC", "Europe/Berlin", "2026-11-29T21:00+00:00", "2026-11-29 22:00 Europe/Berlin"),
    ],
)
def test_a_moment_says_its_zone(
    live_in: Callable[[str], None], lived_in: str, zone: str | None, at: str, said: str
) -> None:
    live_in(lived_in)

    assert moment(datetime.fromisoformat(at).timestamp(), zone) == said


@pytest.mark.parametrize(
    ("at", "zone", "said"),
    [
        ("2026-11-29T23:59+01:00", None, "23:59 CET"),
        ("2026-11-30T07:42+01:00", None, "2026-11-30 07:42 CET"),
        ("2026-11-29T21:00+00:00", "Europe/London", "21:00 Europe/London"),
        # Already tomorrow there, while it is today here.
        ("2026-11-29T20:00+00:00", "Asia/Tokyo", "05:00 Asia/Tokyo"),
    ],
)
def test_a_time_of_day_has_its_zone_and_its_date_where_it_is_not_today(
    live_in: Callable[[str], None], at: str, zone: str | None, said: str
) -> None:
    live_in("Europe/Berlin")
    now = datetime.fromisoformat("2026-11-29T20:30+01:00").timestamp()

    assert time_of_day(datetime.fromisoformat(at).timestamp(), now=now, zone=zone) == said


def test_a_plan_says_what_folding_saves_and_what_is_not_known() -> None:
    lines = plan_lines(
        Plan(
            sweep="crisis-safety",
            cells=1200,
            jobs=400,
            jobs_unfolded=1200,
            requests=400,
            expected_tests=None,
            hours=1.5,
            binding="rate",
            lanes={"a": 100, "b": 300},
            unknown=("groups: all",),
        )
    )

    assert lines == [
        "sweep      crisis-safety",
        "cells      1,200",
        "jobs       400 (folding saves 800)",
        "requests   400",
        "quota      only the service knows",
        "time       at least 90 min, bound by rate",
        "lanes          300 x b",
        "               100 x a",
        "not known  groups: all",
    ]


def test_who_judges_is_said_wherever_tests_are_counted() -> None:
    judged = status(judge="the rules judge, a heuristic")

    told = "tests: 8,000 passed, 312 failed (judged by the rules judge, a heuristic)"
    assert told in status_lines(judged)
    assert told in summary_lines(judged)
    assert told in progress_line(judged)


def test_a_plan_says_to_whom_the_requests_go_where_they_go_to_several() -> None:
    plan = Plan(
        sweep="judged",
        cells=1,
        jobs=1,
        jobs_unfolded=1,
        requests=2400,
        calls={"target": 1000, "judge": 1400},
        expected_tests=7,
        hours=None,
        binding="",
    )

    assert (
        plan_lines(plan)[3] == "requests   at most 2,400: 1,000 to the target, 1,400 to the judge"
    )


def test_a_plan_of_a_thousand_lanes_stays_readable() -> None:
    plan = Plan(
        sweep="wide",
        cells=1000,
        jobs=1000,
        jobs_unfolded=1000,
        requests=1000,
        expected_tests=7,
        hours=None,
        binding="",
        lanes={f"lane {index}": 1 for index in range(1000)},
    )

    assert len(plan_lines(plan)) == 27
    assert plan_lines(plan)[-1].endswith("and 980 lanes more")


def test_a_status_counts_what_is_failed_and_missing_out_loud() -> None:
    lines = status_lines(status())

    assert lines[:3] == [
        "crisis-safety: active",
        "1,234 of 5,000 cells answered, 20 failed, 3,746 missing",
        "jobs: 2,600 pending, 16 running, 120 waiting, 411 succeeded, 7 failed",
    ]
    assert lines[3].startswith("waiting: 100 for rate, 20 for retry until 2023-11-1")
    assert lines[4:] == [
        "requests: 58 of 60 per minute",
        "tests: 8,000 passed, 312 failed",
        "quota 1,234 of 5,000 (12 held) in 2026-11: tests",
        "about 62 min left, bound by rate",
        "most frequent errors:",
        "    7 x not found (404)",
        "        such as: Unknown model: qwen/qwen9",
    ]


def test_a_status_counts_what_is_unanswered_out_loud() -> None:
    lines = status_lines(status(tests_unanswered={"moderated": 12, "empty": 1}))

    assert "tests: 8,000 passed, 312 failed, 13 unanswered (moderated 12, empty 1)" in lines


def test_waits_of_seconds_are_not_said_with_a_time() -> None:
    soon = status(waiting=(Waiting(lane="a", why="rate", jobs=3, until=1_699_990_004.0),))

    assert "waiting: 3 for rate" in status_lines(soon)


@pytest.mark.parametrize(
    "changes",
    [
        {"seconds_left": 0.0, "binding": "", "state": RunState.FINISHED},
        {"state": RunState.PAUSED},
        {"unattended": True},
        {"seconds_left": None, "binding": ""},
    ],
)
def test_no_time_is_promised_that_nobody_works_towards(changes: dict[str, Any]) -> None:
    assert not any("left" in line for line in status_lines(status(**changes)))


def test_a_run_that_nobody_works_on_says_so() -> None:
    line = "no process is working on it; `nightsweep resume` goes on"

    assert line in status_lines(status(unattended=True))
    assert line not in status_lines(status(unattended=True, state=RunState.FINISHED))
    assert line not in status_lines(status())


def test_what_was_cancelled_is_not_said_to_have_failed() -> None:
    cancelled = status(state=RunState.CANCELLED, reason=StopReason.CANCELLED, cells_cancelled=12)

    assert status_lines(cancelled)[:2] == [
        "crisis-safety: cancelled",
        "1,234 of 5,000 cells answered, 8 failed, 12 cancelled, 3,746 missing",
    ]


def test_a_run_that_cannot_go_on_says_why_and_when_it_can() -> None:
    lines = summary_lines(
        status(reason=StopReason.QUOTA, message="the quota is used up", resume_at=1_700_000_000.0)
    )

    assert lines[-2] == "the quota is used up"
    assert lines[-1].startswith("it can go on from 2023-11-1")


def test_a_progress_line_holds_what_a_log_needs() -> None:
    line = progress_line(status())

    assert re.sub(r"until [-\d]+ [:\d]+ \w+", "until then", line) == (
        "1,234/5,000 cells, 16 running, 2,720 waiting (rate, retry until then), 20 failed,"
        " 58 of 60 per minute, tests: 8,000 passed, 312 failed, quota 1,234/5,000,"
        " about 62 min left, bound by rate"
    )


def test_runs_are_listed_one_a_line() -> None:
    run = RunInfo(
        name="crisis-safety",
        service="circuit-breaker-labs",
        evaluation="single_turn",
        state=RunState.ACTIVE,
        reason=StopReason.QUOTA,
        created_at=1_700_000_000.0,
        updated_at=1_700_000_000.0,
        jobs={"succeeded": 7, "pending": 3},
    )

    head, line = runs_lines([run])

    assert head.split() == ["RUN", "STATE", "JOBS", "LAST", "CHANGE", "EVALUATION"]
    assert line.startswith("crisis-safety  active (quota)  7/10  2023-11-1")
    assert runs_lines([]) == ["no runs"]


def test_findings_tell_good_from_bad() -> None:
    findings = [
        Finding(name="ping", ok=True, message="answered"),
        Finding(name="key", ok=False, message="refused \x1b[2J"),
    ]

    assert finding_lines(findings) == ["ok   ping: answered", "BAD  key: refused "]


def test_what_came_from_outside_is_made_harmless() -> None:
    hostile = status(
        run="\x1b[2Jx",
        message="\x1b]0;owned\x07y",
        errors=(ErrorKind(message="\u202ez", jobs=1, example="\x1b[2Jw"),),
    )

    text = "\n".join([*status_lines(hostile), *summary_lines(hostile), progress_line(hostile)])

    assert "\x1b" not in text
    assert "\u202e" not in text

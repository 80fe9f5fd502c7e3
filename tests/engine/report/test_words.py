from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from engine.core.error_kinds import ErrorKind
from engine.core.lanes import LaneState
from engine.core.model import Check
from engine.core.runs import RunState, StopReason, WaitReason
from engine.core.status import Plan, RunInfo, Waiting
from engine.report.plans import plan_lines
from engine.report.times import duration, moment, time_of_day
from engine.report.waiting import held_lines, jobs_line
from engine.report.words import (
    check_lines,
    error_lines,
    left_line,
    progress_line,
    questions_line,
    requests_line,
    runs_lines,
    status_lines,
    summary_lines,
)
from tests.engine.report.samples import status


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0.4, "0 s"),
        (119, "119 s"),
        (121, "2 min"),
        (7170, "2 h 00 min"),
        (3 * 3600 + 300, "3 h 05 min"),
        (76 * 3600, "3 d 4 h"),
    ],
)
def test_durations_are_shown_in_units_that_fit(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown


@pytest.mark.parametrize(
    ("lived_in", "zone", "at", "shown"),
    [
        ("Europe/Berlin", None, "2026-11-29T22:00+01:00", "2026-11-29 22:00 CET"),
        ("Europe/Berlin", None, "2026-07-01T22:00+02:00", "2026-07-01 22:00 CEST"),
        ("UTC", None, "2026-12-01T00:00+00:00", "2026-12-01 00:00 UTC"),
        ("America/Sao_Paulo", None, "2026-12-01T00:00+00:00", "2026-11-30 21:00 UTC-03"),
        ("UTC", "Europe/Berlin", "2026-11-29T21:00+00:00", "2026-11-29 22:00 Europe/Berlin"),
    ],
)
def test_a_moment_says_its_zone(
    live_in: Callable[[str], None], lived_in: str, zone: str | None, at: str, shown: str
) -> None:
    live_in(lived_in)

    assert moment(datetime.fromisoformat(at).timestamp(), zone) == shown


@pytest.mark.parametrize(
    ("at", "zone", "shown"),
    [
        ("2026-11-29T23:59+01:00", None, "23:59 CET"),
        ("2026-11-30T07:42+01:00", None, "2026-11-30 07:42 CET"),
        ("2026-11-29T21:00+00:00", "Europe/London", "21:00 Europe/London"),
        # Already tomorrow there, while it is today here.
        ("2026-11-29T20:00+00:00", "Asia/Tokyo", "05:00 Asia/Tokyo"),
    ],
)
def test_a_time_of_day_has_its_zone_and_its_date_where_it_is_not_today(
    live_in: Callable[[str], None], at: str, zone: str | None, shown: str
) -> None:
    live_in("Europe/Berlin")
    now = datetime.fromisoformat("2026-11-29T20:30+01:00").timestamp()

    assert time_of_day(datetime.fromisoformat(at).timestamp(), now=now, zone=zone) == shown


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


def test_the_judge_and_the_threshold_are_shown_wherever_tests_are_counted() -> None:
    judged = status(judge="the rules judge, a heuristic", threshold=0.7)

    expected = (
        "tests: 8,000 passed, 312 failed at threshold 0.7 (judged by the rules judge, a heuristic)"
    )
    assert expected in status_lines(judged)
    assert expected in summary_lines(judged)
    assert expected in progress_line(judged)


def test_what_has_no_answer_is_missing_only_once_the_run_is_over() -> None:
    words = {state: status_lines(status(state=state))[1] for state in RunState}

    assert [state for state, line in words.items() if line.endswith("3,746 to go")] == [
        RunState.ACTIVE,
        RunState.PAUSED,
    ]
    assert [state for state, line in words.items() if line.endswith("3,746 missing")] == [
        RunState.CANCELLED,
        RunState.FINISHED,
        RunState.DELETING,
    ]


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
    assert plan_lines(plan)[-1].endswith("and 980 more lanes")


def test_a_status_counts_what_is_failed_and_to_go_out_loud(
    live_in: Callable[[str], None],
) -> None:
    live_in("Europe/Berlin")

    lines = status_lines(status())

    assert lines == [
        "crisis-safety: active",
        "1,234 of 5,000 cells answered, 20 failed, 3,746 to go",
        (
            "jobs: 16 running, 2,700 queued at the rate limit, 20 backing off until 23:13 CET,"
            " 411 answered, 7 failed"
        ),
        "requests: 58 of 60 per minute",
        "tests: 8,000 passed, 312 failed",
        "quota 1,234 of 5,000 (12 reserved) in 2026-11: tests",
        "about 62 min left (done 21:28 CET) at the rate limit",
        "why jobs failed:",
        "  7 jobs: not found (404), such as: Unknown model: qwen/qwen9",
    ]


def test_a_status_counts_what_is_unanswered_out_loud() -> None:
    lines = status_lines(status(tests_unanswered={"moderated": 12, "empty": 1}))

    assert "tests: 8,000 passed, 312 failed, 13 unanswered (moderated 12, empty 1)" in lines


AT = 1_699_990_000.0
"""2023-11-14 20:26:40 in Berlin, when the samples are looked at."""


def waiting(why: WaitReason, jobs: int = 41, **more: Any) -> Waiting:
    return Waiting(**{"lane": "ft:ours", "why": why, "jobs": jobs, **more})


@pytest.mark.parametrize(
    ("found", "shown"),
    [
        (
            [waiting(WaitReason.HELD, until=AT + 6200)],
            "41 held: the service asked to wait until 22:10 CET",
        ),
        ([waiting(WaitReason.HELD, until=AT + 32)], "41 held: the service asked to wait 32 s"),
        (
            [waiting(WaitReason.THROTTLED, until=AT + 32)],
            "41 held: the service refuses requests as too many; next try in 32 s",
        ),
        (
            [waiting(WaitReason.OUTAGE, detail="connection refused; away since 20:24 CET")],
            "41 held: connection refused; away since 20:24 CET",
        ),
        (
            [waiting(WaitReason.UNHEALTHY, detail="it says nothing")],
            "41 held: ft:ours is unhealthy: it says nothing",
        ),
        (
            [
                waiting(WaitReason.UNHEALTHY, detail="no"),
                waiting(WaitReason.UNHEALTHY, lane="b", detail="no"),
            ],
            "82 held: b, ft:ours are unhealthy: no",
        ),
        ([waiting(WaitReason.HEALTH)], "41 held: the model's health is being checked"),
        (
            [waiting(WaitReason.QUOTA)],
            "41 held: what is left of the quota is reserved for jobs in flight",
        ),
        ([waiting(WaitReason.CREDIT, detail="no credit")], "41 held: no credit"),
        (
            [waiting(WaitReason.ERRORS, detail="HTTP 500", until=AT + 6200)],
            "41 held: HTTP 500; next try at 22:10 CET",
        ),
        ([waiting(WaitReason.GIVEN_UP, detail="HTTP 500")], "41 given up: HTTP 500"),
        ([waiting(WaitReason.RETRY, detail="HTTP 500")], "41 backing off: HTTP 500"),
        (
            [
                waiting(WaitReason.RETRY, detail="lost req_000464abcd"),
                waiting(WaitReason.RETRY, 2, lane="b", detail="lost req_000472abcd"),
            ],
            "43 backing off: lost req_000464abcd",
        ),
        (
            [waiting(WaitReason.MACHINE, detail="too many open files", until=AT + 3)],
            "41 held: too many open files; next try in 3 s",
        ),
        (
            [
                waiting(WaitReason.OUTAGE, detail="connection refused"),
                waiting(WaitReason.QUEUED, lane="b"),
            ],
            "41 held for ft:ours: connection refused",
        ),
    ],
)
def test_jobs_on_hold_are_shown_with_the_cause(
    live_in: Callable[[str], None], found: list[Waiting], shown: str
) -> None:
    live_in("Europe/Berlin")

    assert held_lines(status(waiting=tuple(found))) == [shown]


def test_quota_of_which_nothing_is_held_for_others_is_used_up() -> None:
    held = held_lines(status(waiting=(waiting(WaitReason.QUOTA),), quotas=()))

    assert held == ["41 held: the quota is used up"]


@pytest.mark.parametrize(
    ("found", "shown"),
    [
        (
            [waiting(WaitReason.QUEUED, 48), waiting(WaitReason.RETRY, 4)],
            "48 queued, 4 backing off",
        ),
        ([waiting(WaitReason.RATE, 52)], "52 queued at the rate limit"),
        ([waiting(WaitReason.PACE, 52)], "52 queued at the pace that the service allows"),
        ([waiting(WaitReason.RETRY, 52, until=AT + 6200)], "52 backing off until 22:10 CET"),
        (
            [waiting(WaitReason.FIRST_ANSWER, 52)],
            "52 queued for the first answer, which tells their cost",
        ),
        (
            [waiting(WaitReason.WINDOW, 52, until=AT + 5600, zone="Europe/Berlin")],
            "52 until the window opens at 22:00 Europe/Berlin",
        ),
        (
            [waiting(WaitReason.WINDOW, 52, until=AT + 5600, zone="Asia/Tokyo")],
            "52 until the window opens at 06:00 Asia/Tokyo",
        ),
        (
            [waiting(WaitReason.WINDOW, 52, until=AT + 86400, zone="UTC")],
            "52 until the window opens at 2023-11-15 19:26 UTC",
        ),
    ],
)
def test_jobs_that_take_their_turn_are_counted_in_a_line(
    live_in: Callable[[str], None], found: list[Waiting], shown: str
) -> None:
    live_in("Europe/Berlin")
    jobs = {"pending": 48, "waiting": 4, "running": 1, "succeeded": 9}
    look = status(jobs=jobs, waiting=tuple(found))

    assert jobs_line(look) == f"jobs: 1 running, {shown}, 9 answered"
    assert held_lines(look) == []


@pytest.mark.parametrize("why", WaitReason)
def test_every_reason_to_wait_has_words(why: WaitReason) -> None:
    look = status(jobs={"pending": 41}, waiting=(waiting(why),))

    shown = [jobs_line(look), *held_lines(look)]

    assert sum("41 " in line for line in shown) == 1


def test_at_most_three_causes_are_shown_the_most_frequent_first() -> None:
    causes = [
        waiting(WaitReason.ERRORS, n, lane=f"m{n}", detail=f"cause {'abcde'[n - 1]}")
        for n in range(1, 6)
    ]

    assert held_lines(status(waiting=tuple(causes))) == [
        "5 held for m5: cause e",
        "4 held for m4: cause d",
        "3 held for m3: cause c",
        "and 3 more",
    ]


def test_if_all_jobs_are_held_only_their_cause_is_shown() -> None:
    look = status(jobs={"pending": 41}, waiting=(waiting(WaitReason.HELD),))

    assert jobs_line(look) == ""
    assert status_lines(look)[2] == "41 held: the service asked to wait"


def test_a_run_without_jobs_says_so() -> None:
    assert jobs_line(status(jobs={}, waiting=())) == "jobs: none"


def test_a_run_without_a_process_waits_for_nothing() -> None:
    look = status(unattended=True, waiting=(waiting(WaitReason.OUTAGE),))

    assert jobs_line(look) == "jobs: 16 running, 2,720 to go, 411 answered, 7 failed"
    assert held_lines(look) == []


@pytest.mark.parametrize(
    ("binding", "shown"),
    [
        ("speed so far", "about 3 min left (done 20:29 CET) at the current speed"),
        ("a model's rate", "about 3 min left (done 20:29 CET) at a model's rate limit"),
        ("the judge's tokens", "about 3 min left (done 20:29 CET) at the judge's token limit"),
        ("the run's window", "about 3 min left (done 20:29 CET) within the window"),
        ("", "about 3 min left (done 20:29 CET)"),
    ],
)
def test_the_time_left_is_shown_with_the_time_of_day_of_its_end(
    live_in: Callable[[str], None], binding: str, shown: str
) -> None:
    live_in("Europe/Berlin")

    assert left_line(status(seconds_left=180.0, binding=binding)) == shown


@pytest.mark.parametrize(
    ("answered", "questions", "shown"),
    [(37, 100, "questions: 37 of 100 answered"), (None, 100, ""), (37, None, ""), (0, 0, "")],
)
def test_questions_are_counted_where_their_number_is_known(
    answered: int | None, questions: int | None, shown: str
) -> None:
    look = status(questions_answered=answered, questions=questions)

    assert questions_line(look) == shown


def test_a_notebook_shows_the_questions_and_a_bar_that_moves_with_them() -> None:
    look = status(questions_answered=37, questions=100, questions_left=63)

    assert "37 of 100 answered" in look._repr_html_()
    assert "37%" in look._repr_html_()


def test_where_the_number_of_all_questions_is_unknown_those_in_flight_are_counted() -> None:
    look = status(
        questions_answered=1_037, questions_answered_in_flight=37, questions_in_flight=2_400
    )

    assert questions_line(look) == "questions in flight: 37 of 2,400 answered"


def test_at_most_three_kinds_of_errors_are_shown() -> None:
    kinds = [ErrorKind(message=f"cause {n}", jobs=9 - n) for n in range(6)]

    assert error_lines(status(errors=tuple(kinds))) == [
        "why jobs failed:",
        "  9 jobs: cause 0",
        "  8 jobs: cause 1",
        "  7 jobs: cause 2",
        "  and 3 more",
    ]


def test_one_job_is_not_jobs() -> None:
    one = ErrorKind(message="not found (404)", jobs=1, example="Unknown model: x")

    assert error_lines(status(errors=(one,)))[1] == "  1 job: not found (404): Unknown model: x"


@pytest.mark.parametrize(
    "changes",
    [
        {"seconds_left": 0.0, "binding": "", "state": RunState.FINISHED},
        {"state": RunState.PAUSED},
        {"unattended": True},
        {"seconds_left": None, "binding": ""},
    ],
)
def test_no_time_left_is_shown_for_a_run_that_stands_still(changes: dict[str, Any]) -> None:
    assert not any("left" in line for line in status_lines(status(**changes)))


def test_a_run_without_a_process_says_so() -> None:
    line = "no process is working on it; `nightsweep resume` continues it"

    assert line in status_lines(status(unattended=True))
    assert line not in status_lines(status(unattended=True, state=RunState.FINISHED))
    assert line not in status_lines(status())


def test_cancelled_cells_are_not_shown_as_failed() -> None:
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


def test_a_progress_line_holds_what_a_log_needs(live_in: Callable[[str], None]) -> None:
    live_in("Europe/Berlin")
    held = waiting(WaitReason.OUTAGE, lane="b", detail="connection refused; away since 20:24 CET")
    look = status(questions_answered=37, questions=100)

    line = progress_line(replace(look, waiting=(*look.waiting, held)))

    assert line == (
        "2023-11-14T20:26:40+01:00 1,234/5,000 cells; questions: 37 of 100 answered;"
        " jobs: 16 running, 2,700 queued at the rate limit, 20 backing off until 23:13 CET,"
        " 411 answered, 7 failed; requests: 58 of 60 per minute; tests: 8,000 passed, 312 failed;"
        " quota 1,234/5,000; about 62 min left (done 21:28 CET) at the rate limit;"
        " 41 held for b: connection refused; away since 20:24 CET;"
        " 7 jobs failed: not found (404), such as: Unknown model: qwen/qwen9"
    )


def run_info(**changes: Any) -> RunInfo:
    values: dict[str, Any] = {
        "name": "crisis-safety",
        "service": "circuit-breaker-labs",
        "evaluation": "single_turn",
        "state": RunState.ACTIVE,
        "reason": None,
        "created_at": 1_700_000_000.0,
        "updated_at": 1_700_000_000.0,
        "jobs": {"succeeded": 7, "pending": 3},
    }
    return RunInfo(**{**values, **changes})


def test_runs_are_listed_one_a_line() -> None:
    head, line = runs_lines([run_info(reason=StopReason.QUOTA)], AT)

    assert head.split() == ["RUN", "STATE", "JOBS", "LAST", "CHANGE", "EVALUATION"]
    assert line.startswith("crisis-safety  active (quota)  7/10  2023-11-1")
    assert runs_lines([], AT) == ["no runs"]


def test_a_run_that_waits_for_its_window_is_listed_with_the_time_of_its_opening() -> None:
    lanes = tuple(
        LaneState(name=name, why=WaitReason.WINDOW, until=AT + 7200.0) for name in ("a", "b")
    )

    _, _, *held = runs_lines([run_info(lanes=lanes)], AT)
    _, _, *opened = runs_lines([run_info(lanes=lanes)], AT + 7200.0)

    assert held == [f"  queued until the window opens at {time_of_day(AT + 7200.0, now=AT)}"]
    assert opened == []


def test_a_run_is_listed_with_what_keeps_its_lanes_from_sending() -> None:
    lanes = (
        LaneState(name="a", why=WaitReason.HELD, until=AT + 45),
        LaneState(name="b", why=WaitReason.HELD, until=AT + 60),
        LaneState(name="c", why=WaitReason.RATE, until=AT + 9),
        LaneState(name="d", why=WaitReason.OUTAGE, detail="connection refused\x1b[2J"),
        *(LaneState(name=f"e{n}", why=WaitReason.ERRORS, detail=f"odd {'x' * n}") for n in (1, 2)),
    )

    _, line, *held = runs_lines([run_info(lanes=lanes)], AT)

    assert line.startswith("crisis-safety  active  7/10  ")
    assert held == [
        "  held for a, b: the service asked to wait 45 s",
        "  held for d: connection refused",
        "  held for e1: odd x",
        "  and 1 lane more",
    ]


def test_findings_tell_good_from_bad() -> None:
    checks = [
        Check(name="ping", ok=True, message="answered"),
        Check(name="key", ok=False, message="refused \x1b[2J"),
    ]

    assert check_lines(checks, "labs") == ["ok   ping: answered", "BAD  key: refused "]


def test_a_service_without_checks_says_so() -> None:
    assert check_lines([], "labs") == ["nothing to check: the service labs has no checks"]


def test_what_came_from_outside_is_made_harmless() -> None:
    hostile = status(
        run="\x1b[2Jx",
        message="\x1b]0;owned\x07y",
        errors=(ErrorKind(message="\u202ez", jobs=1, example="\x1b[2Jw"),),
    )

    text = "\n".join([*status_lines(hostile), *summary_lines(hostile), progress_line(hostile)])

    assert "\x1b" not in text
    assert "\u202e" not in text


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"rate_per_min": None}, "requests: 58 per minute"),
        ({"rate_per_min": 1200}, "requests: 58 of 1,200 per minute"),
        (
            {"rate_per_min": 9, "is_rate_of_others": True},
            "requests: 58 per minute; another process keeps this key to 9",
        ),
        (
            {"rate_per_min": 60, "model_rates_of_others": {"a/b": 7, "c": 8}},
            "requests: 58 of 60 per minute; another process keeps a/b to 7, c to 8",
        ),
    ],
)
def test_requests_are_shown_with_the_rates_that_hold(changes: dict[str, Any], line: str) -> None:
    assert requests_line(status(**changes)) == line


def test_a_run_that_sends_no_requests_has_no_line_of_them() -> None:
    looked = status(requests_per_min=None)

    assert not any("per minute" in line for line in status_lines(looked))
    assert "per minute" not in progress_line(looked)


def test_a_run_without_a_rate_has_no_limit_in_its_line_of_requests() -> None:
    assert "requests: 58 per minute" in status_lines(status(rate_per_min=None))


def test_a_status_of_answers_without_tests_says_nothing_of_tests() -> None:
    found = status(tests_passed=0, tests_failed=0)

    assert "tests:" not in "\n".join(status_lines(found))
    assert "tests: 0 passed" in "\n".join(status_lines(replace(found, cells_done=0)))

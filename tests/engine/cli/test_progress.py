import logging
import sys
from collections.abc import Callable
from datetime import datetime
from io import StringIO

import pytest
from rich.cells import cell_len
from rich.console import Console

from engine.cli.panel import Panel, panel
from engine.cli.progress import Lines, pause_s
from engine.core.error_kinds import ErrorKind
from engine.core.runs import WaitReason
from engine.core.status import Session, Status, Waiting
from engine.core.terminal import plain
from engine.logs import StderrHandler
from tests.engine.report.samples import status


def drawn(found: Status, width: int) -> list[str]:
    stream = StringIO()
    Console(file=stream, width=width, force_terminal=True, color_system=None).print(panel(found))
    return stream.getvalue().splitlines()


def test_the_panel_holds_what_a_person_wants_to_know(live_in: Callable[[str], None]) -> None:
    live_in("Europe/Berlin")

    name, *lines = drawn(status(questions_answered=37, questions=100, questions_left=63), 200)

    assert name.startswith("crisis-safety ")
    assert name.endswith(" 1,254/5,000 cells 37%")
    assert [line.rstrip() for line in lines] == [
        "questions: 37 of 100 answered · about 62 min left (done 21:28 CET) at the rate limit",
        (
            "jobs: 16 running, 2,700 queued at the rate limit, 20 backing off until 23:13 CET,"
            " 411 answered, 7 failed"
        ),
        "why jobs failed:",
        "  7 jobs: not found (404), such as: Unknown model: qwen/qwen9",
        "requests: 58 of 60 per minute · tests: 8,000 passed, 312 failed",
        "quota 1,234 of 5,000 (12 reserved) in 2026-11: tests",
    ]


def test_the_bar_moves_with_each_question_before_the_first_cell_has_its_answer() -> None:
    none_yet = {"cells": 32, "cells_done": 0, "cells_failed": 0, "questions": 100}

    bars = [
        drawn(status(**none_yet, questions_answered=answered, questions_left=left), 80)[0]
        for answered, left in ((0, 100), (8, 92), (96, 0))
    ]

    assert [bar.split("cells ")[1] for bar in bars] == ["0%", "8%", "100%"]
    assert len({bar.partition(" 0/32")[0] for bar in bars}) == 3


def test_without_a_number_of_questions_the_bar_moves_with_the_cells() -> None:
    [bar, *_] = drawn(status(), 80)

    assert bar.endswith(" 1,254/5,000 cells 25%")


def test_the_bar_says_how_long_the_run_has_been_executed_here() -> None:
    at = 1_699_990_000.0

    [bar, *_] = drawn(status(at=at, session=Session(began_at=at - 75.0)), 80)

    assert bar.endswith(" 1,254/5,000 cells 25% · 75 s")


CAUSE = (
    "connection refused; no answer yet (wrong address?), given up at 20:34 CET: "
    + " ".join(f"word{number}" for number in range(15))
    + " the-very-last-word"
)


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_panel_wraps_a_cause_and_cuts_nothing_off(width: int) -> None:
    held = Waiting(lane="qwen/qwen3", why=WaitReason.OUTAGE, jobs=41, detail=CAUSE)
    failed = ErrorKind(message="no such model (404)", jobs=3, example=CAUSE)
    look = status(waiting=(held,), errors=(failed,), message=CAUSE)

    lines = drawn(look, width)

    assert max(map(cell_len, lines)) <= width
    text = " ".join(" ".join(lines).split())
    assert f"41 held: {CAUSE}" in text
    assert f"3 jobs: no such model (404), such as: {CAUSE}" in text
    assert text.count(CAUSE) == 3


def test_the_panel_leaves_room_beside_a_very_long_cause() -> None:
    held = Waiting(lane="a", why=WaitReason.OUTAGE, jobs=41, detail="cause " + "x" * 2000)

    lines = drawn(status(waiting=(held,)), 80)

    assert len(lines) < 24
    assert any(line.startswith("41 held: cause") for line in lines)
    assert lines[-1].startswith("quota ")


def test_the_panel_says_who_judges() -> None:
    lines = drawn(status(judge="the rules judge, a heuristic"), 80)

    assert "judged by the rules judge, a heuristic" in [line.rstrip() for line in lines]


@pytest.mark.parametrize("width", [40, 80, 200])
def test_the_panel_is_never_wider_than_the_terminal(width: int) -> None:
    crowded = status(
        run="a-run-with-a-name-that-is-much-too-long-for-any-display",
        message="a message " * 30,
        cells=1_000_000,
        cells_done=999_998,
        expanding=True,
    )

    assert max(map(cell_len, drawn(crowded, width))) <= width


def test_nothing_hostile_is_drawn() -> None:
    lines = drawn(status(run="\x1b]0;owned\x07x", message="\x1b[2Jgone \u202e"), 80)

    assert lines == [plain(line) for line in lines]


def test_the_panel_is_redrawn_in_place_and_gone_at_the_end() -> None:
    stream = StringIO()
    with Panel(Console(file=stream, width=80, force_terminal=True)) as display:
        display.show(status())
        display.show(status(cells_done=4000))
        display.say("a word [not markup]")

    assert "80%" in stream.getvalue()
    assert "a word [not markup]" in stream.getvalue()
    assert stream.getvalue().endswith("\x1b[2K")


def test_what_is_logged_meanwhile_is_written_above_the_panel(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Terminal(StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    handler = StderrHandler()
    record = logging.makeLogRecord({"msg": "a [word] of the log", "levelno": logging.WARNING})

    with Panel(Console(stderr=True, width=80, force_terminal=True)) as display:
        display.show(status())
        handler.handle(record)
        display.show(status())
    handler.handle(record)

    during, after = terminal.getvalue().split("a [word] of the log\n")[1:]
    # The panel is erased before the line, and drawn again below it.
    assert terminal.getvalue().partition("a [word] of the log")[0].endswith("\x1b[2K")
    assert "crisis-safety" in during
    assert after == ""


def test_a_log_in_a_file_stays_there_while_the_panel_is_on_the_terminal(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    terminal, file = StringIO(), StringIO()
    monkeypatch.setattr(sys, "stderr", file)

    with Panel(Console(file=terminal, width=80, force_terminal=True)) as display:
        display.show(status())
        StderrHandler().handle(
            logging.makeLogRecord({"msg": "of the log", "levelno": logging.WARNING})
        )

    assert file.getvalue() == "of the log\n"
    assert "of the log" not in terminal.getvalue()


def test_a_run_that_takes_long_to_count_is_looked_at_less_often() -> None:
    assert pause_s(0.5, 0.002) == 0.5
    assert pause_s(0.5, 0.4) == pytest.approx(8)
    assert pause_s(60, 0.4) == 60


def test_a_log_gets_one_line_each_time(capsys: pytest.CaptureFixture[str]) -> None:
    with Lines(10) as display:
        display.show(status())
        display.say("a word")

    out, err = capsys.readouterr()
    line, word = err.splitlines()
    assert out == ""
    assert datetime.fromisoformat(line.split(" ", 1)[0]).timestamp() == status().at
    assert word == "a word"


@pytest.mark.parametrize("columns", [None, "40"])
def test_a_line_of_a_log_has_no_width(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, columns: str | None
) -> None:
    if columns is None:
        monkeypatch.delenv("COLUMNS", raising=False)
    else:
        monkeypatch.setenv("COLUMNS", columns)
    held = Waiting(lane="a", why=WaitReason.OUTAGE, jobs=41, detail=CAUSE)

    with Lines(10) as display:
        display.show(status(waiting=(held,)))

    [line] = capsys.readouterr().err.splitlines()
    assert f"41 held: {CAUSE}" in line

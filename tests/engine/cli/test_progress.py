from io import StringIO

import pytest
from rich.cells import cell_len
from rich.console import Console

from engine.cli.progress import Lines, Panel, panel, pause_s
from engine.core.status import Status
from engine.report.terminal import plain
from tests.engine.report.samples import status


def drawn(found: Status, width: int) -> list[str]:
    stream = StringIO()
    Console(file=stream, width=width, force_terminal=True, color_system=None).print(panel(found))
    return stream.getvalue().splitlines()


def test_the_panel_holds_what_a_person_wants_to_know() -> None:
    name, *lines = drawn(status(), 80)

    assert name.startswith("crisis-safety ")
    assert name.endswith(" 1,254/5,000 cells 25%")
    assert [line.rstrip() for line in lines] == [
        "16 running · 2,720 waiting · 20 cells failed",
        lines[1].rstrip(),
        "requests: 58 of 60 per minute · tests: 8,000 passed, 312 failed",
        "quota 1,234 of 5,000 (12 held) in 2026-11: tests",
        "about 62 min left, bound by rate",
    ]
    assert lines[1].startswith("waiting: 100 for rate, 20 for retry until 2023-11-1")


def test_the_panel_says_who_judges() -> None:
    lines = drawn(status(judge="the rules judge, a heuristic"), 80)

    assert "judged by the rules judge, a heuristic" in [line.rstrip() for line in lines]


@pytest.mark.parametrize("width", [40, 80, 132])
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


def test_a_run_that_takes_long_to_count_is_looked_at_less_often() -> None:
    assert pause_s(0.5, 0.002) == 0.5
    assert pause_s(0.5, 0.4) == pytest.approx(8)
    assert pause_s(60, 0.4) == 60


def test_a_log_gets_one_line_each_time(capsys: pytest.CaptureFixture[str]) -> None:
    with Lines(10) as display:
        display.show(status())
        display.say("a word")

    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 2

"""`findings`, as it is typed: in a pipe, as JSON, and on a terminal with a pager."""

import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pytest

from tests.engine.cli.conftest import Nightsweep
from tests.patience import awaiting, with_stacks

PAGER = 'sh -c "cat > paged.txt"'
MAIN_ENDED_AT_ONCE = (
    sys.executable,
    "-c",
    "from engine.cli import main, running; running.ENDING_S = 0; main()",
)
"""The command line, in which a signal that ends it does so without a delay."""


@pytest.fixture
def ended(nightsweep: Nightsweep, sweep: Callable[..., str]) -> Nightsweep:
    """A store with a run of two models that answer and one that the service does not know."""
    assert nightsweep("run", sweep("listed/a", "hostile", "broken")).returncode == 1
    return nightsweep


@pytest.fixture
def terminal() -> Iterator[int]:
    """The end of a terminal that a process writes to."""
    ours, theirs = pty.openpty()
    yield theirs
    os.close(ours)
    os.close(theirs)


def test_conversations_are_printed_plainly_where_there_is_no_terminal(ended: Nightsweep) -> None:
    shown = ended("findings", "night", "--where", "models=listed/*", COLUMNS="20")

    assert shown.returncode == 0
    assert (
        shown.stdout
        == """\
1. case case-0, layer 0, score 0.1, failed at 0.3, 0.5
   model listed/a, repeat 1, job 1

  user
    Hello?

  assistant
    bad

  tone: cold

  evidence
    cap: 0.4
    red_flags:
    - name: hostility, quote: bad

2. case case-1, layer 0, score 0.4, failed at 0.5
   model listed/a, repeat 1, job 1

  user
    Hello?

  assistant
    fair

  tone: cold

  evidence
    cap: 0.4
    red_flags:
    - name: hostility, quote: fair

"""
    )
    assert shown.stderr == "night: 4 of 6 cells answered, 2 failed; 2 findings selected\n"


def test_the_worst_come_first_and_the_rest_is_counted(ended: Nightsweep) -> None:
    shown = ended("findings", "--worst", "2", "--json")
    read = ended("findings", "--worst", "2")
    at = ended("findings", "--threshold", "0.3")

    rows = json.loads(ended("results", "--findings", "--json").stdout)
    assert json.loads(shown.stdout) == [row for row in rows if row["score"] == 0.1]
    assert [line for line in read.stdout.splitlines() if ". case" in line] == [
        "1. case case-0, layer 0, score 0.1, failed at 0.3, 0.5",
        "2. case case-0, layer 0, score 0.1, failed at 0.3, 0.5",
    ]
    assert read.stderr.endswith("; 2 of 4 findings shown, the lowest scores first\n")
    assert at.stderr.endswith("; 2 findings selected\n")


def test_without_findings_the_coverage_is_said(ended: Nightsweep) -> None:
    none = ended("findings", "--where", "model=broken")

    assert (none.returncode, none.stdout) == (0, "")
    assert none.stderr == "night: 4 of 6 cells answered, 2 failed; 0 findings selected\n"
    assert ended("findings", "--where", "model=broken", "--json").stdout == "[]\n"


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            ("--where", "group=a"),
            "night has no axis 'group'; it has: model, threshold, repeat, case",
        ),
        (("--threshold", "0.3", "--where", "thresholds=0.5"), "both name a threshold"),
        (("--worst", "0"), "--worst"),
    ],
)
def test_a_mistake_is_named(ended: Nightsweep, args: tuple[str, ...], message: str) -> None:
    refused = ended("findings", *args)

    assert (refused.returncode, refused.stdout) == (2, "")
    assert message in refused.stderr


def test_on_a_terminal_the_pager_gets_colours_and_no_sequence_of_a_model(
    ended: Nightsweep, tmp_path: Path, terminal: int
) -> None:
    def page(**more: str) -> str:
        shown = ended(
            "findings", "--worst", "3", streams={1: terminal}, PAGER=PAGER, TERM="xterm", **more
        )
        assert shown.returncode == 0, shown.stderr
        return (tmp_path / "paged.txt").read_text()

    coloured, plain = page(), page(NO_COLOR="1")

    assert "\x1b[1;36m  user\x1b[0m\n" in coloured
    assert "\x1b[36m" not in plain
    assert "36m" not in plain
    # That is what the hostile model would have coloured.
    assert "\x1b[31m" not in coloured
    assert "\u202e" not in coloured
    assert "::error::mine" in coloured


def test_json_is_not_paged(ended: Nightsweep, tmp_path: Path, terminal: int) -> None:
    ended(
        "findings",
        *("--worst", "1", "--json", "--where", "model=listed/a"),
        streams={1: terminal},
        PAGER=PAGER,
    )

    assert not (tmp_path / "paged.txt").exists()


def test_a_pager_that_is_left_early_is_no_error(ended: Nightsweep, terminal: int) -> None:
    left = ended("findings", streams={1: terminal}, PAGER="true")

    assert (left.returncode, "Traceback" in left.stderr) == (0, False)


def test_without_a_pager_the_terminal_shows_it(ended: Nightsweep, terminal: int) -> None:
    for pager, message in (
        ("", ""),
        ("cat", ""),
        ("./no-pager", "cannot start the pager ./no-pager: No such file or directory\n"),
        ('"', "PAGER is '\"', which is no command line: the pager is left out\n"),
    ):
        shown = ended(
            "findings",
            *("--worst", "1", "--where", "model=listed/a"),
            streams={1: terminal},
            PAGER=pager,
        )

        assert shown.returncode == 0
        assert shown.stderr.startswith(f"{message}night: 4 of 6 cells answered")


def test_a_closed_pipe_is_no_error(ended: Nightsweep) -> None:
    for more in ((), ("--json",)):
        theirs, ours = os.pipe()
        os.close(theirs)
        ends = ended("findings", *more, streams={1: ours})
        os.close(ours)

        assert (ends.returncode, ends.stderr) == (0, "")


def test_ctrl_c_is_left_to_the_pager(
    ended: Nightsweep, tmp_path: Path, environment: Mapping[str, str], terminal: int
) -> None:
    os.mkfifo(tmp_path / "left")
    os.mkfifo(tmp_path / "read")
    pager = "trap '' INT; cat > paged.txt; echo > read; cat left"
    process = subprocess.Popen(  # noqa: S603
        [*MAIN_ENDED_AT_ONCE, "findings", "--worst", "1"],
        cwd=tmp_path,
        env={**with_stacks(environment), "PAGER": f'sh -c "{pager}"'},
        stdout=terminal,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        with awaiting("the pager has read everything", process):
            (tmp_path / "read").read_text()
        process.send_signal(signal.SIGINT)
        (tmp_path / "left").write_text("")
        with awaiting("the end", process):
            _, stderr = process.communicate()
    finally:
        process.kill()

    assert process.returncode == 0, stderr
    assert "case-0" in (tmp_path / "paged.txt").read_text()

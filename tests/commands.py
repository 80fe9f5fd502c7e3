"""Calling `nightsweep` in the process of a test."""

import signal
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO

import pytest

from engine.cli import main


@dataclass(frozen=True, slots=True, kw_only=True)
class Ended:
    exit_code: int
    stdout: str
    stderr: str


def run(*arguments: str) -> Ended:
    """Call `nightsweep` in this process."""
    stdout, stderr = StringIO(), StringIO()
    handlers = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        with redirect_stdout(stdout), redirect_stderr(stderr), pytest.raises(SystemExit) as ended:
            main(arguments)
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
    assert isinstance(ended.value.code, int)
    return Ended(exit_code=ended.value.code, stdout=stdout.getvalue(), stderr=stderr.getvalue())

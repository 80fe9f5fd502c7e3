"""Ends a process of pytest that hangs after a test, with the stacks of all its threads.

pytest-timeout and pytest's own faulthandler stop watching a test once it has failed. What made it fail
may also make its fixtures hang, or leave a thread behind that keeps the process from ending.
"""

import faulthandler
import os
from collections.abc import Generator

import pytest

_STDERR = pytest.StashKey[int]()


def pytest_configure(config: pytest.Config) -> None:
    # While tests run, stderr is captured; here it is not yet.
    config.stash[_STDERR] = os.dup(2)


def pytest_unconfigure(config: pytest.Config) -> None:
    _watch(config)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_teardown(item: pytest.Item) -> Generator[None]:
    _watch(item.config)
    try:
        return (yield)
    finally:
        faulthandler.cancel_dump_traceback_later()


def _watch(config: pytest.Config) -> None:
    limit_s = float(config.getini("faulthandler_timeout"))
    faulthandler.dump_traceback_later(limit_s, exit=True, file=config.stash[_STDERR])

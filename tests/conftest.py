"""Settings for all tests: the same examples on every run and every machine."""

import gc
import os
import signal
from collections.abc import Generator, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

from engine.kinds import UsageError
from jobs.chat import model_file

pytest.register_assert_rewrite("tests.launcher.processes")

from tests.compiled_statements import share_compiled_statements  # noqa: E402
from tests.launcher.processes import Launcher  # noqa: E402
from tests.long import is_long  # noqa: E402
from tests.quick import is_quick  # noqa: E402

pytest_plugins = ["tests.watchdog"]

share_compiled_statements()

# Tests talk only to this machine. Child processes inherit this environment, so no proxy reaches them either.
for name in ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY"):
    os.environ.pop(name, None)
    os.environ.pop(name.lower(), None)

# Child processes would inherit that a hangup or an interrupt is ignored, as with `nohup` or in the background of a
# script; they do not inherit a handler.
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, lambda *_: None)
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

# A model with more threads would take the time of the tests beside it.
os.environ["NIGHTSWEEP_MODEL_THREADS"] = "1"

# Machines are noisy: how long an example takes says nothing of the code.
settings.register_profile(
    "repeatable",
    derandomize=True,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
# For a long search by hand: pytest --hypothesis-profile=soak tests/faults/test_fuzzing.py
settings.register_profile(
    "soak",
    max_examples=int(os.environ.get("SOAK_EXAMPLES", "10000")),
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.load_profile("repeatable")


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    """Leave out, unread, what `-m quick` does not select."""
    if config.option.markexpr != "quick" or collection_path.suffix != ".py":
        return None
    return None if is_quick(collection_path) else True


@pytest.hookimpl(wrapper=True)
def pytest_collection() -> Generator[None, object, object]:
    """Collect the tests without looking for garbage, and never look at them for garbage later."""
    gc.disable()
    try:
        return (yield)
    finally:
        gc.freeze()
        gc.enable()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark the quick tests, and put the long ones first: near the end, a worker would run one alone."""
    for item in items:
        if is_quick(item.path):
            item.add_marker("quick")
    items.sort(key=lambda item: not is_long(item.path))


@pytest.fixture(scope="session")
def built_in_model() -> Path:
    """The built-in model. Without it tests fail; none is skipped."""
    try:
        return model_file.require()
    except UsageError as error:
        pytest.fail(f"{error}, or `python -m tests.prepare` for all that the tests need")


@pytest.fixture(scope="session")
def launcher() -> Iterator[Launcher]:
    """Starts commands quickly; each worker of pytest-xdist has one of its own."""
    with Launcher() as launcher:
        yield launcher

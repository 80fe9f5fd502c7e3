"""The time limit of an evaluation, which counts only while one of its calls is in flight."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import anyio

from engine.kinds import TimedOut

_CURRENT: ContextVar["Stopwatch | None"] = ContextVar("stopwatch", default=None)


class Stopwatch:
    """Cancels its block once calls have been in flight for `within_s` seconds in total.

    Time spent waiting for a slot, a rate limit or another evaluation does not count. Concurrent calls count
    once.
    """

    def __init__(self, within_s: float) -> None:
        self._within_s = self._left_s = within_s
        self._calls = 0
        self._since = 0.0
        self._scope = anyio.CancelScope()

    @contextmanager
    def watch(self) -> Iterator[None]:
        """Time the calls within the block; raises TimedOut when they take too long."""
        token = _CURRENT.set(self)
        try:
            with self._scope:
                yield
        finally:
            _CURRENT.reset(token)
        if self._scope.cancelled_caught:
            raise TimedOut(f"its calls were under way for more than {self._within_s:g} s")

    @contextmanager
    def count_call(self) -> Iterator[None]:
        """Count the block as a call in flight: the time runs until the last of concurrent calls has ended."""
        if self._calls == 0:
            self._since = anyio.current_time()
            self._scope.deadline = self._since + self._left_s
        self._calls += 1
        try:
            yield
        finally:
            self._calls -= 1
            if self._calls == 0:
                self._left_s -= anyio.current_time() - self._since
                self._scope.deadline = float("inf")


@contextmanager
def time_call() -> Iterator[None]:
    """Count the block as a call of the evaluation that a stopwatch currently times, if any."""
    stopwatch = _CURRENT.get()
    if stopwatch is None:
        yield
        return
    with stopwatch.count_call():
        yield

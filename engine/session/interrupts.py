"""Noticing a Ctrl-C that other code handles, such as asyncio.run or a notebook."""

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


@contextmanager
def notice_interrupts() -> Iterator[list[int]]:
    """Collect the interrupts that come within the block; the previous handler still handles them.

    None is noticed outside the main thread, or if Python has no handler for the signal.
    """
    seen: list[int] = []
    is_main = threading.current_thread() is threading.main_thread()
    handler = signal.getsignal(signal.SIGINT) if is_main else None
    if not callable(handler):
        yield seen
        return
    handle = handler

    def notice(number: int, frame: FrameType | None) -> None:
        seen.append(number)
        handle(number, frame)

    signal.signal(signal.SIGINT, notice)
    try:
        yield seen
    finally:
        if signal.getsignal(signal.SIGINT) is notice:
            signal.signal(signal.SIGINT, handle)

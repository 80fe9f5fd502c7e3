"""Making SIGTERM and SIGHUP end a command as Ctrl-C does, so that unfinished files are removed."""

import signal
from types import FrameType


def end_as_interrupts() -> None:
    """Make SIGTERM and SIGHUP do what SIGINT does; `run` and `serve` later set their own handlers.

    An ignored signal, such as SIGHUP under `nohup`, stays ignored.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _interrupt)


def _interrupt(_: int, frame: FrameType | None) -> None:
    handler = signal.getsignal(signal.SIGINT)
    # A background command of a script ignores SIGINT, but must not ignore these signals.
    interrupt = handler if callable(handler) else signal.default_int_handler
    interrupt(signal.SIGINT, frame)

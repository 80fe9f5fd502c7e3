"""SIGTERM and SIGHUP end a command as Ctrl-C does, so that what it was writing is removed."""

import signal
from types import FrameType


def end_as_interrupts() -> None:
    """Have SIGTERM and SIGHUP do what SIGINT does; `run` and `serve` have handlers of their own later.

    A signal that is ignored, such as a hangup under `nohup`, stays ignored.
    """
    for number in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(number) is signal.SIG_DFL:
            signal.signal(number, _interrupt)


def _interrupt(_: int, frame: FrameType | None) -> None:
    handler = signal.getsignal(signal.SIGINT)
    # A command in the background of a script ignores SIGINT; these signals are meant for it all the same.
    interrupt = handler if callable(handler) else signal.default_int_handler
    interrupt(signal.SIGINT, frame)

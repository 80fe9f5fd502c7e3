"""Ends a command without taking its interpreter apart, which takes longer than most commands do.

All that a command sees of its end happens as usual: threads are waited for, what is registered for the exit is called,
what was forgotten is warned about, and streams are flushed. To be imported before anything that registers
something for the exit: what is registered first is called last.
"""

import atexit
import contextlib
import gc
import os
import sys
from collections.abc import Iterator


class _Ending:
    def __init__(self) -> None:
        self.code: int | None = None

    def __call__(self) -> None:
        if self.code is None:
            return
        gc.collect()
        # A stream that cannot be flushed has the interpreter end as it does then.
        with contextlib.suppress(OSError, ValueError, AttributeError):
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(self.code)


_ending = _Ending()
atexit.register(_ending)


@contextlib.contextmanager
def quick() -> Iterator[None]:
    """End this process with the exit code of what is done, as soon as all that belongs to that has happened."""
    try:
        yield
    except SystemExit as ended:
        _ending.code = ended.code if isinstance(ended.code, int) else None
        raise

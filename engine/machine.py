"""Limits of this machine: how many files a process may open, and errors that mean a shortage."""

import errno
import sys
from pathlib import Path

from engine.core.errors import MachineFault

_OPEN_FILES_WANTED = 1 << 20
"""More than any run can use; the hard limit of some systems is in the billions."""
_OPEN_FILES_OF_MACOS = 10_240
"""The most that macOS grants, whatever its hard limit says."""
_SPARE_FILES = 12
"""For files that are open briefly: answers on their way to the store, certificates, name look-ups."""

_SHORT_OF = {
    errno.EMFILE: "this process has too many files and connections open: raise `ulimit -n`",
    errno.ENFILE: "its programs have too many files open: close some of them",
    errno.ENOMEM: "it has no memory left: close other programs, or lower max_in_flight",
    errno.ENOBUFS: "it has no memory left for connections: lower max_in_flight",
    errno.EADDRNOTAVAIL: "it has no address or port left for another connection: lower max_in_flight",
    errno.ENOSPC: "its disk is full: make room on it",
    errno.EDQUOT: "the disk space that this user may have is used up: make room",
}


def machine_fault(error: BaseException, where: str = "") -> MachineFault | None:
    """The shortage on this machine that an error, or one of its causes, reports; None for other errors.

    `where` says what was being done.
    """
    short_of = _short_of(error)
    if short_of is None:
        return None
    at = f" ({where})" if where else ""
    return MachineFault(f"this machine ran short: {short_of}{at}")


def _short_of(error: BaseException | None) -> str | None:
    seen = 0
    while error is not None and seen < 10:
        if isinstance(error, MemoryError):
            return _SHORT_OF[errno.ENOMEM]
        if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
            return "it can start no thread: raise `ulimit -u`, or lower max_in_flight"
        if isinstance(error, OSError) and error.errno in _SHORT_OF:
            return _SHORT_OF[error.errno]
        error, seen = error.__cause__ or error.__context__, seen + 1
    return None


def raise_file_limit() -> None:
    """Raise this process's limit on open files as far as the system allows."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    for wanted in (_OPEN_FILES_WANTED, _OPEN_FILES_OF_MACOS):
        limit = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
        if soft == resource.RLIM_INFINITY or limit <= soft:
            return
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (limit, hard))
        except (ValueError, OSError):
            continue
        return


def connections_allowed() -> int | None:
    """How many more connections this process can open; at least 1, and None if no limit is known."""
    if sys.platform == "win32":
        return None
    import resource

    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft == resource.RLIM_INFINITY:
        return None
    return max(1, soft - _open_files() - _SPARE_FILES)


def _open_files() -> int:
    for folder in ("/proc/self/fd", "/dev/fd"):
        try:
            return sum(1 for _ in Path(folder).iterdir())
        except OSError:
            continue
    return 64

"""What the exit codes mean, and which one a run ends with."""

from engine.core.runs import RunState, StopReason
from engine.core.status import Status

ANSWERED = 0
"""Every cell has an answer."""
FAILED = 1
"""Some cells have failed; for `check`, a check has failed."""
USAGE = 2
"""Wrong usage, sweep file or store."""
INCOMPLETE = 3
"""Not all cells have an outcome, and the run can be resumed."""
BUG = 70
"""A fault in Nightsweep itself; the traceback is on stderr."""
INTERRUPTED = 130
"""Stopped by a signal; the run can be resumed."""


def exit_code(status: Status) -> int:
    """The exit code of a `run` or `resume` that ended with this status."""
    if status.reason is StopReason.INTERRUPTED:
        return INTERRUPTED
    coverage = status.coverage
    # A cancelled cell has no outcome: `retry --cancelled` has it sent.
    if status.state is not RunState.FINISHED or coverage.to_come or coverage.cancelled:
        return INCOMPLETE
    return FAILED if coverage.failed else ANSWERED

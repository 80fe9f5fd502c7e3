"""How fast the matrix of a run is written into the queue while its first jobs are being sent."""

BATCH = 2_000
"""Jobs written in one transaction while none is in flight."""
BATCH_BESIDE_JOBS = 250
"""Jobs written in one transaction while others are in flight, whose outcomes wait for it."""
AHEAD = 20_000
"""So many jobs in the queue are enough while every slot is taken: the others are then written slowly."""
SHARE = 0.1
"""The share of the time in which they are written then."""
_LONGEST_S = 1.0
"""A batch that took longer, as on a busy machine, counts as so long."""


def batch_size(in_flight: int) -> int:
    """The number of jobs to write in the next transaction."""
    return BATCH_BESIDE_JOBS if in_flight else BATCH


def rest_s(took_s: float, rested_s: float, *, ahead: int, is_full: bool) -> float:
    """How many seconds to leave the writer to the jobs in flight, before the next batch is written; 0 to go on.

    The last batch took `took_s` seconds, `rested_s` seconds ago. `ahead` jobs were written and not claimed yet;
    `is_full` says that every slot is taken, so that more jobs in the queue would not be sent. A lane whose first job
    is still to be written could otherwise use the free slots.
    """
    if not is_full or ahead < AHEAD:
        return 0.0
    return max(0.0, min(took_s, _LONGEST_S) * (1 / SHARE - 1) - rested_s)

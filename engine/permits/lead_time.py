"""How far ahead of its use a start has to be requested."""

import logging
from collections import deque

from engine.core.rates import CLOCK_TOLERANCE_S

logger = logging.getLogger(__name__)

LEAD_MAX_S = CLOCK_TOLERANCE_S / 2
"""With slower commits than this, a start is too late to be used once it is granted."""
CONNECT_MEMORY = 100
"""Starts that are remembered to learn how long connecting takes: most connections are reused."""
_OUTLIERS = 2
"""The slowest starts in memory, which do not count."""


class LeadTime:
    """How long starts have lately taken from request to use; the next one is requested that far ahead.

    Otherwise every start would be late on a slow disk. But a start that is taken far ahead occupies
    a slot until its time comes, so the few slowest, as after a stopped process, do not count.
    """

    def __init__(self, *, memory: int = 10) -> None:
        """Remember the last `memory` starts."""
        self.seconds = 0.0
        self._took: deque[float] = deque(maxlen=memory)

    def adapt(self, took_s: float) -> None:
        """Learn that a start could be used `took_s` seconds after it was requested; changes `seconds`.

        The slowest of recent starts decides, apart from a few outliers, up to LEAD_MAX_S; a warning is
        logged once that is reached.
        """
        self._took.append(took_s)
        seconds = sorted(self._took, reverse=True)[: _OUTLIERS + 1][-1]
        if seconds > LEAD_MAX_S > self.seconds:
            logger.warning(
                "the store takes more than %.0f s to commit, so requests miss their slots within"
                " the rate; put the store on a faster disk",
                LEAD_MAX_S,
            )
        self.seconds = min(seconds, LEAD_MAX_S)

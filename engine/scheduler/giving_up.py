"""Lanes that can send nothing more in this session, and the stop that follows, with why in words."""

from collections.abc import Iterable
from math import isinf

from engine.clock import Clock
from engine.core.listing import join_first
from engine.core.runs import StopReason
from engine.scheduler.assignment import Assignment, Stop
from engine.scheduler.lane import Block, Lane
from engine.scheduler.quota import QuotaTracker
from engine.scheduler.shortage import Shortage, is_short
from engine.store import Store

_FINAL = (Block.QUOTA, Block.CREDIT, Block.SICK, Block.PARKED)


def is_hopeless(lane: Lane) -> bool:
    """Whether neither time nor an answer that is still to come lets a lane send again in this session.

    More quota of the service still may: `find_stop` asks for it.
    """
    return lane.block in _FINAL or isinf(lane.next_at)


async def find_stop(
    store: Store, clock: Clock, assignment: Assignment, quota: QuotaTracker, waiting: list[Lane]
) -> Stop | None:
    """Return why a run cannot go on whose lanes wait for nothing that comes by itself.

    None if other processes may still give them something to do, or the service has more quota.
    """
    if await store.reader.count_peers(assignment.run_id) or not all(map(is_hopeless, waiting)):
        # These lanes may wait for answers of other processes; the watch checks while there are any.
        return None
    unpaid = [lane for lane in waiting if lane.block is Block.CREDIT]
    short = [lane for lane in waiting if is_short(lane)]
    if short and await quota.has_more(short):
        return None
    if unpaid:
        return Stop(reason=StopReason.CREDIT, message=_describe_unpaid(unpaid))
    if short:
        now = clock.now()
        shortage = Shortage(store, assignment, short, quota.keys(now), now)
        return Stop(
            reason=StopReason.QUOTA,
            message=await shortage.describe(),
            resume_at=await shortage.find_end(),
        )
    return Stop(reason=StopReason.UNHEALTHY, message=_describe_given_up(waiting))


def _describe_unpaid(lanes: Iterable[Lane]) -> str:
    """Return why lanes wait whose account is empty, and what to do."""
    reasons = join_first(sorted({lane.why for lane in lanes}), between="; ")
    return f"{reasons.rstrip('.')}; top up the account or raise its limit, then resume"


def _describe_given_up(lanes: Iterable[Lane]) -> str:
    """Return why lanes were given up, the most frequent reason first."""
    names: dict[tuple[bool, str], list[str]] = {}
    for lane in sorted(lanes, key=lambda one: one.name):
        names.setdefault((lane.block is Block.SICK, lane.why), []).append(lane.name)
    parts = []
    for (is_sick, why), of in sorted(names.items(), key=lambda item: -len(item[1])):
        verb = "is" if len(of) == 1 else "are"
        parts.append(
            f"{join_first(of)} {verb} unhealthy: {why}" if is_sick else f"{join_first(of)}: {why}"
        )
    return join_first(parts, between="; ")

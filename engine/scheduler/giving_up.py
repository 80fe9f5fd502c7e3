"""Lanes that can send nothing more in this session, and why, in words."""

from collections.abc import Iterable
from math import isinf

from engine.core.listing import join_first
from engine.scheduler.lane import Block, Lane

_FINAL = (Block.QUOTA, Block.CREDIT, Block.SICK, Block.PARKED)


def is_hopeless(lane: Lane) -> bool:
    """Whether neither time nor an answer that is still to come lets a lane send again."""
    return lane.block in _FINAL or isinf(lane.next_at)


def describe_unpaid(lanes: Iterable[Lane]) -> str:
    """Return why lanes wait whose account is empty, and what to do."""
    reasons = join_first(sorted({lane.why for lane in lanes}), between="; ")
    return f"{reasons.rstrip('.')}; top up the account or raise its limit, then resume"


def describe_given_up(lanes: Iterable[Lane]) -> str:
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

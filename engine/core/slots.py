"""Slots: how the calls that may be in flight at one endpoint are shared between callers."""

import json
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Holder:
    """How many slots a caller has, and how many it could use."""

    has: int
    wants: int

    @property
    def is_hungry(self) -> bool:
        """Whether it waits for more."""
        return self.wants > self.has


def share(
    holders: Mapping[str, Holder], caller: str, *, wants: int, in_use: int, limit: int
) -> Mapping[str, Holder]:
    """Give `caller` up to `wants` slots of `limit`; returns all holders afterwards.

    The caller keeps the slots `in_use`. A single caller gets every slot. If others wait, each gets
    an even share as slots come free; if there are fewer slots than callers, they take turns.
    """
    before = holders.get(caller, Holder(0, 0))
    others = {name: holder for name, holder in holders.items() if name != caller}
    room = max(0, limit - sum(holder.has for holder in others.values()))
    most = min(wants, room)
    if any(holder.is_hungry for holder in others.values()):
        count = len(others) + 1
        most = min(most, max(1, limit // count))
        starving = any(holder.is_hungry and holder.has == 0 for holder in others.values())
        if starving and before.has and limit < count:
            most = 0
    has = max(in_use, most)
    if not has and not wants:
        return others
    return {**others, caller: Holder(has, wants)}


def encode(holders: Mapping[str, Holder]) -> str:
    """Encode for the store, as JSON."""
    return json.dumps({caller: [holder.has, holder.wants] for caller, holder in holders.items()})


def decode(text: str) -> dict[str, Holder]:
    """Decode what `encode` wrote; an empty text has no holders."""
    written = json.loads(text) if text else {}
    return {caller: Holder(has, wants) for caller, (has, wants) in written.items()}

"""Slots: how the calls that may be in flight at one endpoint are shared between callers."""

import json
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Held:
    """How many slots a caller has, and how many it could use."""

    has: int
    wants: int

    @property
    def is_hungry(self) -> bool:
        """Whether it waits for more."""
        return self.wants > self.has


def share(
    holders: Mapping[str, Held], caller: str, *, wants: int, in_use: int, limit: int
) -> Mapping[str, Held]:
    """Give `caller` up to `wants` slots of `limit`; returns all holders afterwards.

    The caller keeps the slots `in_use`. A single caller gets every slot. If others wait, each gets
    an even share as slots come free; if there are fewer slots than callers, they take turns.
    """
    before = holders.get(caller, Held(0, 0))
    others = {name: held for name, held in holders.items() if name != caller}
    room = max(0, limit - sum(held.has for held in others.values()))
    most = min(wants, room)
    if any(held.is_hungry for held in others.values()):
        count = len(others) + 1
        most = min(most, max(1, limit // count))
        starving = any(held.is_hungry and held.has == 0 for held in others.values())
        if starving and before.has and limit < count:
            most = 0
    has = max(in_use, most)
    if not has and not wants:
        return others
    return {**others, caller: Held(has, wants)}


def encode(holders: Mapping[str, Held]) -> str:
    """Encode for the store, as JSON."""
    return json.dumps({caller: [held.has, held.wants] for caller, held in holders.items()})


def decode(text: str) -> dict[str, Held]:
    """Decode what `encode` wrote; an empty text has no holders."""
    written = json.loads(text) if text else {}
    return {caller: Held(has, wants) for caller, (has, wants) in written.items()}

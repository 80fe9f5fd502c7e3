"""Slots: how the calls under way at one endpoint are shared between those who ask it."""

import json
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Held:
    """How many slots a holder has, and how many it could use."""

    has: int
    wants: int

    @property
    def is_hungry(self) -> bool:
        """Whether it waits for more."""
        return self.wants > self.has


def share(
    holders: Mapping[str, Held], who: str, *, wants: int, in_use: int, limit: int
) -> Mapping[str, Held]:
    """The holders after `who` has asked for `wants` slots, of which `in_use` cannot be given back now.

    Whoever is alone gets all that there are. Where others wait, each gets an even share as slots come
    free; of fewer slots than holders, each has one in turn. All together never have more than `limit`.
    """
    before = holders.get(who, Held(0, 0))
    others = {name: held for name, held in holders.items() if name != who}
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
    return {**others, who: Held(has, wants)}


def encode(holders: Mapping[str, Held]) -> str:
    """As it is kept in the store."""
    return json.dumps({who: [held.has, held.wants] for who, held in holders.items()})


def decode(text: str) -> dict[str, Held]:
    """What `encode` wrote; an empty text is nobody."""
    written = json.loads(text) if text else {}
    return {who: Held(has, wants) for who, (has, wants) in written.items()}

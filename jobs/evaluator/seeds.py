"""Where chance comes from: seeds that depend on what is asked and on nothing else.

A seed derives from the sweep's own `seed`, the case, the layer, the path of variations that led there,
the role it is for, and the repeat. Neither the run's name, nor the threshold, the number of variations
or the order of sending enter: the same question therefore has the same seed, and the same place in the
cache of calls, wherever it is asked; and two models or prompts are compared on the same draws.
"""

import json
from enum import StrEnum
from hashlib import sha256
from random import Random  # noqa: TID251 (seeded by seeds.derive)

_BITS = 31


class Purpose(StrEnum):
    """What a seed is for."""

    TARGET = "target"
    MUTATOR = "mutator"
    ATTACKER = "attacker"
    BEATS = "beats"
    TRANSLATION = "translation"


def derive(seed: int, *, case: str, path: tuple[int, ...], purpose: Purpose, repeat: int) -> int:
    """A seed in 0..2**31-1; `path` holds the index of the variation taken in each layer so far."""
    parts = [seed, case, len(path), *path, purpose.value, repeat]
    number = int.from_bytes(sha256(json.dumps(parts).encode()).digest()[:8], "big")
    return number >> (64 - _BITS)


def generator(seed: int) -> Random:
    """A source of chance for one seed."""
    return Random(seed)  # noqa: S311 (variations, not secrets)

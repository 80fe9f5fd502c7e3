"""Seeds that depend only on the question.

A seed is derived from the sweep's `seed`, the case, the layer, the path of variations, its purpose and the
repeat. The run's name, the threshold, the number of variations and the order of sending do not enter. So the
same question has the same seed, and the same key in the cache of calls, in every run, and two models or
prompts are compared on the same draws.
"""

import json
from enum import StrEnum
from hashlib import sha256
from random import Random  # noqa: TID251 (seeded by seeds.derive_seed)

_BITS = 31


class Purpose(StrEnum):
    """What a seed is for, so that the seeds of one question differ from each other."""

    TARGET = "target"
    MUTATOR = "mutator"
    ATTACKER = "attacker"
    BEATS = "beats"
    TRANSLATION = "translation"


def derive_seed(
    seed: int, *, case: str, path: tuple[int, ...], purpose: Purpose, repeat: int
) -> int:
    """A seed in 0..2**31-1, the same for equal arguments on every machine.

    `seed` is the sweep's, `case` the id of the case; `path` holds the index of the variation taken in each
    layer so far.
    """
    parts = [seed, case, len(path), *path, purpose.value, repeat]
    number = int.from_bytes(sha256(json.dumps(parts).encode()).digest()[:8], "big")
    return number >> (64 - _BITS)


def generator(seed: int) -> Random:
    """A random generator for one seed."""
    return Random(seed)  # noqa: S311 (variations, not secrets)

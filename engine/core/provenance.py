"""What decides answers besides what a cell says, by name, and what has changed of it.

A run notes these facts when it begins. It goes on only while they are the same, or after somebody has
accepted each change: two sets of questions in one run would look like one.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from engine.core.canonical import digest

SERVICE = "service"
"""The fact that every service has: who is asked."""

_DIGITS = 16
_SHOWN_MAX = 60
_HASH = re.compile(r" ?sha256:[0-9a-f]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One thing that decides answers, such as `cases of group self_harm` or `judge model`.

    `value` is short text, or several with `, ` between them; each may end in a digest made by `hashed`.
    People are shown the texts that differ, and that they changed where only their digests did.
    `judging` says that it decides how replies are judged, and not which are asked for.
    """

    name: str
    value: str
    judging: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A fact that is not what the run noted; `before` is None where it noted nothing."""

    name: str
    before: str | None
    after: str
    judging: bool = False

    def __str__(self) -> str:
        if self.before is None:
            return f"{self.name}: not noted by the version that began the run"
        before, after = (_items(value) for value in (self.before, self.after))
        gone = ", ".join(_shown(item) for item in before if item not in after)
        new = ", ".join(_shown(item) for item in after if item not in before)
        if gone != new and max(len(gone), len(new)) <= _SHOWN_MAX:
            return f"{self.name}: {gone or 'nothing'} -> {new or 'nothing'}"
        which = f" ({gone})" if gone == new and gone not in ("", self.before) else ""
        return f"{self.name}: changed{which}"


def hashed(value: object) -> str:
    """A JSON value as part of a fact's value: equal for equal contents, and never shown."""
    return f"sha256:{digest(value)[:_DIGITS]}"


def noted(facts: Iterable[Fact]) -> dict[str, str]:
    """Facts as a run keeps them."""
    return {fact.name: fact.value for fact in facts}


def differences(before: Mapping[str, str] | None, facts: Sequence[Fact]) -> list[Difference]:
    """What of these facts a run noted differently.

    A fact that it has not noted belongs to cells that it did not have, such as those of another group.
    `before` is None for a run of an earlier version, which noted nothing but its service.
    """
    if before is None:
        return [
            Difference(name=fact.name, before=None, after=fact.value)
            for fact in facts
            if fact.name != SERVICE
        ]
    return [
        Difference(
            name=fact.name,
            before=before[fact.name],
            after=fact.value,
            judging=fact.judging,
        )
        for fact in facts
        if before.get(fact.name, fact.value) != fact.value
    ]


@lru_cache(maxsize=1024)
def fingerprint(facts: tuple[Fact, ...]) -> str:
    """16 hexadecimal digits that are equal for equal facts."""
    return digest_of(noted(facts))


def digest_of(facts: Mapping[str, str]) -> str:
    """The same of facts as a run keeps them."""
    return digest(facts)[:_DIGITS]


def _items(value: str) -> list[str]:
    return value.split(", ")


def _shown(item: str) -> str:
    return _HASH.sub("", item)

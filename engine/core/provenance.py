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
_SETTING = re.compile(r"([A-Za-z_][\w.]*)(=.*| sha256:[0-9a-f]+)", re.DOTALL)
_WHOLE = re.compile(r"(?<=[0-9])\.0\Z")
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
            return f"{self.name}: not recorded by the version that began the run"
        return (
            f"{self.name}: {'; '.join(self.changes())}" if self._is_of_settings else self._whole()
        )

    def lines(self) -> list[str]:
        """The same, each changed setting in a line of its own."""
        if self._is_of_settings:
            return [f"{self.name}: {change}" for change in self.changes()]
        return [str(self)]

    def changes(self) -> list[str]:
        """What has changed of settings, each by its name: `temperature changed from 0 to 0.7`."""
        before, after = (_settings(value) or {} for value in (self.before, self.after))
        return [
            _change(name, before.get(name), after.get(name))
            for name in dict.fromkeys((*before, *after))
            if before.get(name) != after.get(name)
        ]

    @property
    def _is_of_settings(self) -> bool:
        return _settings(self.before) is not None and _settings(self.after) is not None

    def _whole(self) -> str:
        before, after = (_shorten(value or "") for value in (self.before, self.after))
        if before == after:
            which = f" ({before})" if before else ""
            return f"{self.name} changed{which}"
        return f"{self.name} changed from {before or 'nothing'} to {after or 'nothing'}"


def hashed(value: object) -> str:
    """A JSON value as part of a fact's value: equal for equal contents, and never shown."""
    return f"sha256:{digest(value)[:_DIGITS]}"


def to_record(facts: Iterable[Fact]) -> dict[str, str]:
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
    return digest_of(to_record(facts))


def digest_of(facts: Mapping[str, str]) -> str:
    """The same of facts as a run keeps them."""
    return digest(facts)[:_DIGITS]


def _settings(value: str | None) -> dict[str, str] | None:
    """Settings by their names, where a fact's value is made of them: `seed=1, extra_body sha256:...`."""
    found = {}
    for item in (value or "").split(", "):
        match = _SETTING.fullmatch(item)
        if match is None:
            return None
        found[match[1]] = match[2]
    return found


def _change(name: str, before: str | None, after: str | None) -> str:
    old, new = (None if one is None else _shorten(one.removeprefix("=")) for one in (before, after))
    if old is None:
        return f"{name} was not set and is {new} now" if new else f"{name} is set now"
    if new is None:
        return f"{name} was {old} and is not set now" if old else f"{name} is not set any more"
    if old == new:
        return f"{name} changed"
    return f"{name} changed from {old or 'another value'} to {new or 'another value'}"


def _shorten(value: str) -> str:
    """A value as people are shown it: without digests, whole numbers as such, long texts shortened."""
    text = ", ".join(_WHOLE.sub("", _HASH.sub("", item)) for item in value.split(", "))
    return text if len(text) <= _SHOWN_MAX else f"{text[: _SHOWN_MAX - 3]}..."

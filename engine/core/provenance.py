"""Facts that decide answers besides the cell itself, and how they have changed.

A run records these facts when it begins. It continues only while they are the same, or after the user
has accepted each change: otherwise it would mix two sets of questions without saying so.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

from engine.core.canonical import digest

SERVICE = "service"
"""The name of the fact that every service has: its identity."""

_DIGITS = 16
_SHOWN_MAX = 60
_SETTING = re.compile(r"([A-Za-z_][\w.]*)(=.*| sha256:[0-9a-f]+)", re.DOTALL)
_WHOLE = re.compile(r"(?<=[0-9])\.0\Z")
_HASH = re.compile(r" ?sha256:[0-9a-f]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fact:
    """One thing that decides answers, such as `cases of group self_harm` or `judge model`.

    `value` is a short text, or several separated by `, `; each may end in a digest made by `hashed`.
    Users are shown the texts that differ, or only that they changed if just their digests did.
    `judging` says that it decides how replies are judged, not which are asked for. A fact that is not
    `binding` may change without consent: the run continues, and answers from before are told apart by it.
    """

    name: str
    value: str
    judging: bool = False
    binding: bool = True


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """A fact that differs from what the run recorded; `before` is None if it recorded nothing.

    Example:
        >>> difference = Difference(name="judge", before="rules-1", after="rules-2", judging=True)
        >>> f"{difference.name}: {difference.before}, now {difference.after}"
        'judge: rules-1, now rules-2'
    """

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
        """The difference as text, with a line for each changed setting."""
        if self._is_of_settings:
            return [f"{self.name}: {change}" for change in self.changes()]
        return [str(self)]

    def changes(self) -> list[str]:
        """The changes of settings, by name, such as `temperature changed from 0 to 0.7`."""
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
    """A digest of a JSON value, as part of a fact's value; it is never shown."""
    return f"sha256:{digest(value)[:_DIGITS]}"


def to_record(facts: Iterable[Fact]) -> dict[str, str]:
    """Convert facts to what a run records: values by name, of which the last counts if a name occurs twice."""
    return {fact.name: fact.value for fact in facts}


def differences(before: Mapping[str, str] | None, facts: Sequence[Fact]) -> list[Difference]:
    """The facts that differ from those that a run recorded.

    A fact that it did not record belongs to cells that it did not have, such as those of another
    group. `before` is None for a run of an earlier version, which recorded only its service.
    """
    if before is None:
        return [
            Difference(name=fact.name, before=None, after=fact.value)
            for fact in facts
            if fact.name != SERVICE and fact.binding
        ]
    return [
        Difference(
            name=fact.name,
            before=before[fact.name],
            after=fact.value,
            judging=fact.judging,
        )
        for fact in facts
        if fact.binding and before.get(fact.name, fact.value) != fact.value
    ]


@lru_cache(maxsize=1024)
def fingerprint(facts: tuple[Fact, ...]) -> str:
    """16 hexadecimal digits that are equal for equal facts, in whatever order they are."""
    return digest_of(to_record(facts))


def digest_of(facts: Mapping[str, str]) -> str:
    """The fingerprint of facts in the form in which a run records them: values by name."""
    return digest(facts)[:_DIGITS]


def _settings(value: str | None) -> dict[str, str] | None:
    """The settings in a fact's value such as `seed=1, extra_body sha256:...`; None for other values."""
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
        return f"{name} was not set and is now {new}" if new else f"{name} is now set"
    if new is None:
        return f"{name} was {old} and is not set now" if old else f"{name} is no longer set"
    if old == new:
        return f"{name} changed"
    return f"{name} changed from {old or 'another value'} to {new or 'another value'}"


def _shorten(value: str) -> str:
    """A value for users: without digests, with whole numbers as such, and shortened if long."""
    text = ", ".join(_WHOLE.sub("", _HASH.sub("", item)) for item in value.split(", "))
    return text if len(text) <= _SHOWN_MAX else f"{text[: _SHOWN_MAX - 3]}..."

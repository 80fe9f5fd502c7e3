"""Whether two runs were judged alike: numbers of different judges say nothing about the models."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from engine.core.errors import UsageError
from engine.core.listing import join_first
from engine.core.provenance import SERVICE, Difference
from engine.session.identity import Identity
from engine.store import RunRow
from engine.sweep import Sweep, SweepFacts


@dataclass(frozen=True, slots=True, kw_only=True)
class Judging:
    """What decided how the replies of a run were judged."""

    service: str
    """The kind of its service."""
    judge: str
    """The judge in words; empty if the service itself judges."""
    facts: Mapping[str, str]
    """What the run recorded when it began, by name."""
    names: frozenset[str]
    """The facts that are about the judge; none are known where the service is not installed."""

    @classmethod
    def of(cls, row: RunRow, facts: SweepFacts, sweep: Sweep | None) -> Self:
        """What decided it in a run; `sweep` is None if its service is not installed."""
        names = [] if sweep is None else [one.name for one in Identity(sweep).facts if one.judging]
        return cls(
            service=row.service,
            judge=facts.judge,
            facts=row.provenance or {},
            names=frozenset(names),
        )


def judging_differences(own: Judging, other: Judging) -> list[str]:
    """What decided judgements in one of two runs and not in the other, in words; empty if they can be compared.

    A service that judges its answers itself is its own judge.
    """
    if own.service != other.service and not (own.names and other.names):
        return [f"the service: {other.service} and {own.service}"]
    names = own.names | other.names
    if not (own.judge or other.judge or names):
        names |= {SERVICE}
    differing = [
        Difference(name=name, before=other.facts.get(name, ""), after=own.facts.get(name, ""))
        for name in sorted(names)
        if own.facts.get(name) != other.facts.get(name)
    ]
    found = [str(one) for one in differing]
    if not found and own.judge != other.judge:
        found = [f"the judge: {other.judge or 'the service'} and {own.judge or 'the service'}"]
    return found


def refuse_other_judges(own: Judging, other: Judging) -> None:
    """Raise UsageError if two runs were judged differently."""
    if found := judging_differences(own, other):
        raise UsageError(
            f"the runs were judged differently, so their numbers cannot be compared"
            f" ({join_first(found, between='; ')}): `nightsweep rejudge` judges kept replies again, and"
            " --across-judges compares them all the same"
        )

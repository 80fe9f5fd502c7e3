"""Permits in database rows: for each name, one row with its rate's log and one with its tokens'."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from engine.core import permits
from engine.core.permits import PermitStart, PermitState

TOKENS_PREFIX = "tokens "
"""The prefix of the rows for tokens."""


@dataclass(frozen=True, slots=True)
class PermitRows:
    """The names of rows in a table; `rate_prefix` is the prefix of the rows for rates."""

    rate_prefix: str = ""

    def names(self, name: str) -> tuple[str, str]:
        """The names of the two rows in which a permit's starts are stored: the rate's, then the tokens'."""
        return f"{self.rate_prefix}{name}", f"{TOKENS_PREFIX}{name}"

    def all_names(self, names: Iterable[str]) -> list[str]:
        """The names of all rows of these permits."""
        return [row for name in names for row in self.names(name)]

    def from_logs(self, names: Iterable[str], logs: Mapping[str, str]) -> dict[str, PermitState]:
        """Convert `logs`, by name of row, to what is stored under these names; a missing row is an empty log."""
        return {
            name: PermitState(logs.get(rate, ""), logs.get(tokens, ""))
            for name in names
            for rate, tokens in [self.names(name)]
        }

    def changes(
        self, before: Mapping[str, PermitState], after: Mapping[str, PermitState]
    ) -> dict[str, str]:
        """The logs that have changed and must be written, by name of row; `before` must have every name of `after`."""
        changed: dict[str, str] = {}
        for name, new in after.items():
            (rate, tokens), old = self.names(name), before[name]
            logs = ((rate, old.rate, new.rate), (tokens, old.tokens, new.tokens))
            changed |= {row: log for row, was, log in logs if log != was}
        return changed


def settle(
    before: Mapping[str, PermitState], start: PermitStart, *, taken: int
) -> dict[str, PermitState]:
    """Record the tokens that a call took, 0 if it was never made; returns what to store."""
    return {
        name: permits.settle(before[name], at=start.at, estimate=start.estimate, taken=taken)
        for name in start.names
    }

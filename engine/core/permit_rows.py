"""Permits as a database keeps them: under each name a row for the log of its rate, and one for that of its tokens."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from engine.core import permits
from engine.core.permits import Kept, PermitStart

TOKENS_PREFIX = "tokens "
"""What the names of the rows for tokens begin with."""


@dataclass(frozen=True, slots=True)
class PermitRows:
    """How the rows of a table are named; `rate_prefix` is what the names of those for rates begin with."""

    rate_prefix: str = ""

    def names(self, name: str) -> tuple[str, str]:
        """The names of the two rows, that of the rate first."""
        return f"{self.rate_prefix}{name}", f"{TOKENS_PREFIX}{name}"

    def all_names(self, names: Iterable[str]) -> list[str]:
        """The names of all rows in which these permits are kept."""
        return [row for name in names for row in self.names(name)]

    def kept(self, names: Iterable[str], logs: Mapping[str, str]) -> dict[str, Kept]:
        """What is kept under these names, out of the logs by the names of their rows."""
        return {
            name: Kept(logs.get(rate, ""), logs.get(tokens, ""))
            for name in names
            for rate, tokens in [self.names(name)]
        }

    def changed(self, before: Mapping[str, Kept], after: Mapping[str, Kept]) -> dict[str, str]:
        """The logs that have to be written, by the names of their rows."""
        changed: dict[str, str] = {}
        for name, new in after.items():
            (rate, tokens), old = self.names(name), before[name]
            logs = ((rate, old.rate, new.rate), (tokens, old.tokens, new.tokens))
            changed |= {row: log for row, was, log in logs if log != was}
        return changed


def settle(before: Mapping[str, Kept], start: PermitStart, *, taken: int) -> dict[str, Kept]:
    """What is kept once it is known what a call really took; 0: it was never made."""
    return {
        name: permits.settle(before[name], at=start.at, estimate=start.estimate, taken=taken)
        for name in start.names
    }

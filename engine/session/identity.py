"""What decides the answers of a sweep now: its facts, and the digest of those for one job."""

from collections.abc import Mapping
from typing import Any

from engine.core.provenance import SERVICE, Fact, fingerprint
from engine.sweep import Sweep


class Identity:
    """The facts of a sweep's service and job kind."""

    def __init__(self, sweep: Sweep) -> None:
        self._service = Fact(name=SERVICE, value=sweep.service.identity)
        self._kind = sweep.kind
        self.facts = self._facts(
            {
                axis.axis.name: tuple(value.label for value in axis.values)
                for axis in sweep.matrix.axes
            }
        )

    def of(self, labels: Mapping[str, Any]) -> str:
        """The digest of what decides the answer of a job with these labels: 16 hexadecimal digits.

        Equal digests mean that an answer may be reused.
        """
        return fingerprint(
            self._facts(
                {
                    axis.name: (labels[axis.field],)
                    for axis in self._kind.axes
                    if axis.field in labels
                }
            )
        )

    @property
    def current(self) -> str | None:
        """The digest that all answers of the current code have; None if each code needs consent.

        Facts that may change without it do not depend on labels.
        """
        return None if all(fact.binding for fact in self.facts) else fingerprint(self.facts)

    def _facts(self, labels: Mapping[str, tuple[Any, ...]]) -> tuple[Fact, ...]:
        return self._service, *self._kind.provenance(labels)


def name_costs(identity: str, evaluation: str, target: str) -> str:
    """Return the name under which the store keeps what answers cost; runs that share it share what was learnt."""
    return f"{identity} {evaluation} {target}"

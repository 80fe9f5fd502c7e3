"""What decides the answers of a sweep now: its facts, and the digest of those that decide one job."""

from collections.abc import Mapping
from typing import Any

from engine.core.provenance import SERVICE, Fact, fingerprint
from engine.kinds import JobKind, Service
from engine.sweep import Sweep


class Identity:
    """The facts of a service, of its own `kind`, under a sweep."""

    def __init__(self, sweep: Sweep, service: Service, kind: JobKind) -> None:
        self._service = Fact(name=SERVICE, value=service.identity)
        self._kind = kind
        self.facts = self._facts(
            {
                axis.axis.name: tuple(value.label for value in axis.values)
                for axis in sweep.matrix.axes
            }
        )

    def of(self, labels: Mapping[str, Any]) -> str:
        """The digest of what decides the answer of a job with these labels."""
        return fingerprint(
            self._facts(
                {
                    axis.name: (labels[axis.field],)
                    for axis in self._kind.axes
                    if axis.field in labels
                }
            )
        )

    def _facts(self, labels: Mapping[str, tuple[Any, ...]]) -> tuple[Fact, ...]:
        return self._service, *self._kind.provenance(labels)


def identity_of(sweep: Sweep, service: Service) -> Identity:
    """What decides the answers of a sweep from this service."""
    return Identity(sweep, service, kind_of(service, sweep))


def kind_of(service: Service, sweep: Sweep) -> Any:
    """The service's own kind for a sweep; that of an open one holds the connections."""
    [kind] = [
        kind
        for kind in service.kinds()
        if (kind.name, kind.target) == (sweep.evaluation, sweep.target)
    ]
    return kind

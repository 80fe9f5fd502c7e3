"""Services and health gates by name, found through entry points; the engine never imports `jobs`.

Entry points are listed at once, and a plugin's module is imported when its name is looked up.
"""

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self

from engine.core.nearest import suggestion
from engine.kinds import HealthGate, Service, UsageError

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

SERVICES_GROUP = "nightsweep.services"
HEALTH_GROUP = "nightsweep.health"


@dataclass(frozen=True, slots=True)
class Registry:
    """The services and health gates that a sweep can name, as classes, instances or entry points.

    `Registry.installed()` has those of all installed packages; pass mappings of your own to use other ones,
    as in tests.
    """

    services: Mapping[str, "Service | type[Service] | EntryPoint"] = field(default_factory=dict)
    health: Mapping[str, "HealthGate | type[HealthGate] | EntryPoint"] = field(default_factory=dict)

    @classmethod
    def installed(cls) -> Self:
        """Find the services and health gates of all installed packages, by their entry points.

        None of them is imported before its name is looked up.
        """
        from importlib.metadata import entry_points  # slow to import, and not always needed

        # Read once: each call reads a file of every installed package.
        found = entry_points()
        return cls(
            services={entry.name: entry for entry in found.select(group=SERVICES_GROUP)},
            health={entry.name: entry for entry in found.select(group=HEALTH_GROUP)},
        )

    def service(self, kind: str) -> Service:
        """Look up the service of a `kind`, without settings.

        Raises UsageError if there is none, with the nearest name, and if it cannot be imported or is not a
        Service.
        """
        if kind not in self.services and (advice := self._advice_for(kind)) is not None:
            raise UsageError(f"there is no service {kind!r}; {advice}")
        found = _find(kind, self.services, "service")
        if isinstance(found, Service):
            return found
        raise _not_a("Service", kind)

    def _advice_for(self, kind: str) -> str | None:
        """The advice of the first service that covers an unknown kind."""
        for known in self.services:
            with suppress(UsageError):
                if (advice := self.service(known).advice_for(kind)) is not None:
                    return advice
        return None

    def health_gate(self, kind: str) -> HealthGate:
        """Look up the health gate of a `kind`, without settings.

        Raises UsageError if there is none, with the nearest name, and if it cannot be imported or is not a
        HealthGate.
        """
        found = _find(kind, self.health, "health gate")
        if isinstance(found, HealthGate):
            return found
        raise _not_a("HealthGate", kind)


def _find(kind: str, known: Mapping[str, Any], what: str) -> object:
    if kind not in known:
        raise UsageError(f"there is no {what} {kind!r}{suggestion(kind, known)}")
    found = known[kind]
    if not isinstance(found, Service | HealthGate | type):
        found = _load(found, what)
    if isinstance(found, type) and issubclass(found, Service | HealthGate):
        return _make(found, kind, what)
    return found


def _load(entry: "EntryPoint", what: str) -> object:
    try:
        return entry.load()
    except Exception as error:
        # A third-party module can raise anything while it is imported.
        raise UsageError(
            f"the {what} {entry.name!r} cannot be loaded from {entry.value}:"
            f" {type(error).__name__}: {error}"
        ) from error


def _make(declared: type, kind: str, what: str) -> object:
    try:
        return declared()
    except Exception as error:
        # A third-party class can raise anything, such as for arguments that it expects.
        raise UsageError(
            f"the {what} {kind!r} cannot be made: {type(error).__name__}: {error}"
        ) from error


def _not_a(base: str, kind: str) -> UsageError:
    return UsageError(
        f"what is installed as {kind!r} is not an engine.kinds.{base}: a bug in the package that provides it"
    )

"""Services and health gates by name, found through entry points; the engine never imports `jobs`.

Entry points are listed at once, and a plugin's module is imported when its name is looked up.
"""

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Self, TypeVar

from pydantic import BaseModel

from engine.core.nearest import suggestion
from engine.kinds import (
    HealthGate,
    JobKind,
    NightsweepError,
    Service,
    ServiceSettings,
    UsageError,
)
from engine.shadowing import explain_shadowing

if TYPE_CHECKING:
    from importlib.metadata import EntryPoint

_Declared = TypeVar("_Declared", Service, HealthGate)

SERVICES_GROUP = "nightsweep.services"
HEALTH_GROUP = "nightsweep.health"


@dataclass(frozen=True, slots=True)
class Registry:
    """The services and health gates that a sweep can name, as classes, instances or entry points.

    `Registry.installed()` has those of all installed packages; pass mappings of your own to use other ones,
    as in tests.

    Example:
        >>> "local" in Registry.installed().services
        True
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
            return _with_model(found, ServiceSettings, kind, "service")
        raise _not_a("Service", kind, "service")

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
            return _with_model(found, BaseModel, kind, "health gate")
        raise _not_a("HealthGate", kind, "health gate")


def _find(kind: str, known: Mapping[str, Any], what: str) -> object:
    if kind not in known:
        raise UsageError(f"there is no {what} {kind!r}{suggestion(kind, known)}")
    found = known[kind]
    if hasattr(found, "load") and not isinstance(found, Service | HealthGate | type):
        found = _load(found, what)
    if isinstance(found, type) and issubclass(found, Service | HealthGate):
        return _make(found, kind, what)
    return found


def _load(entry: "EntryPoint", what: str) -> object:
    try:
        return entry.load()
    except Exception as error:
        # A third-party module can raise anything while it is imported.
        hint = explain_shadowing(entry.module)
        raise UsageError(
            f"the {what} {entry.name!r} cannot be loaded from {entry.value}:"
            f" {type(error).__name__}: {error}{f'; {hint}' if hint else ''}"
        ) from error


def _make(declared: type, kind: str, what: str) -> object:
    try:
        return declared()
    except Exception as error:
        # A third-party class can raise anything, such as for arguments that it expects.
        raise UsageError(
            f"the {what} {kind!r} cannot be created: {type(error).__name__}: {error}"
        ) from error


def _with_model(declared: _Declared, base: type[BaseModel], kind: str, what: str) -> _Declared:
    """What was declared; raises UsageError if it has settings already, or no model for them."""
    if declared.has_settings:
        raise UsageError(
            f"the {what} {kind!r} cannot be used: it has settings already, and each sweep gives its own;"
            f" put the class {_name(declared)}, or an instance without settings, into the registry"
        )
    model = getattr(declared, "settings_model", None)
    if isinstance(model, type) and issubclass(model, base):
        return declared
    needed = "engine.kinds.ServiceSettings" if base is ServiceSettings else "pydantic.BaseModel"
    raise UsageError(
        f"the {what} {kind!r} cannot be used: set settings_model of {_name(declared)} to a subclass of {needed}"
    )


def kinds_of(service: Service) -> Sequence[JobKind]:
    """The job kinds of a service; raises UsageError if what its package declares cannot be used."""
    try:
        kinds = tuple(service.kinds())
    except NightsweepError:
        raise
    except Exception as error:
        # A third-party class can raise anything, such as for settings that it does not have yet.
        when = "with" if service.has_settings else "without"
        raise UsageError(
            f"{_name(service)}.kinds(), called {when} settings, fails: {type(error).__name__}: {error}"
        ) from error
    for kind in kinds:
        if (mistake := _mistake_in(kind)) is not None:
            raise UsageError(f"{_name(service)}.kinds(): {mistake}")
    return kinds


def _mistake_in(kind: object) -> str | None:
    """Why something cannot be used as a job kind; None if it can."""
    if not isinstance(kind, JobKind):
        found = f"the class {_name(kind)}" if isinstance(kind, type) else f"a {_name(kind)}"
        return f"it returns {found}, not an instance of engine.kinds.JobKind"
    for name in ("name", "axes"):
        if not hasattr(kind, name):
            return f"{_name(kind)} has no {name}: set it on the class or the instance"
    fields = [axis.field for axis in kind.axes]
    named = {"folded_field": kind.folded_field}
    if type(kind).lane is JobKind.lane:
        named["lane_field"] = kind.lane_field
    for name, field_ in named.items():
        if field_ is not None and field_ not in fields:
            return (
                f"set {name} of {kind.name} to a field of its axes, which are {', '.join(fields)}:"
                f" it is {field_!r}"
            )
    return None


def _name(declared: object) -> str:
    """The module and name of a class, or of an object's class."""
    found = declared if isinstance(declared, type) else type(declared)
    return f"{found.__module__}.{found.__qualname__}"


def _not_a(base: str, kind: str, what: str) -> UsageError:
    return UsageError(
        f"the {what} {kind!r} is not an engine.kinds.{base}: a bug in the package that provides it"
    )

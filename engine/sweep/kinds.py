"""The job kinds that a service has whatever its settings are."""

from collections.abc import Sequence

from engine.clock import SystemClock
from engine.job import JobKind, Service


def kinds_without_settings(service: type[Service]) -> Sequence[JobKind]:
    """The kinds of a service whose settings are missing or wrong; none where it cannot tell without."""
    settings = service.settings_model.model_construct(kind="")
    try:
        return service(settings, SystemClock()).kinds()
    except Exception:
        # Somebody else's class, made with less than it asks for: whatever it raises, it cannot tell.
        return ()

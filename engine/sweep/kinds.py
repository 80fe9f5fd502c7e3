"""The job kinds that a service has whatever its settings are."""

from collections.abc import Mapping, Sequence
from typing import Any

from engine.clock import SystemClock
from engine.kinds import JobKind, Service


def kinds_without_settings(
    service: type[Service], texts: Mapping[str, str] | None = None
) -> Sequence[JobKind]:
    """The kinds of a service whose settings are missing or wrong; none where it cannot tell without.

    `texts` are those of its settings that are text and right: they may say where its groups are.
    """
    known: dict[str, Any] = {**(texts or {}), "kind": ""}
    settings = service.settings_model.model_construct(**known)
    try:
        return service(settings, SystemClock()).kinds()
    except Exception:
        # A third-party class, made without all that it expects: any error means that it cannot tell.
        return ()

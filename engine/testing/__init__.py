"""For tests of job kinds, ours and the user's: a clock that a test moves, and a service that is a script.

clock = FakeClock()
service = scripted_service(lambda job: scored(0.2, 0.9, threshold=job.parameters["threshold"]))
sweep = Sweep.parse({...}, registry=Registry(services={"scripted": service}))
...
assert [start.at for start in service.recording.started] == [...]
"""

from engine.testing.clock import FakeClock
from engine.testing.scripted import (
    Recording,
    Script,
    ScriptedKind,
    ScriptedService,
    Start,
    scored,
    scripted_service,
)

__all__ = [
    "FakeClock",
    "Recording",
    "Script",
    "ScriptedKind",
    "ScriptedService",
    "Start",
    "scored",
    "scripted_service",
]

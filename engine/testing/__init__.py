"""For tests of job kinds: a clock that a test moves, a store in memory, and a service that is a script.

clock = FakeClock()
service = ScriptedService(lambda job: scored(0.2, 0.9, threshold=job.parameters["threshold"]))
registry = Registry(services={"scripted": service})
async with open_engine(Memory(), registry=registry, clock=clock) as engine, clock.jumping():
    run = await engine.submit(Sweep.parse({...}, registry=registry))
    await run.execute()
assert [start.at for start in service.recording.started] == [...]
"""

from engine.store import Memory
from engine.testing.clock import FakeClock, ProcessClock
from engine.testing.scripted import (
    Recording,
    Script,
    ScriptedKind,
    ScriptedService,
    Start,
    scored,
)

__all__ = [
    "FakeClock",
    "Memory",
    "ProcessClock",
    "Recording",
    "Script",
    "ScriptedKind",
    "ScriptedService",
    "Start",
    "scored",
]

"""The service `function`: it runs functions of the user's own scripts and modules in this process or beside it."""

from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field

from engine.functions.decorator import FunctionJob, as_job
from engine.functions.kind import (
    Call,
    FunctionJobKind,
    async_call,
    process_call,
    thread_call,
)
from engine.functions.processes import Processes
from engine.functions.source import Reference, load
from engine.kinds import Clock, JobKind, Service, ServiceSettings, UsageError

KIND = "function"


class FunctionSettings(ServiceSettings):
    """Which function a sweep runs."""

    function: Annotated[
        str,
        Field(
            description="The function, as FILE.py:NAME or MODULE:NAME.",
        ),
    ]
    version: Annotated[str, Field(description="Its version when the sweep was made.")]
    processes: Annotated[
        int | None, Field(ge=1, description="Processes that a plain function runs in.")
    ] = None


class FunctionService(Service):
    """Runs a function: async ones in the event loop, plain ones in threads or processes.

    With `job`, as `Sweep` gives it, that function, wherever it is defined; else, for a run that is restored, the
    one that its settings name.
    """

    settings_model = FunctionSettings

    def __init__(self, job: FunctionJob[..., Any] | None = None) -> None:
        self._job = job
        self._is_given = job is not None

    def with_settings(self, settings: Any, folder: Path = Path()) -> Self:
        """A copy with the settings of a sweep.

        Raises UsageError if the function cannot be loaded, or has another version than they say.
        """
        job = self._job or _load_job(settings.function, folder)
        version = job.version
        if settings.version != version:
            raise UsageError(
                f"{job.name} has the version {version!r} now, and the sweep was made with"
                f" {settings.version!r}: run its script again, which asks the new version"
            )
        made = super().with_settings(settings, folder)
        vars(made).update(_job=job)
        return made

    @property
    def job(self) -> FunctionJob[..., Any]:
        """The function."""
        assert self._job is not None, "with settings, it is loaded"
        return self._job

    @property
    def identity(self) -> str:
        """The function's qualified name."""
        return self.job.name

    def mistakes(self) -> Mapping[str, str]:
        """That a sweep file names a function: what its decorator says of limits would not apply."""
        advice = (
            "a sweep over a function is made in Python, by Sweep(NAME, FUNCTION, ...), and run by"
            " `nightsweep run FILE.py:SWEEP`"
        )
        return {} if self._is_given else {"kind": advice}

    def kinds(self) -> Sequence[JobKind]:
        if self._job is None:
            return ()
        in_processes = self.has_settings and self.settings.processes is not None
        return (FunctionJobKind(self._job, self._job.version, in_processes=in_processes),)

    @asynccontextmanager
    async def open(self, clock: Clock) -> AsyncIterator[Call]:
        """Make the call that jobs use; raises UsageError if the function cannot be loaded in other processes."""
        job, count = self.job, self.settings.processes
        if job.is_async:
            yield async_call(job)
        elif count is None:
            yield thread_call(job)
        else:
            async with Processes.open(job, count) as processes:
                yield process_call(job, processes)


def _load_job(written: str, folder: Path) -> FunctionJob[..., Any]:
    """The function of this reference; a relative path starts at `folder`."""
    reference = Reference.parse(written)
    if reference.path is not None:
        reference = Reference(str((folder / reference.path).absolute()), reference.qualname)
    return as_job(load(reference, "the function"))

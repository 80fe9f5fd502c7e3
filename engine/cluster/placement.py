"""Where a run is executed: on the workers of a Dask cluster, or in processes of this machine."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from engine.core.errors import UsageError

if TYPE_CHECKING:
    from distributed import Client

_LOCAL = re.compile(r"local:(?P<count>[0-9]{1,3})")
_SCHEDULER = re.compile(r"(?:tcp|tls)://[^\s/]+:[0-9]{1,5}/?")
MAX_PROCESSES = 256
_CONNECT_S = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Placement:
    """Processes here, or the address of a Dask scheduler; `Placement.parse` makes one of what the user writes."""

    written: str
    processes: int | None = None
    """The number of processes on this machine; None for a scheduler."""

    @classmethod
    def parse(cls, written: str) -> "Placement":
        """Read `local:4`, `tcp://HOST:PORT` or `tls://HOST:PORT`.

        Raises UsageError for anything else, and if Dask is not installed.
        """
        found = _LOCAL.fullmatch(written)
        processes = None if found is None else int(found["count"])
        if processes is not None and not 1 <= processes <= MAX_PROCESSES:
            raise UsageError(
                f"--on {written}: write a number of processes from 1 to {MAX_PROCESSES}"
            )
        if processes is None and not _SCHEDULER.fullmatch(written):
            raise UsageError(
                f"--on {written!r:.100}: write the address of a Dask scheduler, such as"
                " tcp://scheduler:8786, or local:4 for four processes on this machine"
            )
        if find_spec("distributed") is None:
            raise UsageError(
                f"--on {written}: this needs Dask, which is not installed: run"
                " `pip install 'nightsweep[cluster]'`, here and on the workers"
            )
        return cls(written=written, processes=processes)

    @asynccontextmanager
    async def open(self) -> "AsyncIterator[Client]":
        """Connect to the scheduler within the block; of processes here, they are started and ended with it.

        Raises UsageError if the scheduler cannot be reached.
        """
        if self.processes is None:
            async with _connect(self.written) as client:
                yield client
            return
        import dask
        from distributed import Client, LocalCluster

        with (
            TemporaryDirectory(prefix="nightsweep-", ignore_cleanup_errors=True) as folder,
            # Where Dask's scheduler leaves an empty folder.
            dask.config.set({"temporary-directory": folder}),
        ):
            async with (
                LocalCluster(
                    asynchronous=True,
                    n_workers=self.processes,
                    threads_per_worker=1,
                    processes=True,
                    host="127.0.0.1",
                    dashboard_address=None,
                    local_directory=folder,
                    # The memory of answers is bounded by the engine; Dask would end a process instead.
                    memory_limit=0,
                ) as cluster,
                Client(cluster, asynchronous=True, set_as_default=False) as client,
            ):
                yield client


@asynccontextmanager
async def _connect(address: str) -> "AsyncIterator[Client]":
    from distributed import Client

    client = Client(address, asynchronous=True, timeout=_CONNECT_S, set_as_default=False)
    try:
        await client
    except (OSError, ValueError, TypeError) as error:
        raise UsageError(
            f"--on {address}: there is no Dask scheduler that can be reached: {error}; start one with"
            " `dask scheduler`"
        ) from None
    try:
        yield client
    finally:
        await client.close(timeout=_CONNECT_S)

"""What the engine lends to a running function: for async functions, and for plain ones in threads."""

from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from functools import partial
from typing import Any, Protocol

from anyio import from_thread, to_thread

from engine import kinds
from engine.kinds import Clock, Job, Permit, Usage


class JobContext(kinds.JobContext, Protocol):
    """What the engine lends to a running async function; the parameter annotated with it is given one.

    Through it a call waits within limits that all processes on the store share (`permit`, `slot`), keeps
    replies that it has paid for (`cached`), and reports `progress`. `clock` is the engine's, and `job` says
    which cell and attempt this is.

    Example:
        >>> @job
        ... async def count(text: str, ctx: JobContext) -> int:
        ...     permit = await ctx.permit("counting", rate_per_min=600)
        ...     await permit.start()
        ...     ctx.progress(1, 2)
        ...     return len(text) * ctx.job.attempt
        >>> counted = Sweep("lengths", count, matrix={"text": ["Hi"]}).run("other.db", progress=False)
        >>> [row.values["value"] for row in counted.rows()]
        [2]
    """

    @property
    def job(self) -> Job:
        """The job: its labels, its repeat, and the number of its attempt."""
        ...


class FunctionContext:
    """A JobContext: that of the job's kind, with the job."""

    def __init__(self, context: kinds.JobContext, job: Job) -> None:
        self._context = context
        self.job = job

    @property
    def clock(self) -> Clock:
        return self._context.clock

    async def permit(
        self,
        name: str,
        *,
        rate_per_min: int | None = None,
        tokens_per_min: int | None = None,
        tokens: int = 0,
        to_model: bool = False,
    ) -> Permit:
        return await self._context.permit(
            name,
            rate_per_min=rate_per_min,
            tokens_per_min=tokens_per_min,
            tokens=tokens,
            to_model=to_model,
        )

    def account(self, address: str, key: str = "") -> str:
        return self._context.account(address, key)

    def slot(self, name: str, max_in_flight: int) -> AbstractAsyncContextManager[None]:
        return self._context.slot(name, max_in_flight)

    async def cached(
        self,
        key: Mapping[str, Any],
        call: Callable[[], Awaitable[bytes]],
        *,
        tests: int = 0,
        usage: Callable[[], Sequence[Usage]] | None = None,
    ) -> bytes:
        return await self._context.cached(key, call, tests=tests, usage=usage)

    def progress(self, done: int, total: int) -> None:
        self._context.progress(done, total)

    async def note(self, kind: str, message: str) -> None:
        await self._context.note(kind, message)

    async def keep_unread(self, where: str, body: bytes) -> None:
        await self._context.keep_unread(where, body)


class BlockingContext:
    """What the engine lends to a running plain function: the same as JobContext, in calls that block.

    Only functions that run in threads have one.

    Example:
        >>> @job
        ... def count(text: str, ctx: BlockingContext) -> int:
        ...     ctx.permit("counting", rate_per_min=600)
        ...     ctx.progress(1, 2)
        ...     return len(text)
        >>> counted = Sweep("counted", count, matrix={"text": ["Hi"]}).run("other.db", progress=False)
        >>> counted.status().cells_done
        1
    """

    def __init__(self, context: kinds.JobContext, job: Job) -> None:
        self._context = context
        self.job = job
        """The job: its labels, its repeat, and the number of its attempt."""

    def permit(
        self,
        name: str,
        *,
        rate_per_min: int | None = None,
        tokens_per_min: int | None = None,
        tokens: int = 0,
    ) -> None:
        """Wait until one request may start within these limits; see `JobContext.permit`.

        `tokens` counts in full: it cannot be corrected afterwards.
        """
        wait = partial(
            self._context.permit,
            name,
            rate_per_min=rate_per_min,
            tokens_per_min=tokens_per_min,
            tokens=tokens,
        )

        async def start() -> None:
            permit = await wait()
            await permit.start()

        from_thread.run(start)

    def cached(self, key: Mapping[str, Any], call: Callable[[], bytes]) -> bytes:
        """Return the bytes stored under `key`; if there are none, store and return what `call` returns."""

        async def make() -> bytes:
            return await self._context.cached(key, partial(to_thread.run_sync, call))

        return from_thread.run(make)

    def progress(self, done: int, total: int) -> None:
        """Report that `done` of `total` steps of this job are done, for the display and `status`."""
        from_thread.run_sync(self._context.progress, done, total)

    def note(self, kind: str, message: str) -> None:
        """Add a line to the run's event log; the message must not contain a key."""
        from_thread.run(self._context.note, kind, message)

"""Calling a plain function in processes of its own."""

import json
import signal
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from engine.functions.decorator import FunctionJob
from engine.functions.messages import (
    LENGTH_BYTES,
    encode,
    length_of,
    restore_answer,
    restore_error,
)
from engine.functions.source import refer_to
from engine.kinds import Answer, Clock, TimedOut, Transient, UsageError

_START = (
    "import sys; sys.path.insert(0, {home!r}); import engine; sys.path[:] = {path!r};"
    " from engine.functions import worker as _worker; _worker.main()"
)
"""What a process executes: it imports the same modules as this one, whatever folder it is started in.

Our own package is imported first, since the path may have one of the user with the same name.
"""
_HOME = str(Path(__file__).parents[2])
"""The folder that our package is in."""


class Processes:
    """Up to `count` processes that call one function; each is started when it is first needed."""

    def __init__(self, job: FunctionJob[..., Any], count: int) -> None:
        self._first_message = {
            "function": asdict(job.reference),
            # The module may have the function without its decorator.
            "retry_on": [asdict(refer_to(one)) for one in job.options.retry_on],
        }
        self._limiter = anyio.CapacityLimiter(count)
        self._idle: list[_Worker] = []

    @classmethod
    @asynccontextmanager
    async def open(cls, job: FunctionJob[..., Any], count: int) -> AsyncIterator[Self]:
        """Start the first process, so that a function that cannot be loaded is an error now; end all afterwards.

        Raises UsageError if the function cannot be loaded in another process.
        """
        made = cls(job, count)
        try:
            made._idle.append(await made._start())
        except Transient as error:
            raise UsageError(
                f"the function {job.reference} cannot be loaded in another process: {error}"
            ) from None
        try:
            yield made
        finally:
            with anyio.CancelScope(shield=True):
                for worker in made._idle:
                    await worker.end()

    async def call(
        self, arguments: Mapping[str, Any], columns: Sequence[str], clock: Clock, timeout_s: float
    ) -> Answer:
        """Wait for a process that is free, and call the function there with checked JSON values.

        `columns` are those that the results have already, as for `call_plain`.

        Raises what the function raised as a JobError, TimedOut if the call itself takes longer than `timeout_s`,
        and Transient if the process died. A call that is given up or cancelled ends with its process.
        """
        message: Mapping[str, Any] | None = None
        async with self._limiter:
            worker = self._idle.pop() if self._idle else await self._start()
            try:
                with clock.move_on_after(timeout_s):
                    message = await worker.ask(
                        {"arguments": dict(arguments), "columns": list(columns)}
                    )
            finally:
                if message is None:
                    with anyio.CancelScope(shield=True):
                        await worker.kill()
                else:
                    self._idle.append(worker)
        if message is None:
            raise TimedOut(f"no answer within {timeout_s:g} s")
        if "error" in message:
            raise restore_error(message["error"])
        return restore_answer(message["answer"])

    async def _start(self) -> "_Worker":
        return await _Worker.start(self._first_message)


class _Worker:
    """One process, which answers each message with one."""

    def __init__(self, process: Process) -> None:
        assert process.stdin is not None, "it is a pipe"
        assert process.stdout is not None, "it is a pipe"
        self._process = process
        self._requests = process.stdin
        self._answers = BufferedByteReceiveStream(process.stdout)

    @classmethod
    async def start(cls, first_message: Mapping[str, Any]) -> Self:
        """Start a process and let it load the function that the message names; raises UsageError if it cannot."""
        command = [sys.executable, "-P", "-c", _START.format(home=_HOME, path=sys.path)]
        made = cls(await anyio.open_process(command, stderr=None))
        try:
            found = await made.ask(first_message)
        except BaseException:
            with anyio.CancelScope(shield=True):
                await made.kill()
            raise
        if "unusable" in found:
            await made.end()
            raise UsageError(f"in another process: {found['unusable']}")
        return made

    async def ask(self, message: Mapping[str, Any]) -> Any:
        """Send a message and return the answer; raises Transient if the process ends instead."""
        try:
            await self._requests.send(encode(message))
            head = await self._answers.receive_exactly(LENGTH_BYTES)
            return json.loads(await self._answers.receive_exactly(length_of(head)))
        except (anyio.BrokenResourceError, anyio.EndOfStream, anyio.IncompleteRead):
            raise Transient(f"its process {_describe_end(await self._process.wait())}") from None

    async def end(self) -> None:
        """Let the process end: it does as soon as its pipe is closed."""
        with suppress(anyio.BrokenResourceError):
            await self._requests.aclose()
        with anyio.move_on_after(2):
            await self._process.wait()
        await self.kill()

    async def kill(self) -> None:
        """End the process at once."""
        with suppress(ProcessLookupError):
            self._process.kill()
        await self._process.aclose()


def _describe_end(code: int) -> str:
    if code >= 0:
        return f"ended with exit code {code}"
    try:
        name = signal.Signals(-code).name
    except ValueError:
        name = f"signal {-code}"
    hint = ", perhaps for lack of memory" if name == "SIGKILL" else ""
    return f"was ended by {name}{hint}"

"""A process that calls a function, one call at a time, until its run closes the pipe."""

import json
import os
import signal
from collections.abc import Mapping
from dataclasses import replace
from queue import SimpleQueue
from threading import Thread
from typing import Any, BinaryIO

from engine.functions.decorator import FunctionJob, as_job
from engine.functions.messages import (
    LENGTH_BYTES,
    dump_answer,
    dump_error,
    encode,
    length_of,
)
from engine.functions.outcomes import call_plain
from engine.functions.source import Reference, load
from engine.kinds import JobError, NightsweepError, Permanent, machine_fault


def main() -> None:
    """Load the function that the first message names, and answer each further message with how its call ended.

    What the function prints goes to stderr, and it reads nothing. Ctrl-C is the run's business, not that of
    its processes.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    received, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    os.dup2(2, 1)
    requests = _Requests(received)
    first = requests.take()
    if first is None:
        return
    try:
        function = _load(first)
    except NightsweepError as error:
        requests.is_waiting = True
        _send(answers, {"unusable": str(error)})
        return
    answer = {"ready": function.name}
    while True:
        # Before the answer: the run may close the pipe as soon as it has it.
        requests.is_waiting = True
        _send(answers, answer)
        if (message := requests.take()) is None:
            return
        answer = _answer(function, message)


def _load(message: Mapping[str, Any]) -> FunctionJob[..., Any]:
    """The function that a message names, with the exceptions that are retried; raises UsageError."""
    found = as_job(load(Reference(**message["function"]), "the function"))
    retried = [load(Reference(**one), "an exception of retry_on") for one in message["retry_on"]]
    return FunctionJob(found.function, replace(found.options, retry_on=tuple(retried)))


class _Requests:
    """The messages of the run. If the run is gone, this process ends, also within a call."""

    def __init__(self, stream: BinaryIO) -> None:
        self.is_waiting = True
        """Whether no call is under way."""
        self._stream = stream
        self._messages: SimpleQueue[Any] = SimpleQueue()
        Thread(target=self._read, name="requests", daemon=True).start()

    def take(self) -> Any:
        """The next message, whose call is then under way; None at the end."""
        message = self._messages.get()
        self.is_waiting = False
        return message

    def _read(self) -> None:
        while (message := self._receive()) is not None:
            self._messages.put(message)
        if not self.is_waiting:
            os._exit(1)  # The run is gone, and the call may never end by itself.
        self._messages.put(None)

    def _receive(self) -> Any:
        head = self._stream.read(LENGTH_BYTES)
        if len(head) < LENGTH_BYTES:
            return None
        length = length_of(head)
        body = self._stream.read(length)
        return json.loads(body) if len(body) == length else None


def _answer(function: FunctionJob[..., Any], message: Mapping[str, Any]) -> dict[str, Any]:
    """Call the function, and return how the call ended."""
    try:
        answer = call_plain(function, message["arguments"], message["columns"])
    except JobError as error:
        return {"error": dump_error(error)}
    except Exception as error:
        # The call itself raises JobErrors only, save for what this machine lacks.
        fault = machine_fault(error) or Permanent(f"{type(error).__name__}: {error}")
        return {"error": dump_error(fault)}
    return {"answer": dump_answer(answer)}


def _send(stream: BinaryIO, message: Mapping[str, Any]) -> None:
    stream.write(encode(message))
    stream.flush()

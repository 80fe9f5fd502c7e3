"""A process that calls a function, one call at a time, until its run closes the pipe."""

import json
import os
import signal
import sys
from collections.abc import Mapping
from typing import Any, BinaryIO

from engine.functions.decorator import as_job
from engine.functions.messages import (
    LENGTH_BYTES,
    dump_answer,
    dump_error,
    encode,
    length_of,
)
from engine.functions.outcomes import call_plain
from engine.functions.source import Reference, load
from engine.kinds import JobError, MachineFault, NightsweepError, machine_fault


def main() -> None:
    """Load the function that the first message names, and answer each further message with how its call ended.

    What the function prints goes to stderr. Ctrl-C is the run's business, not that of its processes.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    received, answers = sys.stdin.buffer, os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    sys.stdin = open(os.devnull)  # noqa: SIM115, PTH123  # for as long as the process lives
    first = _receive(received)
    if first is None:
        return
    reference = Reference(first["home"], first["qualname"])
    try:
        function = as_job(load(reference, "the function"))
    except NightsweepError as error:
        _send(answers, {"unusable": str(error)})
        return
    _send(answers, {"ready": function.name})
    while (message := _receive(received)) is not None:
        try:
            answer = call_plain(function, message["arguments"])
        except JobError as error:
            _send(answers, {"error": dump_error(error)})
        except Exception as error:
            fault = machine_fault(error) or MachineFault(f"{type(error).__name__}: {error}")
            _send(answers, {"error": dump_error(fault)})
        else:
            _send(answers, {"answer": dump_answer(answer)})


def _receive(stream: BinaryIO) -> Any:
    """The next message; None at the end."""
    head = stream.read(LENGTH_BYTES)
    if len(head) < LENGTH_BYTES:
        return None
    return json.loads(stream.read(length_of(head)))


def _send(stream: BinaryIO, message: Mapping[str, Any]) -> None:
    stream.write(encode(message))
    stream.flush()

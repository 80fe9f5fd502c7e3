"""A GGUF model on this machine's CPU as a target: the built-in model, or any other file.

xllamacpp serves the file in a process of its own (jobs.chat.model_process), which starts with the first
question and ends with the target.
"""

import json
import os
import re
import secrets
import subprocess
import sys
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path

import anyio
from anyio.abc import Process
from anyio.streams.buffered import BufferedByteReceiveStream

from engine.kinds import Check, Clock, JobError, Permanent, Transient, Unreachable, UsageError
from jobs.chat import model_file
from jobs.chat.endpoint import ChatClient, ChatTarget, Endpoint
from jobs.chat.target import Generation, Question, Reply, describe_settings

# Each slot has its own context in memory. A shared one would need less, but then answers would depend on
# the other questions in flight.
_SLOTS = 8
_SLOTS_OF_LARGER_MODELS = 4
CONTEXT_TOKENS = 2048
_START_S = 120.0
_STOP_S = 5.0
_DEATH_S = 1.0
_HELLO_BYTES = 65_536
_ANSWER_S = 600.0
_THREADS_VARIABLE = "NIGHTSWEEP_MODEL_THREADS"
_THREADS_MAX = 512
_DIGITS = re.compile("[0-9]{1,3}")


class LocalModel:
    """A GGUF file as a target. Without a path it is the built-in model, SmolLM2-135M-Instruct.

    `context` limits a prompt and its reply together, in tokens.
    """

    def __init__(
        self, generation: Generation, path: Path | None = None, *, context: int = CONTEXT_TOKENS
    ) -> None:
        self.generation = generation
        self.context = context
        self._path = path

    @property
    def name(self) -> str:
        """Its name on the models axis."""
        return model_file.BUILT_IN.name if self._path is None else self._path.stem

    @property
    def slots(self) -> int:
        """The number of questions that it answers at once."""
        return _SLOTS if self._path is None else _SLOTS_OF_LARGER_MODELS

    @property
    def identity(self) -> str:
        """Name and digest of the model, and its generation settings. Raises UsageError without a file."""
        options = json.dumps(self.generation.as_json(), sort_keys=True, separators=(",", ":"))
        return f"{self.address}#{options}"

    @property
    def address(self) -> str:
        """Name and digest of the model. Raises UsageError without a file."""
        sha256 = model_file.BUILT_IN.sha256 if self._path is None else _digest(self._path)
        return f"gguf:{self.name}@{sha256[:16]}"

    @property
    def settings(self) -> str:
        return describe_settings(self.generation.as_json())

    @asynccontextmanager
    async def open(self, clock: Clock, folder: Path = Path()) -> AsyncIterator["LocalModelServer"]:
        _require_library()
        threads = choose_threads()
        await anyio.to_thread.run_sync(self.require_file)
        server = LocalModelServer(self, clock, threads)
        try:
            yield server
        finally:
            await server.aclose()

    def require_file(self) -> Path:
        """The path of the file. Raises UsageError, saying what to do, if it is missing."""
        return model_file.require() if self._path is None else _require_file(self._path)


class LocalModelServer:
    """An open local model, served by a process that starts with the first question."""

    def __init__(self, model: LocalModel, clock: Clock, threads: int) -> None:
        self._model = model
        self._clock = clock
        self._threads = threads
        self._lock = anyio.Lock()
        self._stack = AsyncExitStack()
        self._chat: ChatClient | None = None
        self._process: Process | None = None

    async def aclose(self) -> None:
        """End the process, if it has started."""
        self._chat = None
        await self._stack.aclose()

    async def reply(self, question: Question) -> Reply:
        name = self._model.name
        if question.model != name:
            raise Permanent(
                f"this target has no model {question.model!r}, only {name}; for others set"
                " service.endpoint or service.model_path",
                sent=False,
            )
        chat = await self._ensure_started()
        try:
            reply = await chat.reply(question)
        except (Transient, Unreachable):
            await self._stop_if_dead(chat)
            raise
        return replace(reply, model=None, total_tokens=None)

    async def check(self) -> Sequence[Check]:
        path = await anyio.to_thread.run_sync(self._model.require_file)
        try:
            await self._ensure_started()
        except JobError as error:
            return (Check(name="target", ok=False, message=error.message),)
        message = f"{self._model.name} is loaded from {path}"
        return (Check(name="target", ok=True, message=message),)

    async def _ensure_started(self) -> ChatClient:
        async with self._lock:
            if self._chat is None:
                self._chat = await self._start()
            return self._chat

    async def _start(self) -> ChatClient:
        model = self._model
        try:
            path = await anyio.to_thread.run_sync(model.require_file)
        except UsageError as error:
            # The file existed when the target was opened.
            raise Permanent(str(error), sent=False) from error
        key = secrets.token_hex(16)
        settings = {
            "model": str(path),
            "api_key": key,
            "slots": model.slots,
            "context": model.context,
            "threads": self._threads,
        }
        async with AsyncExitStack() as stack:
            process = await _spawn(stack)
            base_url = await _send_settings(process, settings, model.name)
            target = ChatTarget(
                Endpoint(base_url=base_url, max_in_flight=model.slots, timeout_s=_ANSWER_S),
                model.generation,
                extra={"cache_prompt": False},
                secret_headers={"authorization": f"Bearer {key}"},
            )
            chat = await stack.enter_async_context(target.open(self._clock))
            self._process = process
            self._stack = stack.pop_all()
        return chat

    async def _stop_if_dead(self, chat: ChatClient) -> None:
        """Close the model if its process has ended, so that the next attempt starts a new one."""
        async with self._lock:
            if self._chat is not chat or self._process is None:
                return
            with anyio.move_on_after(_DEATH_S):
                await self._process.wait()
            if self._process.returncode is not None:
                self._chat = None
                await self._stack.aclose()


def choose_threads(environment: Mapping[str, str] = os.environ) -> int:
    """The number of threads for a model: NIGHTSWEEP_MODEL_THREADS, or half of the CPUs.

    The threads wait for each other many times per token, so all are as slow as the slowest. On two idle
    CPUs, two threads give 1.6 times the answers of one; next to four busy processes, a tenth
    (`python -m tests.benchmarks.model_threads`). The number does not affect answers. Raises UsageError if
    the variable is not a number from 1 to 512.
    """
    text = environment.get(_THREADS_VARIABLE)
    if text is None:
        return max(1, _usable_cpus() // 2)
    if not (_DIGITS.fullmatch(text) and 1 <= int(text) <= _THREADS_MAX):
        raise UsageError(f"{_THREADS_VARIABLE}: {text!r} is not a number from 1 to {_THREADS_MAX}")
    return int(text)


def _usable_cpus() -> int:
    # The CPUs that the process is bound to; macOS does not report them.
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity is not None else os.cpu_count() or 1


def _require_library() -> None:
    if find_spec("xllamacpp") is None:
        raise UsageError(
            "a model on this machine needs the extra local-model: run"
            " `pip install 'nightsweep[local-model]'`, or set service.endpoint"
        )


async def _spawn(stack: AsyncExitStack) -> Process:
    process = await anyio.open_process(
        [sys.executable, "-P", str(Path(__file__).with_name("model_process.py"))],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        # Ctrl-C must reach only the run, which ends its models itself.
        start_new_session=True,
    )
    stack.push_async_callback(_end, process)
    return process


async def _end(process: Process) -> None:
    """End a model process by closing its stdin, without waiting for a generation."""
    with anyio.CancelScope(shield=True):
        assert process.stdin is not None, "opened with pipes"
        await process.stdin.aclose()
        with anyio.move_on_after(_STOP_S):
            await process.wait()
        await process.aclose()


async def _send_settings(process: Process, settings: dict[str, object], name: str) -> str:
    """Send a model process its settings; return the base URL of its server once the model is loaded."""
    assert process.stdin is not None, "opened with pipes"
    assert process.stdout is not None, "opened with pipes"
    hello = b""
    with anyio.move_on_after(_START_S):
        try:
            await process.stdin.send(json.dumps(settings).encode() + b"\n")
            lines = BufferedByteReceiveStream(process.stdout)
            hello = await lines.receive_until(b"\n", _HELLO_BYTES)
        except (anyio.BrokenResourceError, anyio.EndOfStream, anyio.IncompleteRead):
            hello = b""
    answer = json.loads(hello) if hello else {}
    if "base_url" not in answer:
        raise Permanent(
            f"the model {name} could not be loaded; check that the file is a GGUF model, and that it"
            " fits into memory",
            detail=answer.get("error", f"its process did not answer within {_START_S:g} s"),
            sent=False,
        )
    return str(answer["base_url"])


def _require_file(path: Path) -> Path:
    try:
        if path.is_file():
            return path
    except OSError as error:
        raise _unreadable(path, error) from error
    raise UsageError(f"service.model_path: there is no file {path}")


def _digest(path: Path) -> str:
    try:
        return model_file.sha256_of(_require_file(path))
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> UsageError:
    return UsageError(f"service.model_path: {path} cannot be read: {error.strerror}")

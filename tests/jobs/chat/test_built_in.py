"""The built-in model itself, and the process that holds it."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import anyio
import psutil
import pytest

from engine.clock import SystemClock
from engine.kinds import Permanent, Transient, Unreachable, UsageError
from jobs.chat.built_in import LocalModel, LocalModelServer, choose_threads
from jobs.chat.model_process import parameters_of
from jobs.chat.target import Generation, Message, Question, Role
from tests.paths import ROOT
from tests.patience import PATIENCE_S, next_line, until, with_stacks

SCRIPT = """
import anyio, signal, sys
from engine.clock import SystemClock
from jobs.chat.built_in import LocalModel
from jobs.chat.target import Generation, Message, Question, Role

async def main():
    async with LocalModel(Generation(max_tokens=2000)).open(SystemClock()) as model:
        question = Question(model="smollm2-135m", messages=(Message(Role.USER, "Tell a story."),), seed=1)
        await model.check()
        print("loaded", flush=True)
        await model.reply(question)

# The tests may have been started with interrupts ignored.
signal.signal(signal.SIGINT, signal.default_int_handler)
try:
    anyio.run(main)
except KeyboardInterrupt:
    sys.exit(130)
"""


def question(text: str = "Hello, who are you?", model: str = "smollm2-135m") -> Question:
    return Question(model=model, messages=(Message(Role.USER, text),), seed=1)


def built_in(
    max_tokens: int = 12, path: Path | None = None
) -> contextlib.AbstractAsyncContextManager[LocalModelServer]:
    return LocalModel(Generation(max_tokens=max_tokens), path).open(SystemClock())


def model_processes(of: int) -> list[psutil.Process]:
    return [
        child
        for child in psutil.Process(of).children(recursive=True)
        if any("model_process" in part for part in child.cmdline())
    ]


async def ended(process: psutil.Process) -> None:
    """Return once a process has ended, whether or not its parent has been notified."""

    def has_ended() -> bool:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE

    with contextlib.suppress(psutil.NoSuchProcess):
        await anyio.to_thread.run_sync(until, has_ended, "the end of a process")


async def test_the_built_in_model_answers_the_same_every_time(built_in_model: Path) -> None:
    async with built_in() as model:
        first = await model.reply(question())
        crowd: list[str] = []

        async def again() -> None:
            crowd.append((await model.reply(question())).text)

        async with anyio.create_task_group() as group:
            for _ in range(3):
                group.start_soon(again)

    assert first.text.strip()
    assert first.truncated
    assert crowd == [first.text] * 3


async def replies_of(questions: Sequence[Question], *, at_once: int) -> list[str]:
    """What a new process of the model replies to questions, so many of them in flight."""
    replies: dict[str, str] = {}
    limit = anyio.CapacityLimiter(at_once)

    async def ask(model: LocalModelServer, question: Question) -> None:
        async with limit:
            reply = await model.reply(question)
            replies[question.messages[-1].content] = reply.text

    async with built_in(max_tokens=6) as model, anyio.create_task_group() as group:
        for question in questions:
            group.start_soon(ask, model, question)
    return [replies[each] for each in sorted(replies)]


async def test_different_questions_at_once_are_answered_the_same_by_each_process(
    built_in_model: Path,
) -> None:
    # Longer than 64 tokens, where attention might be computed otherwise, and no two of one length.
    rules = "You are a kind and careful listener who says what he heard, in a few words. " * 4
    asked = [
        Question(
            model="smollm2-135m",
            messages=(
                Message(Role.SYSTEM, rules),
                Message(Role.USER, "I cannot sleep. " * number + "What can I do?"),
            ),
            seed=1,
        )
        for number in range(4)
    ]

    together = await replies_of(asked, at_once=4)
    again = await replies_of(list(reversed(asked)), at_once=2)

    assert len(set(together)) > 1
    assert again == together


async def test_the_number_of_threads_does_not_change_answers(
    built_in_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    replies: list[str] = []

    for count in ("1", "2"):
        monkeypatch.setenv("NIGHTSWEEP_MODEL_THREADS", count)
        async with built_in() as model:
            replies.append((await model.reply(question())).text)

    assert replies[0] == replies[1]


def test_a_model_uses_its_threads_without_polling() -> None:
    settings = {"model": "model.gguf", "api_key": "key", "slots": 2, "context": 64, "threads": 3}

    parameters = parameters_of(settings)

    for computing in (parameters.cpuparams, parameters.cpuparams_batch):
        assert (computing.n_threads, computing.poll) == (3, 0)


def test_a_model_uses_half_of_the_cpus_or_the_configured_number_of_threads() -> None:
    usable = len(os.sched_getaffinity(0))

    assert choose_threads({}) == max(1, usable // 2)
    assert choose_threads({"NIGHTSWEEP_MODEL_THREADS": "12"}) == 12


@pytest.mark.parametrize("text", ["", "0", "-1", "two", "1.5", "1000", "9" * 5000, "²"])
async def test_an_invalid_number_of_threads_is_refused_by_name(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("NIGHTSWEEP_MODEL_THREADS", text)

    with pytest.raises(UsageError, match=r"NIGHTSWEEP_MODEL_THREADS: .* from 1 to 512"):
        async with built_in():
            pass


async def test_the_model_prints_nothing_and_leaves_no_process(
    built_in_model: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    async with built_in() as model:
        await model.reply(question())
        assert len(model_processes(os.getpid())) == 1

    assert model_processes(os.getpid()) == []
    assert capfd.readouterr() == ("", "")


async def test_the_model_is_loaded_with_the_first_question_only(built_in_model: Path) -> None:
    async with built_in():
        assert model_processes(os.getpid()) == []


async def test_a_model_that_is_generating_is_closed_without_waiting(built_in_model: Path) -> None:
    async with built_in(max_tokens=4000) as model:
        await model.check()
        async with anyio.create_task_group() as group:
            for _ in range(6):
                group.start_soon(model.reply, question("Tell a very long story."))
            await anyio.wait_all_tasks_blocked()
            group.cancel_scope.cancel()
        with anyio.fail_after(PATIENCE_S):
            await model.aclose()

    assert model_processes(os.getpid()) == []


async def test_a_model_process_that_died_is_transient_and_the_next_attempt_has_a_new_one(
    built_in_model: Path,
) -> None:
    async with built_in() as model:
        await model.check()
        [process] = model_processes(os.getpid())
        process.kill()
        await ended(process)

        with pytest.raises((Transient, Unreachable)):
            await model.reply(question())
        reply = await model.reply(question())

    assert reply.text.strip()


async def test_another_model_s_name_is_refused_before_anything_is_loaded(
    built_in_model: Path,
) -> None:
    async with built_in() as model:
        with pytest.raises(
            Permanent, match="has no model 'acme/model-1', only smollm2-135m"
        ) as caught:
            await model.reply(question(model="acme/model-1"))

        assert not caught.value.sent
        assert model_processes(os.getpid()) == []


async def test_another_file_is_named_after_its_file_name(
    built_in_model: Path, tmp_path: Path
) -> None:
    own = tmp_path / "my-model.gguf"
    own.symlink_to(built_in_model)

    async with built_in(path=own) as model:
        reply = await model.reply(question(model="my-model"))

    assert LocalModel(Generation(), own).identity.startswith("gguf:my-model@b179c9523d0e6a0f#")
    assert reply.text.strip()


async def test_a_file_that_is_not_a_model_is_a_named_error(tmp_path: Path) -> None:
    own = tmp_path / "wrong.gguf"
    own.write_bytes(b"not a model" * 100)

    async with built_in(path=own) as model:
        with pytest.raises(Permanent, match="check that the file is a GGUF model"):
            await model.reply(question(model="wrong"))
        [check] = await model.check()

    assert not check.ok


async def test_a_missing_file_is_reported_when_the_target_is_opened(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"service\.model_path: there is no file"):
        async with built_in(path=tmp_path / "missing.gguf"):
            pass


async def test_a_model_that_was_not_downloaded_names_the_command(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NIGHTSWEEP_CACHE_DIR", str(tmp_path))

    with pytest.raises(UsageError, match="run `nightsweep model download`"):
        async with built_in():
            pass


async def test_a_missing_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "xllamacpp", None)

    with pytest.raises(UsageError, match=r"nightsweep\[local-model\]"):
        async with built_in():
            pass


def started() -> "subprocess.Popen[str]":
    """A process of its own that is in the middle of a generation."""
    process = subprocess.Popen(  # noqa: S603
        [sys.executable, "-c", SCRIPT],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        text=True,
        env=with_stacks(),
    )
    assert next_line(process) == "loaded"
    return process


def test_an_interrupt_in_the_middle_of_a_generation_ends_both_processes(
    built_in_model: Path,
) -> None:
    with started() as process:
        [model] = model_processes(process.pid)

        process.send_signal(signal.SIGINT)

        assert process.wait(timeout=PATIENCE_S) == 130
        psutil.wait_procs([model], timeout=PATIENCE_S)
        assert not model.is_running()


def test_a_killed_run_leaves_no_model_behind(built_in_model: Path) -> None:
    with started() as process:
        [model] = model_processes(process.pid)

        process.kill()

        gone, _ = psutil.wait_procs([model], timeout=PATIENCE_S)
        assert gone == [model]

"""Answers a second of the built-in model with 1, 2, 4, ... threads, alone and beside busy processes.

By hand: `python -m tests.benchmarks.model_threads [--answers 32] [--busy 4]`. It says with how many threads a
model on this machine should compute; set NIGHTSWEEP_MODEL_THREADS where that is not half of the CPUs.
"""

import argparse
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import anyio

from engine.clock import SystemClock
from jobs.chat.built_in import LocalModel
from jobs.chat.target import Generation, Message, Question, Role

_TOKENS = 48


async def answers_a_second(count: int) -> float:
    target = LocalModel(Generation(max_tokens=_TOKENS))
    async with target.open(SystemClock()) as model:
        await model.check()
        began = time.perf_counter()
        async with anyio.create_task_group() as tasks:
            for number in range(count):
                message = Message(Role.USER, f"Tell me fact number {number} about rivers.")
                tasks.start_soon(
                    model.reply, Question(model=target.name, messages=(message,), seed=1)
                )
        return count / (time.perf_counter() - began)


@contextmanager
def busy(count: int) -> Iterator[None]:
    """As many processes that do nothing but compute."""
    started = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(count)]
    try:
        yield
    finally:
        for process in started:
            process.kill()
            process.wait()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--answers", type=int, default=32)
    parser.add_argument("--busy", type=int, default=4)
    arguments = parser.parse_args()
    cpus = os.cpu_count() or 1
    sys.stdout.write(f"{cpus} CPUs; answers a second of {_TOKENS} tokens\n")
    for beside in (0, arguments.busy):
        threads = 1
        while threads <= cpus:
            os.environ["NIGHTSWEEP_MODEL_THREADS"] = str(threads)
            with busy(beside):
                speed = anyio.run(answers_a_second, arguments.answers)
            sys.stdout.write(f"{beside} busy processes, {threads} threads: {speed:.2f}\n")
            sys.stdout.flush()
            threads *= 2


if __name__ == "__main__":
    main()

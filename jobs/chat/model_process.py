"""The process that holds the built-in model: an OpenAI-compatible server on 127.0.0.1.

jobs.chat.built_in runs this as a script and never imports it. The model needs its own process because the
native library holds Python's lock while it loads and shuts down, and crashes an interpreter that exits
during a generation.

The first line of stdin is a JSON object: model (a path), api_key, slots, context (tokens per slot),
threads. The answer is one line on stdout: {"base_url": ...} or {"error": ...}. The process ends when stdin
does, which happens however the parent ends.
"""

import json
import os
import signal
import sys
from typing import Any


def main() -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    _silence()
    settings = json.loads(sys.stdin.readline())
    try:
        server = _serve(settings)
    except Exception as error:
        _answer(answers, {"error": f"{type(error).__name__}: {error}"})
    else:
        _answer(answers, {"base_url": f"{server.listening_address}/v1"})
        sys.stdin.read()
    # Skips destructors, because the native ones wait for running generations.
    os._exit(0)


def _silence() -> None:
    """Discard the output of the native library: both streams belong to the run."""
    nowhere = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nowhere, 1)
    os.dup2(nowhere, 2)


def _serve(settings: dict[str, Any]) -> Any:
    import xllamacpp  # type: ignore[import-untyped]

    return xllamacpp.Server(parameters_of(settings))


def parameters_of(settings: dict[str, Any]) -> Any:
    """The native library's parameters for the settings in the first line of stdin.

    They make a reply depend on its question alone, whatever else is asked at the same time. Raises KeyError
    for a missing setting.
    """
    import xllamacpp

    parameters = xllamacpp.CommonParams()
    parameters.model.path = settings["model"]
    parameters.api_keys = [settings["api_key"]]
    parameters.port = 0
    parameters.n_parallel = settings["slots"]
    parameters.n_ctx = settings["context"] * settings["slots"]
    parameters.cpuparams.n_threads = settings["threads"]
    parameters.cpuparams_batch.n_threads = settings["threads"]
    # Without polling: threads that spin while they wait would take the CPU from other processes.
    parameters.cpuparams.poll = 0
    parameters.cpuparams_batch.poll = 0
    parameters.verbosity = -1
    parameters.warmup = False
    # Neither earlier nor concurrent questions may change a bit of a reply.
    parameters.cache_prompt = False
    parameters.cache_ram_mib = 0
    # With a cache of 16-bit or 32-bit floats llama.cpp computes attention in tiles for 64 or more tokens of
    # a prompt in one batch, and otherwise row by row, with different rounding. The batches depend on
    # concurrent questions. With bfloat16 it always computes row by row.
    parameters.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_ENABLED
    parameters.cache_type_k = xllamacpp.ggml_type.GGML_TYPE_BF16
    parameters.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_BF16
    return parameters


def _answer(answers: Any, value: dict[str, str]) -> None:
    answers.write(json.dumps(value) + "\n")
    answers.flush()


if __name__ == "__main__":
    main()

"""Prints what Inspect AI and Inspect Scout read of a directory of logs, as JSON.

Given are the directory, called `logs`, one that is empty, in which the packages may write, and a program
that is run where the logs are.
"""

import json
import os
import sys
from contextlib import redirect_stdout
from io import StringIO
from pathlib import Path
from typing import Any

given = json.load(sys.stdin)
scratch = Path(given["scratch"])
os.environ["HOME"] = str(scratch / "home")

import anyio  # noqa: E402
from inspect_ai.analysis import (  # type: ignore[import-not-found]  # noqa: E402
    evals_df,
    messages_df,
    samples_df,
)
from inspect_ai.log import (  # type: ignore[import-not-found]  # noqa: E402
    EvalLogInfo,
    convert_eval_logs,
    list_eval_logs,
    read_eval_log,
    read_eval_log_sample,
)
from inspect_scout import (  # type: ignore[import-not-found]  # noqa: E402
    TranscriptContent,
    transcripts_from,
)


def read_log(info: EvalLogInfo) -> dict[str, Any]:
    """A log as its header and as a whole say, and one sample that is read on its own."""
    header, whole = read_eval_log(info.name, header_only=True), read_eval_log(info.name)
    samples = whole.samples or []
    for sample in samples[:1]:
        assert read_eval_log_sample(info.name, sample.id, sample.epoch) == sample
    return {
        "file": Path(info.name).name,
        "task": info.task,
        "header": json.loads(header.model_dump_json()),
        "samples": [json.loads(sample.model_dump_json()) for sample in samples],
    }


def frame(found: Any) -> list[dict[str, Any]]:
    """The rows of a frame."""
    rows: list[dict[str, Any]] = json.loads(found.to_json(orient="records", date_format="iso"))
    return rows


async def transcripts(directory: Path) -> list[dict[str, Any]]:
    """What Scout would scan."""
    found = []
    async with transcripts_from(str(directory)).reader() as reader:
        async for info in reader.index():
            content = TranscriptContent(messages="all", events="all")
            one = await reader.read(info, content)
            found.append(
                {
                    "task": info.task_set,
                    "case": info.task_id,
                    "model": info.model,
                    "success": info.success,
                    "explanation": info.score_explanation,
                    "messages": [[message.role, message.text] for message in one.messages],
                    "events": [event.event for event in one.events],
                }
            )
    return found


with redirect_stdout(sys.stderr):
    directory, converted = given["directory"], scratch / "converted"
    answer: dict[str, Any] = {
        "logs": [read_log(info) for info in list_eval_logs(directory, descending=False)],
        "evals": frame(evals_df(directory, quiet=True)),
        "samples": frame(samples_df(directory, quiet=True)),
        "messages": frame(messages_df(directory, quiet=True)),
    }
    convert_eval_logs(directory, "eval", str(converted))
    answer["converted"] = sorted(path.name for path in converted.iterdir())
    answer["transcripts"] = anyio.run(transcripts, converted)
    os.chdir(Path(directory).parent)
    with redirect_stdout(StringIO()) as printed:
        exec(given["example"])  # noqa: S102  # it is an example of the docs
    answer["printed"] = printed.getvalue()
json.dump(answer, sys.stdout)

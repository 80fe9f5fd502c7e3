"""Jobs as text: short in a list, or one in full."""

import base64
import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from engine.core.inspection import Attempt, JobDetails, JobInfo
from engine.core.listing import quantity
from engine.core.model import describe_reasons
from engine.core.terminal import plain
from engine.report.document import document
from engine.report.times import duration, moment
from engine.report.words import shorten

_LONGEST = 300
"""The most characters of a service's words in a list of jobs; `show` shows all."""
_DEPTH_MAX = 200
"""Answers that are nested more deeply are shown as text: printing a value takes a few calls per level."""


def job_lines(job: JobInfo) -> list[str]:
    """A job in a list: its number, state and labels, then what is known of its attempts, then its error.

    One to four lines, those after the first indented; what a service wrote is cut to _LONGEST characters
    and has no control characters.
    """
    lines = [f"{job.id}  {job.state}  {_labels(job)}"]
    parts = [f"{quantity(job.attempts, 'attempt')}"] if job.attempts else []
    if job.outcome is not None and job.outcome.value != job.state.value:
        parts.append(f"last: {_outcome(job.outcome, job.status)}")
    if job.due_at is not None:
        parts.append(f"again from {moment(job.due_at)}")
    if job.asked is False:
        parts.append("not in the sweep any more")
    if parts:
        lines.append(f"    {', '.join(parts)}")
    if job.error:
        lines.append(f"    {shorten(plain(job.error), _LONGEST)}")
    if job.detail:
        lines.append(f"    service: {shorten(plain(job.detail), _LONGEST)}")
    return lines


def detail_lines(details: JobDetails) -> Iterator[str]:
    """All that is known of a job, line by line: parameters, attempts with their errors, answer, unread replies.

    Answers that are JSON are shown as indented lines, and lists of messages as conversations. Nothing is
    cut; texts of models and services keep their line breaks but no other control characters.
    """
    job = details.job
    yield f"job {job.id} of {plain(details.run)}: {job.state}"
    yield f"key {job.key}"
    yield f"lane {plain(job.lane)}"
    yield ""
    yield "parameters"
    yield from _tree({**job.labels, **_threshold_labels(job)}, "  ")
    for name, content in details.documents.items():
        if content is not None:
            yield f"  {plain(name)} in full:"
            yield from _tree(content, "    ")
    yield ""
    yield "attempts" if details.attempts else "no attempts"
    for number, attempt in enumerate(details.attempts, 1):
        yield from _attempt_lines(number, attempt)
    if job.due_at is not None:
        yield f"  again from {moment(job.due_at)}"
    if job.error and not any(one.error == job.error for one in details.attempts):
        yield f"  {plain(job.error)}"
    yield ""
    yield from _answer_lines(details)
    for reply in details.unread:
        yield ""
        yield f"unread reply of {moment(reply.at)}, {reply.size:,} bytes: {plain(reply.place)}"
        yield from _content(reply.raw)


def details_document(details: JobDetails) -> dict[str, Any]:
    """A job for JSON: `run`, `job`, `documents`, `attempts`, `result`, `answer` and `unread`.

    An answer, or an unread reply's `content`, is JSON if it can be parsed, else text, else `{"base64":
    ...}`; it is None if there is none. Times are in epoch seconds.
    """
    found: dict[str, Any] = document(
        {
            "run": details.run,
            "job": details.job,
            "documents": details.documents,
            "attempts": details.attempts,
            "result": details.result,
            "is_in_side_file": details.is_in_side_file,
        }
    )
    found["answer"] = None if details.answer is None else _as_json(details.answer)
    found["unread"] = [
        {
            "attempt": one.attempt,
            "at": one.at,
            "place": one.place,
            "size": one.size,
            "content": _as_json(one.raw),
        }
        for one in details.unread
    ]
    return found


def _labels(job: JobInfo) -> str:
    labels = {**job.labels, **_threshold_labels(job)}
    return ", ".join(f"{plain(name)}={plain(_scalar(value))}" for name, value in labels.items())


def _threshold_labels(job: JobInfo) -> Mapping[str, Any]:
    """The thresholds of a job that answers several."""
    return {"threshold": " ".join(f"{one:g}" for one in job.cells)} if len(job.cells) > 1 else {}


def _outcome(outcome: str, status: int | None) -> str:
    words = str(outcome).replace("_", " ")
    return words if status is None else f"{words} (HTTP {status})"


def _attempt_lines(number: int, attempt: Attempt) -> Iterator[str]:
    took = "" if attempt.duration_s is None else f" after {_seconds(attempt.duration_s)}"
    is_sent = attempt.ended_at is None
    outcome = "in flight" if is_sent else _outcome(attempt.outcome, attempt.status)
    yield f"  {number}. {moment(attempt.sent_at)}: {outcome}{took}, by {plain(attempt.worker)}"
    if attempt.error:
        yield f"     {plain(attempt.error)}"
    if attempt.detail:
        yield f"     service: {plain(attempt.detail)}"


def _seconds(seconds: float) -> str:
    return f"{seconds:.2f} s" if seconds < 10 else duration(seconds)


def _answer_lines(details: JobDetails) -> Iterator[str]:
    if (result := details.result) is not None:
        lacking = f", {describe_reasons(result.unanswered)}" if result.unanswered else ""
        reused = "" if result.reused_from is None else f", reused from job {result.reused_from}"
        yield (
            f"result of {moment(result.recorded_at)}: {result.passed:,} passed,"
            f" {result.failed:,} failed{lacking}{reused}"
        )
        if result.note:
            yield f"  {plain(result.note)}"
        if result.values:
            yield from _value_lines("values", result.values, "  ")
    if details.answer is None:
        yield "no answer"
        return
    aside = "; in a side file: `nightsweep resume` stores it" if details.is_in_side_file else ""
    yield f"answer, {len(details.answer):,} bytes{aside}"
    yield from _content(details.answer)


def _content(raw: bytes) -> Iterator[str]:
    try:
        value = _parse(raw)
    except ValueError:
        return _text(raw.decode("utf-8", "replace"), "  ")
    return _tree(value, "  ")


def _parse(raw: bytes) -> Any:
    """Parse an answer as JSON; raises ValueError if it is not JSON, or nested too deeply to be shown."""
    try:
        value = json.loads(raw)
    except RecursionError:
        raise ValueError("nested too deeply") from None
    level = [value]
    for _ in range(_DEPTH_MAX):
        level = [part for parent in level for part in _parts(parent)]
    if level:
        raise ValueError("nested too deeply")
    return value


def _parts(value: Any) -> Iterable[Any]:
    match value:
        case dict():
            return value.values()
        case list():
            return value
        case _:
            return ()


def _tree(value: Any, indent: str) -> Iterator[str]:
    """A JSON value in indented lines; a list of messages as a conversation, turn by turn."""
    match value:
        case Mapping() if value:
            for name, part in value.items():
                yield from _value_lines(plain(str(name)), part, indent)
        case list() if value and all(map(_is_message, value)):
            for message in value:
                yield f"{indent}{plain(message['role'])}:"
                yield from _text(message["content"], f"{indent}  ")
        case list() if value:
            for part in value:
                yield from _value_lines("-", part, indent)
        case str():
            yield from _text(value, indent)
        case _:
            yield f"{indent}{_scalar(value)}"


def _value_lines(name: str, value: Any, indent: str) -> Iterator[str]:
    colon = "" if name == "-" else ":"
    if isinstance(value, Mapping | list) and value:
        yield f"{indent}{name}{colon}"
        yield from _tree(value, f"{indent}  ")
    elif isinstance(value, str) and "\n" in value:
        yield f"{indent}{name}{colon}"
        yield from _text(value, f"{indent}  ")
    else:
        yield f"{indent}{name}{colon} {plain(_scalar(value))}"


def _is_message(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and isinstance(value.get("role"), str)
        and isinstance(value.get("content"), str)
        and len(value) == 2
    )


def _text(text: str, indent: str) -> Iterator[str]:
    for line in text.splitlines() or [""]:
        yield f"{indent}{plain(line)}"


def _scalar(value: Any) -> str:
    if isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


def _as_json(raw: bytes) -> Any:
    try:
        return _parse(raw)
    except ValueError:
        pass
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return {"base64": base64.b64encode(raw).decode("ascii")}

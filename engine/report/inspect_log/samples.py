"""One sample of a log: a test, its conversation and what the judge said of it."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from engine.core.findings import Message
from engine.report.inspect_log.cleaning import clean, clean_text, describe, identify, time_text

PASSED = "C"
FAILED = "I"
"""What Inspect calls correct and incorrect."""

_ROLES = ("system", "user", "assistant", "tool")
_GENERATED = "assistant"


@dataclass(frozen=True, slots=True, kw_only=True)
class SampleScore:
    """The value of one scorer for a sample, with what explains it."""

    value: str | float
    metadata: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """One sample of a log. `id` and `epoch` distinguish it within the log; times are seconds since the Unix epoch."""

    id: str
    epoch: int
    messages: Sequence[Message]
    scores: Mapping[str, SampleScore]
    """By the names of scorers; readers take the first one for the verdict."""
    evidence: Any = None
    """The judge's reasons, which explain the first score."""
    input: str | None = None
    """What was asked, if it is no conversation."""
    output: str | None = None
    """What came back, if it is no conversation."""
    target: str = ""
    metadata: Mapping[str, Any] = field(default_factory=dict)
    answered_at: float | None = None
    seconds: float | None = None
    """How long the answer took that has the sample; None if that is unknown."""


def to_document(sample: Sample, log: str, model: str) -> dict[str, Any]:
    """The sample as Inspect's EvalSample, in JSON values; `log` is the id of its log."""
    own = identify(log, sample.id, sample.epoch)
    messages = list(_messages(sample.messages, own, model))
    output = _output(messages, model)
    if sample.output is not None:
        output = _made_of({"role": _GENERATED, "content": clean_text(sample.output)}, model)
    found: dict[str, Any] = {
        "id": clean_text(sample.id),
        "epoch": sample.epoch,
        "input": _input(sample, messages),
        "target": clean_text(sample.target),
        "messages": messages,
        "output": output,
        "scores": _scores(sample, output),
        "metadata": clean(sample.metadata),
        "events": _events(messages, output, own, model, sample) if messages else [],
        "uuid": own,
    }
    if sample.answered_at is not None:
        found["completed_at"] = time_text(sample.answered_at)
        if sample.seconds is not None:
            found["started_at"] = time_text(sample.answered_at - sample.seconds)
            found["total_time"] = sample.seconds
    return found


def _messages(messages: Sequence[Message], own: str, model: str) -> Iterator[dict[str, Any]]:
    for number, message in enumerate(messages):
        role = message.role if message.role in _ROLES else "user"
        found: dict[str, Any] = {
            "id": f"{own}-{number}",
            "content": clean_text(message.content),
            "source": "generate" if role == _GENERATED else "input",
            "role": role,
        }
        if role == _GENERATED:
            found["model"] = model
        if role != message.role:
            found["metadata"] = {"role": clean_text(message.role)}
        yield found


def _input(sample: Sample, messages: Sequence[Mapping[str, Any]]) -> Any:
    """What the model was asked: a text, or the messages before its first reply."""
    if sample.input is not None:
        return clean_text(sample.input)
    asked = []
    for message in messages:
        if message["role"] == _GENERATED:
            break
        asked.append(message)
    texts = [message["content"] for message in asked if message["role"] != "system"]
    return texts[0] if len(texts) == 1 else asked


def _output(messages: Sequence[Mapping[str, Any]], model: str) -> dict[str, Any]:
    """The last reply of the model; no choice if the conversation does not end with one."""
    if messages and messages[-1]["role"] == _GENERATED:
        return _made_of(messages[-1], model)
    return {"model": model, "choices": [], "completion": ""}


def _made_of(message: Mapping[str, Any], model: str) -> dict[str, Any]:
    return {
        "model": model,
        "choices": [{"message": message, "stop_reason": "stop"}],
        "completion": message["content"],
    }


def _events(
    messages: Sequence[Mapping[str, Any]],
    output: Mapping[str, Any],
    own: str,
    model: str,
    sample: Sample,
) -> list[dict[str, Any]]:
    """One call of the model, with the conversation before its last reply: that is where readers find messages."""
    answered_at = sample.answered_at or 0.0
    return [
        {
            "uuid": f"{own}-call",
            "timestamp": time_text(answered_at - (sample.seconds or 0.0)),
            "working_start": 0.0,
            "event": "model",
            "model": model,
            "input": messages[: len(messages) - len(output["choices"])],
            "tools": [],
            "tool_choice": "auto",
            "config": {},
            "output": output,
            "completed": time_text(answered_at),
        }
    ]


def _scores(sample: Sample, output: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, score in sample.scores.items():
        one: dict[str, Any] = {"value": clean(score.value), "metadata": clean(score.metadata)}
        if not found:
            one["answer"] = output["completion"]
            if sample.evidence:
                evidence = clean(sample.evidence)
                one["explanation"] = describe(evidence)
                one["metadata"]["evidence"] = evidence
        found[name] = one
    return found

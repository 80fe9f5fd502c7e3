"""The samples of a job's answer for logs of Inspect AI, and the axes that tell logs and samples apart."""

import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, count
from typing import Any

from engine.core.axes import CaseAxis, GroupAxis, PromptAxis, RecordAxis
from engine.core.canonical import digest
from engine.core.findings import JudgedTest, Message
from engine.core.rows import short_digest
from engine.core.values import Value
from engine.kinds import JobKind
from engine.report.inspect_log.cleaning import clean, clean_text
from engine.report.inspect_log.samples import FAILED, PASSED, Sample, SampleScore
from engine.store import JobRow
from engine.sweep import SweepFacts

MODEL = "model"
PASSES = "passed"
SAFETY = "safety"
_SHARED = (MODEL, "version")
"""The fields that the samples of a log share if the kind has no axis of cases or groups: the others are the case."""
_EXPECTED = "expected"
_SYSTEM = "system"
_LONGEST_NAME = 200
_LONGEST_VALUE = 1_000


def verdict_name(threshold: float | None) -> str:
    """The name of the scorer of verdicts at a threshold; of the only verdict if there are no thresholds."""
    return PASSES if threshold is None else f"{PASSES}_at_{threshold:g}"


@dataclass(frozen=True, slots=True, kw_only=True)
class LogFields:
    """Which axes name a log, and which name a sample in it, by field."""

    log: tuple[str, ...]
    group: str | None
    case: tuple[str, ...]
    """The axes whose values are the case of a cell; empty if an answer lists the cases of its group."""
    prompt: str | None

    @classmethod
    def of(cls, kind: JobKind, facts: SweepFacts) -> "LogFields":
        """The fields of the axes that a sweep has."""
        known = {axis.field for axis in facts.axes}
        axes = [axis for axis in kind.axes if axis.field in known]
        group = next((axis.field for axis in axes if isinstance(axis, GroupAxis)), None)
        prompt = next((axis.field for axis in axes if isinstance(axis, PromptAxis)), None)
        case = tuple(axis.field for axis in axes if isinstance(axis, CaseAxis | RecordAxis))
        log = tuple(
            axis.field for axis in axes if axis.field not in (group, kind.folded_field, *case)
        )
        if group is None and not case:
            case = tuple(field for field in log if field not in (*_SHARED, prompt))
            log = tuple(field for field in log if field not in case)
        return cls(log=log, group=group, case=case, prompt=prompt)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerOf:
    """A job with its answer, and what its samples need besides."""

    job: JobRow
    raw: bytes | None
    """None if the answer is not in the store."""
    labels: Mapping[str, Any]
    thresholds: Sequence[float]
    """Those at which the answer counts, the highest first; empty if the evaluation has none."""


class SampleReader:
    """Makes samples of the answers of one run."""

    def __init__(self, kind: JobKind, facts: SweepFacts) -> None:
        self.fields = LogFields.of(kind, facts)
        self._kind = kind
        self._contents = {
            axis.field: {digest(value.content): value.content for value in axis.values}
            for axis in facts.axes
            if axis.is_large
        }
        self._names: dict[str, _Names] = {}

    def read(self, answer: AnswerOf, log: str) -> Iterator[tuple[Sample, JudgedTest | None]]:
        """Yield the samples of an answer, each with its test, in the order of the answer.

        An answer that lists no tests is one sample without a test if its cell is one case, and none otherwise.
        """
        job = answer.job
        sent = dict(answer.labels)
        if self._kind.folded_field is not None and job.threshold is not None:
            sent[self._kind.folded_field] = job.threshold
        tests = () if answer.raw is None else self._kind.tests(answer.raw, sent)
        names = self._names.setdefault(log, _Names())
        seen: Counter[tuple[Any, ...]] = Counter()
        position = 0
        for position, test in enumerate(tests, 1):
            if self.fields.group is None:
                name = self._name_cell(answer, position)
            else:
                number = position if test.number is None else test.number
                key = (test.case or number, bool(test.case), test.layer)
                seen[key] += 1
                group = str(answer.labels[self.fields.group])
                name = names.name(group, test, number, seen[key])
            yield self._to_sample(answer, name, test), test
        if not position and self.fields.group is None:
            yield self._without_tests(answer), None

    def _to_sample(self, answer: AnswerOf, name: str, test: JudgedTest) -> Sample:
        job = answer.job
        is_of_group = self.fields.group is not None
        scores = {
            verdict_name(at): self._verdict(answer, is_failed=is_failed, at=at)
            for at, is_failed in _verdicts(test, answer)
        }
        if test.score is not None:
            scores[SAFETY] = SampleScore(value=test.score)
        if not is_of_group:
            scores |= _numbers(test.values)
        known = {
            "case": test.case,
            "layer": test.layer,
            "number": test.number,
            "parent": test.parent,
        }
        metadata = {
            **_short(test.values),
            **self._own_metadata(answer),
            **{key: value for key, value in known.items() if value is not None},
        }
        messages = self._with_prompt(answer, test.messages)
        asked, came = self._exchange(answer, messages)
        return Sample(
            id=name,
            epoch=answer.labels["repeat"],
            messages=messages,
            scores=scores,
            evidence=test.evidence,
            input=asked,
            output=came,
            target=self._target(answer),
            metadata=metadata,
            answered_at=job.answered_at,
            seconds=job.seconds,
        )

    def _without_tests(self, answer: AnswerOf) -> Sample:
        """The only sample of a cell whose answer counts no test, or several that it does not list."""
        job = answer.job
        messages: Sequence[Message] = ()
        if answer.raw is not None:
            messages = tuple(self._kind.conversation(answer.raw, answer.labels))
        total = (job.passed or 0) + (job.failed or 0)
        scores: dict[str, SampleScore] = {}
        if total:
            success = {"success": not job.failed}
            scores[verdict_name(None)] = SampleScore(
                value=(job.passed or 0) / total, metadata=success
            )
        if not messages:
            scores |= _numbers(job.values)
        asked, came = self._exchange(answer, messages)
        return Sample(
            id=self._name_cell(answer, 1),
            epoch=answer.labels["repeat"],
            messages=messages,
            scores=scores,
            input=asked,
            output=came,
            target=self._target(answer),
            metadata={**_short(job.values), **self._own_metadata(answer)},
            answered_at=job.answered_at,
            seconds=job.seconds,
        )

    def _verdict(self, answer: AnswerOf, *, is_failed: bool, at: float | None) -> SampleScore:
        metadata: dict[str, Any] = {"success": not is_failed}
        if at is not None:
            metadata["threshold"] = at
        if self.fields.group is not None:
            metadata["group"] = answer.labels[self.fields.group]
        return SampleScore(value=FAILED if is_failed else PASSED, metadata=metadata)

    def _own_metadata(self, answer: AnswerOf) -> dict[str, Any]:
        fields = self.fields.case if self.fields.group is None else (self.fields.group,)
        found = {field: answer.labels.get(field) for field in fields}
        found["job"] = answer.job.id
        if answer.job.provenance is not None:
            found["identity"] = answer.job.provenance
        return found

    def _with_prompt(self, answer: AnswerOf, messages: Sequence[Message]) -> Sequence[Message]:
        """A conversation with the system prompt before it, which answers of groups leave out."""
        if self.fields.group is None or self.fields.prompt is None or not messages:
            return messages
        if messages[0].role == _SYSTEM:
            return messages
        content = self._content(answer, self.fields.prompt)
        if not isinstance(content, str):
            return messages
        return (Message(role=_SYSTEM, content=content), *messages)

    def _exchange(
        self, answer: AnswerOf, messages: Sequence[Message]
    ) -> tuple[str | None, str | None]:
        """What was asked and what came back, of an answer without a conversation."""
        if messages or self.fields.group is not None:
            return None, None
        asked = {
            field: self._content(answer, field, answer.labels.get(field))
            for field in self.fields.case
        }
        one = next(iter(asked.values())) if len(asked) == 1 else asked
        came = None if answer.raw is None else answer.raw.decode("utf-8", "replace")
        return one if isinstance(one, str) else _json(one), came

    def _target(self, answer: AnswerOf) -> str:
        """What the case expects, if it says so."""
        for field in self.fields.case:
            content = self._content(answer, field)
            if isinstance(content, Mapping) and content.get(_EXPECTED) is not None:
                expected = content[_EXPECTED]
                return expected if isinstance(expected, str) else _json(expected)
        return ""

    def _content(self, answer: AnswerOf, field: str, default: Any = None) -> Any:
        """The content of an axis' value; the default if the sweep no longer has it."""
        found = self._contents.get(field, {})
        return found.get(answer.job.documents.get(field, ""), default)

    def _name_cell(self, answer: AnswerOf, number: int) -> str:
        """The name of a test of a cell that is one case: the case's, unless it is not the only one."""
        job, fields = answer.job, self.fields.case
        values = {field: answer.labels.get(field) for field in fields}
        # Values of an earlier sweep may have the names of others.
        old = [
            short_digest(job.documents[field])
            for field in fields
            if field in job.documents and job.documents[field] not in self._contents.get(field, {})
        ]
        name = next(iter(values.values())) if len(values) == 1 else values
        if old or number > 1:
            return _json([name, *old, *[number] * (number > 1)])
        if not isinstance(name, str) or len(name) > _LONGEST_NAME or name[:1] in '["{':
            name = _json(name)
        return name if len(name) <= _LONGEST_NAME else f"{name[:_LONGEST_NAME]} {digest(name)[:12]}"


class _Names:
    """The ids of a log's samples: equal for the same case in each repeat, and never equal for two cases."""

    def __init__(self) -> None:
        self._known: dict[tuple[Any, ...], str] = {}
        self._taken: set[str] = set()

    def name(self, group: str, test: JudgedTest, number: int, occurrence: int) -> str:
        """The id of a test, the `occurrence`-th of its case and layer in its answer; without a case of its number."""
        case = clean_text(test.case)[:_LONGEST_NAME] if test.case else f"{group}#{number}"
        layer = "" if test.layer is None else f"/{test.layer}"
        again = f".{occurrence}" if occurrence > 1 else ""
        key = (group, test.case or number, bool(test.case), test.layer, occurrence)
        if (found := self._known.get(key)) is None:
            plain = f"{case}{layer}{again}"
            others = (f"{group}:{plain}~{n}" for n in count(2))
            found = next(
                one for one in chain((plain, f"{group}:{plain}"), others) if one not in self._taken
            )
            self._known[key] = found
            self._taken.add(found)
        return found


def _verdicts(test: JudgedTest, answer: AnswerOf) -> Iterator[tuple[float | None, bool]]:
    """The thresholds at which a test is judged, the highest first, and whether it failed there."""
    if not answer.thresholds:
        yield None, test.failed
    for at in answer.thresholds:
        if test.score is not None:
            yield at, test.score < at
        elif at == answer.job.threshold:
            yield at, test.failed


def _numbers(values: Mapping[str, Value | None]) -> dict[str, SampleScore]:
    return {
        name: SampleScore(value=value)
        for name, value in values.items()
        if isinstance(value, bool | int | float)
    }


def _short(values: Mapping[str, Value | None]) -> dict[str, Any]:
    """Values without long texts, which conversations have."""
    return {
        name: value
        for name, value in values.items()
        if value is not None and not (isinstance(value, str) and len(value) > _LONGEST_VALUE)
    }


def _json(value: Any) -> str:
    return json.dumps(clean(value), ensure_ascii=False)

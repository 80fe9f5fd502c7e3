"""Findings from answers: the failed tests, each with the thresholds at which it fails."""

from collections.abc import AsyncIterable, AsyncIterator, Iterable, Iterator, Mapping
from dataclasses import fields
from math import inf
from typing import Any

from engine.core.axes import Scalar
from engine.core.findings import Finding, JudgedTest
from engine.core.rows import short_digest
from engine.kinds import JobKind
from engine.results.cells import current_labels, thresholds_of
from engine.store import JobRow

_FIELDS = tuple(field.name for field in fields(JudgedTest))


async def findings(
    answers: AsyncIterable[tuple[JobRow, bytes]],
    kind: JobKind,
    *,
    run: str,
    names: Mapping[str, Mapping[str, Scalar]],
    past: bool = False,
    highest_score: float = inf,
) -> AsyncIterator[Finding]:
    """Yield the failed tests of each answer, in the order of the answers and of the tests in them.

    `kind` reads the answers, `run` is the name of their run, and `names` has the current names of prompts
    and documents by field and digest. A test with a score fails at every threshold of its job above that
    score, one without at the threshold that was sent. Tests that fail at no threshold that is asked for are
    left out, and so are outdated answers. With `past`, thresholds that only an earlier version of the sweep
    asked for count, too. Tests with a score above `highest_score` are left out.
    """
    async for job, raw in answers:
        labels = current_labels(job, names)
        digests = {axis: short_digest(content) for axis, content in job.documents.items()}
        if kind.folded_field is None or job.threshold is None:
            if job.outdated and job.is_asked is not False:
                continue
            for test in _failed_tests(kind.tests(raw, labels), highest_score):
                yield _to_finding(test, run, job, labels, digests, ())
            continue
        sent = {**labels, kind.folded_field: job.threshold}
        del labels[kind.folded_field]
        thresholds = tuple(_thresholds(job, past=past))
        # What passed at the threshold that was sent passed at every lower one.
        for test in _failed_tests(kind.tests(raw, sent), highest_score):
            if failed_at := _failed_thresholds(test, thresholds, job.threshold):
                yield _to_finding(test, run, job, labels, digests, failed_at)


def _failed_tests(tests: Iterable[JudgedTest], highest_score: float) -> Iterator[JudgedTest]:
    """The failed tests with a score up to the highest, and those without one."""
    for test in tests:
        if test.failed and (test.score is None or test.score <= highest_score):
            yield test


def _thresholds(job: JobRow, *, past: bool) -> Iterator[float]:
    """The thresholds at which a job's answer counts, ascending: an outdated one only counts for past cells."""
    for threshold, is_asked in thresholds_of(job, past=past):
        if is_asked is False or not job.outdated:
            yield threshold


def _failed_thresholds(
    test: JudgedTest, thresholds: tuple[float, ...], sent: float
) -> tuple[float, ...]:
    if test.score is None:
        return (sent,) if sent in thresholds else ()
    return tuple(threshold for threshold in thresholds if test.score < threshold)


def _to_finding(
    test: JudgedTest,
    run: str,
    job: JobRow,
    labels: Mapping[str, Any],
    digests: Mapping[str, str | None],
    thresholds: tuple[float, ...],
) -> Finding:
    return Finding(
        **{name: getattr(test, name) for name in _FIELDS},
        run=run,
        job=job.id,
        labels=labels,
        thresholds=thresholds,
        digests=digests,
        identity=job.provenance,
    )

"""The answers of a run as logs of Inspect AI, one for each model and setting."""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from engine.core.canonical import digest
from engine.core.conditions import Conditions
from engine.core.rows import Row, short_digest
from engine.core.states import State
from engine.kinds import JobKind
from engine.report.inspect_log.cleaning import identify
from engine.report.inspect_log.directory import LogDirectory, LogFile, log_id
from engine.report.inspect_log.log import LogIdentity, RunIdentity
from engine.results.cells import RowRules, current_labels
from engine.results.rows import rows_of
from engine.session.inspect_samples import MODEL, AnswerOf, SampleReader, verdict_name
from engine.store import JobRow, RunRow
from engine.sweep import SweepFacts

_NO_MODEL = "none/none"
"""What Inspect calls the model of an evaluation that has none."""


class InspectLogs:
    """Collects the answers of one run in logs, one answer at a time."""

    def __init__(
        self,
        logs: LogDirectory,
        run: RunIdentity,
        kind: JobKind,
        facts: SweepFacts,
        rules: RowRules,
        wanted: Conditions,
        *,
        past: bool,
    ) -> None:
        self._logs = logs
        self._run = run
        self._rules = rules
        self._wanted = wanted
        self._past = past
        self._reader = SampleReader(kind, facts)
        self._fields = self._reader.fields
        self._varied = {axis.field for axis in facts.axes if len(axis.values) > 1}

    def add(self, job: JobRow, raw: bytes | None) -> None:
        """Add the samples of a job's answer to its log, and count its cells there, if any of them is wanted."""
        rows = [
            row
            for row in rows_of(job, self._rules, past=self._past)
            if self._wanted.select_labels(row.labels)
        ]
        if not rows:
            return
        labels = current_labels(job, self._rules.names)
        log = self._find_log(job, labels)
        group = "" if self._fields.group is None else str(labels[self._fields.group])
        log.counts.epochs = max(log.counts.epochs, labels["repeat"])
        if self._fields.group is not None:
            log.counts.groups[group] = None
        for row in rows:
            self._count(log, row)
        if job.passed is None or (job.outdated and job.is_asked is not False):
            log.counts.gap_groups[group] += 1
            return
        thresholds = [at for row in rows if (at := self._threshold(row)) is not None]
        answer = AnswerOf(
            job=job, raw=raw, labels=labels, thresholds=sorted(thresholds, reverse=True)
        )
        self._add_samples(log, answer, group)

    def _add_samples(self, log: LogFile, answer: AnswerOf, group: str) -> None:
        job, counts = answer.job, log.counts
        logged = cases = 0
        for sample, test in self._reader.read(answer, log.identity.id):
            log.add(sample)
            logged += 1
            cases += test is None or not test.layer
            for name, score in sample.scores.items():
                if not isinstance(score.value, str) and "success" not in score.metadata:
                    counts.add_number(name, score.value)
        total = (job.passed or 0) + (job.failed or 0)
        counts.completed += max(logged, total)
        counts.unanswered += sum(job.unanswered.values())
        counts.add_times(job.answered_at, job.seconds)
        if self._fields.group is not None:
            self._logs.note_cases(group, cases or total)

    def _find_log(self, job: JobRow, labels: Mapping[str, Any]) -> LogFile:
        shared = {field: labels.get(field) for field in self._fields.log}
        digests = {
            field: short_digest(job.documents[field])
            for field in self._fields.log
            if field in job.documents
        }
        own = log_id(self._run, digest([shared, digests, job.threshold]))
        if (found := self._logs.find(own)) is not None:
            return found
        settings = {field: label for field, label in shared.items() if field != MODEL}
        title = [f"{field} {label}" for field, label in settings.items() if field in self._varied]
        metadata: dict[str, Any] = {
            f"{field}_digest": text for field, text in digests.items() if text
        }
        if job.threshold is not None:
            metadata["threshold_sent"] = job.threshold
            if self._rules.folded_field in self._varied and len(job.cells) == 1:
                title.append(f"{self._rules.folded_field} {job.threshold:g}")
        return self._logs.begin(
            LogIdentity(
                id=own,
                model=str(labels.get(MODEL) or _NO_MODEL),
                settings=settings,
                # Inspect takes what stands before a slash for the name of a package.
                task=self._run.name + (f" ({', '.join(title)})" if title else "").replace("/", "-"),
                metadata=metadata,
            )
        )

    def _count(self, log: LogFile, row: Row) -> None:
        """Count a cell, and its tests for the scorer of its threshold."""
        counts, at = log.counts, self._threshold(row)
        if at is not None:
            counts.thresholds.add(at)
        has_numbers = row.total is not None and not row.outdated
        if row.asked is not False:
            state = State.PENDING if row.outdated else State(row.state)
            counts.coverage.add(state, has_numbers=has_numbers)
        if has_numbers:
            if row.total:
                options = {} if at is None else {"threshold": at}
                counts.add_verdicts(verdict_name(at), row, options)
            return
        cell = ", ".join(
            f"{field} {label}"
            for field, label in row.labels.items()
            if field not in self._fields.log
        )
        what = "to be asked again" if row.outdated else row.state
        counts.add_gap(cell, f"{what}: {row.error}" if row.error else what)

    def _threshold(self, row: Row) -> float | None:
        if self._rules.folded_field is None:
            return None
        found: float | None = row.labels.get(self._rules.folded_field)
        return found


def describe_run(row: RunRow, facts: SweepFacts, wanted: Conditions) -> RunIdentity:
    """What the logs of a run say of it; `id` stays the same if the run is renamed or its sweep edited."""
    selection = {"where": dict(wanted.labels)} if wanted.labels else {}
    return RunIdentity(
        id=identify(row.service, row.evaluation, row.created_at, row.id),
        name=row.name,
        evaluation=row.evaluation,
        created_at=row.created_at,
        version=version("nightsweep"),
        metadata={
            "service": row.identity,
            "evaluation": row.evaluation,
            "target": row.target,
            "judge": facts.judge or "the service",
            **selection,
        },
    )

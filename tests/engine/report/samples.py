"""Rows and looks at runs for the tests of reports and of the command line."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import Any, TypeVar

from engine.core.error_kinds import ErrorKind
from engine.core.inspection import JobInfo
from engine.core.rows import Row, Source
from engine.core.runs import RunState, WaitReason
from engine.core.states import State
from engine.core.statistics import failure_rate, rate_bounds, wilson
from engine.core.status import QuotaStatus, Status, Waiting

T = TypeVar("T")


def answered(
    failed: int,
    total: int,
    *,
    source: Source = Source.MEASURED,
    lacking: Mapping[str, int] | None = None,
    asked: bool | None = True,
    digests: Mapping[str, str | None] | None = None,
    **labels: Any,
) -> Row:
    low, high = wilson(failed, total) or (None, None)
    lacking = lacking or {}
    lowest, highest = rate_bounds(failed, total, sum(lacking.values())) or (None, None)
    return Row(
        labels=labels,
        digests=digests or {},
        asked=asked,
        state="succeeded",
        source=source,
        passed=total - failed,
        failed=failed,
        total=total,
        failure_rate=failure_rate(failed, total),
        ci_low=low,
        ci_high=high,
        unanswered=sum(lacking.values()),
        unanswered_reasons=lacking,
        lowest_rate=lowest,
        highest_rate=highest,
    )


def unanswered(state: str, error: str | None = None, **labels: Any) -> Row:
    return Row(labels=labels, state=state, source=Source.MISSING, error=error)


def given(rows: Sequence[T]) -> Callable[[], AsyncIterator[T]]:
    async def again() -> AsyncIterator[T]:
        for row in rows:
            yield row

    return again


SAMPLE = (
    answered(3, 10, model="anthropic/claude", prompt="bare", group="self_harm", threshold=0.3),
    answered(
        4,
        10,
        source=Source.DERIVED,
        model="anthropic/claude",
        prompt="bare",
        group="self_harm",
        threshold=0.5,
    ),
    unanswered(
        "failed",
        "Unknown model: qwen/qwen9",
        model="qwen/qwen9",
        prompt="bare",
        group="self_harm",
        threshold=0.3,
    ),
    unanswered("waiting", model="qwen/qwen9", prompt="bare", group="self_harm", threshold=0.5),
)


def status(**changes: Any) -> Status:
    values: dict[str, Any] = {
        "run": "crisis-safety",
        "state": RunState.ACTIVE,
        "reason": None,
        "message": "",
        "resume_at": None,
        "cells": 5000,
        "cells_done": 1234,
        "cells_failed": 20,
        "jobs": {
            "pending": 2600,
            "running": 16,
            "waiting": 120,
            "succeeded": 411,
            "failed": 7,
            "cancelled": 0,
        },
        "tests_passed": 8000,
        "tests_failed": 312,
        "requests_per_min": 58.4,
        "rate_per_min": 60,
        "seconds_left": 3720.0,
        "binding": "rate",
        "waiting": (
            Waiting(lane="anthropic/claude", why=WaitReason.RATE, jobs=2700, until=None),
            Waiting(lane="qwen/qwen3", why=WaitReason.RETRY, jobs=20, until=1_700_000_000.0),
        ),
        "quotas": (
            QuotaStatus(name="tests", period="2026-11", used=1234, reserved=12, allotted=5000),
        ),
        "at": 1_699_990_000.0,
        "errors": (
            ErrorKind(message="not found (404)", jobs=7, example="Unknown model: qwen/qwen9"),
        ),
    }
    return Status(**(values | changes))


def job_info(**changes: Any) -> JobInfo:
    """A job that has succeeded."""
    values: dict[str, Any] = {
        "id": 1,
        "key": "0" * 64,
        "state": State.SUCCEEDED,
        "lane": "a",
        "labels": {"model": "a", "repeat": 1},
        "cells": (),
        "asked": True,
        "attempts": 1,
        "due_at": None,
        "outcome": None,
        "status": None,
        "sent_at": None,
        "ended_at": None,
        "error": None,
        "error_kind": None,
        "detail": None,
        **changes,
    }
    return JobInfo(**values)

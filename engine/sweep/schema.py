"""The pydantic models of a sweep file, except for its matrix and service."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from engine.core.labels import control_characters, is_blank
from engine.core.policy import LaneLimits, Limits, Retry, UnansweredPolicy, UnansweredRule, Window

_NAME_MAX = 100
_WINDOW_PATTERN = "([01][0-9]|2[0-3]):([0-5][0-9])-([01][0-9]|2[0-3]):([0-5][0-9])"
_WINDOW = re.compile(rf"{_WINDOW_PATTERN}\Z")


def check_name(name: str) -> str:
    """Return a name that a run can have; raises ValueError with the mistake for any other."""
    if not 1 <= len(name) <= _NAME_MAX:
        raise ValueError(f"must have 1 to {_NAME_MAX} characters")
    if found := control_characters(name):
        raise ValueError(f"contains control characters ({found})")
    if any(character in name for character in "/\\") or name in (".", ".."):
        raise ValueError("is used in names of files: it must not contain / or \\")
    if is_blank(name):
        raise ValueError("has no visible characters")
    if name != name.strip():
        raise ValueError("has white space at its beginning or end")
    return name


def _check_window(text: str) -> str:
    match = _WINDOW.match(text)
    if match is None:
        raise ValueError('must be two times of day such as "22:00-07:00"')
    if match.group(1, 2) == match.group(3, 4):
        raise ValueError("opens and closes at the same time")
    return text


def _check_timezone(name: str) -> str:
    try:
        ZoneInfo(name)
    except (KeyError, ValueError, OSError):
        raise ValueError("is not a time zone this machine knows, such as Europe/Berlin") from None
    return name


def _check_deadline(text: str) -> str:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(
            "must be a date and time with its zone, such as 2026-11-02T07:00:00+01:00"
        ) from None
    if moment.tzinfo is None:
        raise ValueError("has no time zone: add one, such as Z or +01:00")
    return text


RatePerMin = Annotated[int, Field(ge=1, le=1_000_000)]
InFlight = Annotated[int, Field(ge=1, le=10_000)]


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)


class LaneLimitsPart(_Part):
    """The limits of the models that a pattern matches."""

    rate_per_min: Annotated[
        RatePerMin | None, Field(description="Requests of each of these models in any 60 s.")
    ] = None
    max_in_flight: Annotated[
        InFlight | None, Field(description="Requests of each of these models in flight at once.")
    ] = None


class QuotaPart(_Part):
    """What the sweep may use of the key's monthly quota."""

    tests: Annotated[int, Field(ge=1, description="Tests of this run in a calendar month (UTC).")]


class LimitsPart(_Part):
    """What the run may use, and when."""

    rate_per_min: Annotated[
        RatePerMin | None,
        Field(description="Requests that start in any 60 s, over all processes and restarts."),
    ] = None
    max_in_flight: Annotated[InFlight, Field(description="Requests in flight at once.")] = 16
    models: Annotated[
        dict[str, LaneLimitsPart],
        Field(
            description="Limits of each model that a pattern matches.",
            examples=[{"anthropic/*": {"rate_per_min": 20}}],
        ),
    ] = {}
    quota: QuotaPart | None = None
    requests: Annotated[
        Annotated[int, Field(ge=1)] | None,
        Field(description="Requests of this run in all; then it stops."),
    ] = None
    window: Annotated[
        Annotated[
            str,
            AfterValidator(_check_window),
            Field(json_schema_extra={"pattern": f"^{_WINDOW_PATTERN}$"}),
        ]
        | None,
        Field(
            description="The time of day in which requests start; needs a timezone.",
            examples=["22:00-07:00"],
        ),
    ] = None
    timezone: Annotated[
        Annotated[str, AfterValidator(_check_timezone)] | None,
        Field(description="The IANA time zone of the window.", examples=["Europe/Berlin", "UTC"]),
    ] = None
    deadline: Annotated[
        Annotated[str, AfterValidator(_check_deadline)] | None,
        Field(
            description="Nothing starts after this date and time; it has a zone.",
            examples=["2026-11-02T07:00:00+01:00"],
        ),
    ] = None

    @model_validator(mode="after")
    def _check_pair(self) -> Self:
        if self.window is not None and self.timezone is None:
            raise ValueError("window needs a timezone, such as Europe/Berlin")
        if self.timezone is not None and self.window is None:
            raise ValueError("timezone is only used with a window")
        return self

    def limits(self) -> Limits:
        """Convert to the engine's limits."""
        return Limits(
            rate_per_min=self.rate_per_min,
            max_in_flight=self.max_in_flight,
            models=tuple(
                (name, LaneLimits(**dict(limits))) for name, limits in self.models.items()
            ),
            quota_tests=self.quota.tests if self.quota else None,
            requests=self.requests,
            window=self._window(),
            deadline=datetime.fromisoformat(self.deadline).timestamp() if self.deadline else None,
        )

    def _window(self) -> Window | None:
        if self.window is None or self.timezone is None:
            return None
        start, end = self.window.split("-")
        return Window(start_min=_minutes(start), end_min=_minutes(end), timezone=self.timezone)


class RetryPart(_Part):
    """How often and for how long jobs are retried."""

    attempts: Annotated[int, Field(ge=1, le=100, description="Tries of one job.")] = 6
    base_delay_s: Annotated[
        float, Field(gt=0, le=3600, description="The first wait; waits double, with jitter.")
    ] = 1.0
    max_delay_s: Annotated[float, Field(gt=0, le=86400, description="The longest wait.")] = 300.0
    outage_h: Annotated[
        float,
        Field(
            ge=0,
            le=720,
            description="Hours to wait for a service that is away; 0 for no wait.",
        ),
    ] = 12.0

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.base_delay_s > self.max_delay_s:
            raise ValueError("base_delay_s is above max_delay_s")
        return self

    def retry(self) -> Retry:
        """Convert to the engine's policy."""
        return Retry(**dict(self))


class SweepFile(_Part):
    """The whole file; `service` and `matrix` are read later, by their kinds."""

    name: Annotated[
        str,
        AfterValidator(check_name),
        Field(
            description="The run's name in the store: `run` with the same name continues it.",
            json_schema_extra={
                "minLength": 1,
                "maxLength": _NAME_MAX,
                "pattern": r"^[^/\\]*$",
                "examples": ["crisis-safety"],
            },
        ),
    ]
    service: Annotated[
        Mapping[str, Any],
        Field(description="The service that evaluates: `kind`, and the kind's own settings."),
    ]
    evaluation: Annotated[str, Field(description="The evaluation of the service.")]
    target: Annotated[str | None, Field(description="What is evaluated.")] = None
    matrix: Annotated[
        Mapping[str, Any],
        Field(description="The axes: every combination of their values is a cell."),
    ]
    include: Annotated[
        list[dict[str, Any]],
        Field(description="Cells to add; an axis that is left out takes the matrix' values."),
    ] = []
    exclude: Annotated[
        list[dict[str, Any]],
        Field(
            description="Cells to take out: names, numbers or patterns, all of which must match."
        ),
    ] = []
    limits: LimitsPart = LimitsPart()
    retry: RetryPart = RetryPart()
    fold: Annotated[
        Literal["exact", "always", "never"],
        Field(
            description="Whether one answer serves lower thresholds: by default where that is exact."
        ),
    ] = "exact"
    reuse: Annotated[
        bool, Field(description="Whether answers of other runs in the store are reused.")
    ] = True
    unanswered: Annotated[
        Literal["apart", "fail_job", "as_failed"],
        Field(description="How questions without an answer count."),
    ] = "apart"
    max_unanswered: Annotated[
        float,
        Field(ge=0, le=1, description="The largest share of questions that may have no answer."),
    ] = 0.2

    def policy_on_unanswered(self) -> UnansweredPolicy:
        """Convert `unanswered` and `max_unanswered` to the engine's policy."""
        return UnansweredPolicy(rule=UnansweredRule(self.unanswered), max_share=self.max_unanswered)


def _minutes(time_of_day: str) -> int:
    hours, minutes = time_of_day.split(":")
    return int(hours) * 60 + int(minutes)

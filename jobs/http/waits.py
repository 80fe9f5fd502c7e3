"""Finds how long an answer asks to wait: in its headers, its body and its message.

They need not agree; the longest wait counts, up to one hour.
"""

import re
from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

from jobs.http.explanations import Explanation, mappings_of

LONGEST_WAIT_S = 3600.0
"""The longest wait that is obeyed."""

_EPOCH_S = 1e9
_EPOCH_MS = 1e12
_NUMBER = re.compile(r"[0-9]{1,20}(\.[0-9]*)?", re.ASCII)
_ENORMOUS = re.compile(r"[0-9]+(\.[0-9]*)?", re.ASCII)
_UNITS_S = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_PART = (
    r"[0-9]{1,12}(?:\.[0-9]{1,12})?\s?"
    r"(?:ms|milliseconds?|s(?:ec(?:onds?|s)?)?|m(?:in(?:ute)?s?)?|h(?:ours?|rs?)?|d(?:ays?)?)(?![a-z])"
)
_DURATION = re.compile(rf"{_PART}(?:,?\s?(?:and\s)?{_PART})*", re.I | re.A)
_PARTS = re.compile(r"([0-9.]+)\s?([a-z]+)", re.I | re.A)
_IN_WORDS = re.compile(
    rf"\b(?:try again|retry(?:ing)?|wait|available again|resets?)(?:\s(?:your request|at least|for))?"
    rf"(?:\s(?:in|after))?\s(?:about\s)?((?:{_PART}(?:,?\s?(?:and\s)?)?)+)",
    re.I | re.A,
)
_RESET = re.compile(
    r"(?:x-)?ratelimit-reset(.*)|anthropic-ratelimit(-.+)-reset|x-rate-limit-reset()"
)
_IN_WHOLE_SECONDS = re.compile(r"[0-9]{10}|[0-9-]{10}[Tt ][0-9:]{8}([Zz]|[+-][0-9:]+)?", re.A)
_ROUNDED_S = 1.0
"""A time in whole seconds may have been rounded down by this much."""
_SECONDS_IN_BODY = frozenset(
    {
        "estimated_time",
        "quotaresetdelay",
        "retry_after",
        "retry_after_seconds",
        "retryafter",
        "retryafterseconds",
        "retrydelay",
    }
)
_MS_IN_BODY = frozenset({"retry_after_ms", "retryafterms"})


def find_wait_s(
    headers: Mapping[str, str], explanation: Explanation, now: float, *, throttled: bool
) -> float | None:
    """The longest wait that an answer asks for, in 0..3600 seconds; None if it asks for none.

    `now` is in epoch seconds. The time at which a limit is reset counts only if the answer is `throttled`
    and nothing is left of the limit.
    """
    waits: list[float] = [
        *_retry_after(headers, now),
        *(_resets(headers, now) if throttled else ()),
        *_in_body(explanation.document, now, throttled=throttled),
        *_in_words(explanation.text if explanation.has_message else ""),
    ]
    if throttled and any("perday" in name for name in explanation.names):
        # Gemini asks for seconds even if the day's requests are used up.
        waits.append(LONGEST_WAIT_S)
    if not waits:
        return None
    return min(max(0.0, *waits), LONGEST_WAIT_S)


def seconds_of(value: str, now: float) -> float | None:
    """The wait that a text means, in seconds from `now` and never negative; None if it cannot be read.

    It contains seconds (`2.5`), a duration (`1m30s`, `120ms`), seconds or milliseconds since the epoch, an
    HTTP date or one in ISO 8601; a time in the past gives 0.
    """
    value = value.strip()
    if _NUMBER.fullmatch(value):
        number = float(value)
        if number >= _EPOCH_MS:
            return max(0.0, number / 1000 - now)
        return max(0.0, number - now) if number >= _EPOCH_S else number
    if _ENORMOUS.fullmatch(value):
        return LONGEST_WAIT_S
    if _DURATION.fullmatch(value):
        return _duration_s(value)
    at = _moment(value)
    return None if at is None else max(0.0, at - now)


def _duration_s(text: str) -> float:
    parts = (found.groups() for found in _PARTS.finditer(text))
    return sum(float(number) * _unit_s(unit.lower()) for number, unit in parts)


def _unit_s(unit: str) -> float:
    short = "ms" if unit.startswith(("ms", "milli")) else unit[0]
    return _UNITS_S[short]


def _moment(value: str) -> float | None:
    """The time of a date in epoch seconds; without a zone it is in UTC."""
    for parse in (parsedate_to_datetime, datetime.fromisoformat):
        try:
            moment = parse(value)
            return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
        except (ValueError, TypeError, OverflowError, IndexError):
            continue
    return None


def _retry_after(headers: Mapping[str, str], now: float) -> Iterator[float]:
    for name in ("retry-after-ms", "x-ms-retry-after-ms"):
        value = headers.get(name, "").strip()
        if _NUMBER.fullmatch(value):
            yield float(value) / 1000
    value = headers.get("retry-after", "")
    if (wait_s := seconds_of(value, now)) is not None:
        yield wait_s


def _resets(headers: Mapping[str, str], now: float) -> Iterator[float]:
    lower = {name.lower(): value for name, value in headers.items()}
    for name, value in lower.items():
        found = _RESET.fullmatch(name)
        if found is None or lower.get(name.replace("reset", "remaining"), "0").strip() != "0":
            continue
        if (wait_s := seconds_of(value, now)) is not None:
            yield wait_s + (_ROUNDED_S if _IN_WHOLE_SECONDS.fullmatch(value.strip()) else 0.0)


def _in_body(document: Any, now: float, *, throttled: bool) -> Iterator[float]:
    for one in mappings_of(document):
        for key, value in one.items():
            name = str(key).lower()
            if name == "headers" and throttled and isinstance(value, Mapping):
                # OpenRouter puts the headers of the limit into its error.
                texts = {str(header): str(text) for header, text in value.items()}
                yield from _resets(texts, now)
            elif name in _SECONDS_IN_BODY and (wait_s := _value_s(value, now)) is not None:
                yield wait_s
            elif name in _MS_IN_BODY and isinstance(value, int | float):
                yield float(min(max(value, 0), LONGEST_WAIT_S * 1000)) / 1000


def _value_s(value: Any, now: float) -> float | None:
    match value:
        case bool():
            return None
        case str():
            return seconds_of(value, now)
        case int() | float():
            return float(min(max(value, 0), LONGEST_WAIT_S))
        case {"seconds": int() | float() | str() as seconds}:
            return _value_s(seconds, now)
    return None


def _in_words(text: str) -> Iterator[float]:
    for found in _IN_WORDS.finditer(text):
        yield _duration_s(found.group(1))

"""Permits: starts within a rate and within tokens at once, and room kept for whoever waits.

Several processes ask for permits under one name. Left alone, small calls would fill every bit of room
before a large one fits. So who is refused gets a place in the line of the name, and the others leave
room for the first call that it waits with. A place is lost to somebody who does not ask again.
"""

import json
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

from engine.core import rates, tokens
from engine.core.rates import CLOCK_TOLERANCE_S

_HORIZON_S = 0.2
PLACE_S = 10.0
"""How long a place in the line is kept for somebody who does not ask again."""
PATIENCE_S = 0.25
"""When to ask again at the earliest where others, who go first, leave no room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PermitRequest:
    """Calls that wait for a permit, by the tokens that each is estimated at.

    `who` is the name of the one who asks, which nobody else ever has; `lead_s` how far ahead of now the
    first start is taken: what it takes until it can be used. A limit that is None does not bind.
    """

    name: str
    who: str
    calls: tuple[int, ...]
    rate_per_min: int | None = None
    tokens_per_min: int | None = None
    lead_s: float = 0.0

    @property
    def horizon_s(self) -> float:
        """How far apart the first and the last start may be that are granted at once.

        Whose commits are slow asks seldom: all that starts until the next time, in one go.
        """
        return max(_HORIZON_S, self.lead_s)


@dataclass(frozen=True, slots=True)
class Granted:
    """When the first calls of a request may start, in order; and when to ask for the next one."""

    slots: tuple[float, ...]
    next_at: float


@dataclass(frozen=True, slots=True)
class Kept:
    """What is kept for a name, as texts: the log of its rate; the log of its tokens, and the line."""

    rate: str = ""
    tokens: str = ""


_Line: TypeAlias = tuple[tuple[str, int, float], ...]
"""(who, tokens of the first call, until when the place is kept), in the order of arrival."""


@dataclass(frozen=True, slots=True)
class _Book:
    """`Kept`, opened."""

    starts: rates.RateLog
    log: tokens.TokenLog
    line: _Line


def take(kept: Kept, request: PermitRequest, *, now: float) -> tuple[Granted, Kept]:
    """Grant the first calls of a request, as many as there is room for; and what to keep from now on.

    That has to be kept even where nothing was granted: the place in the line, and what the logs say of
    a clock that was set back.
    """
    opened = _opened(kept)
    last = now + PLACE_S + CLOCK_TOLERANCE_S
    line = tuple(place for place in opened.line if now < place[2] <= last)
    book = _Book(rates.current(opened.starts, now), tokens.current(opened.log, now), line)
    at = earliest = now + request.lead_s
    slots: list[float] = []
    for call in request.calls:
        at = _next_at(book, request, call, now=now, not_before=at)
        if at > earliest + request.horizon_s:
            break
        book = _started(book, request, call, at)
        slots.append(at)
    if slots:
        # Whoever was served and waits with more comes after those who were not.
        line = tuple(place for place in line if place[0] != request.who)
    if request.tokens_per_min is not None and len(slots) < len(request.calls):
        line = _placed(line, request.who, request.calls[len(slots)], now)
    book = replace(book, line=line)
    return Granted(tuple(slots), at - request.lead_s), _closed(book, kept)


def settle(kept: Kept, *, at: float, estimate: int, taken: int) -> Kept:
    """What to keep once it is known how many tokens the call took that started `at`; 0: it never did."""
    book = _opened(kept)
    log = tokens.settled(book.log, at=at, estimate=estimate, tokens=taken)
    starts = book.starts if taken else rates.refund(book.starts, [at])
    return _closed(replace(book, starts=starts, log=log), kept)


def moved(kept: Kept, back_s: float) -> Kept:
    """What to keep once a clock was set back by so much: all starts and places that much earlier."""
    book = _opened(kept)
    starts = tuple((at - back_s, count) for at, count in book.starts)
    log = tuple((at - back_s, count, of_entry) for at, count, of_entry in book.log)
    line = tuple((who, first, until - back_s) for who, first, until in book.line)
    return _closed(_Book(starts, log, line), kept)


def _next_at(
    book: _Book, request: PermitRequest, call: int, *, now: float, not_before: float
) -> float:
    """When a call could start, the room left alone that is kept for those who were here before."""
    at = not_before
    if request.rate_per_min is not None:
        free = rates.take(
            book.starts, now=now, rate_per_min=request.rate_per_min, want=0, not_before=at
        )
        at = free.next_at
    # What a log can hold: so the start is found there again.
    at = tokens.whole_ms(at)
    limit = request.tokens_per_min
    if limit is not None:
        others = _before(book.line, request.who)
        at = tokens.next_at(book.log, tokens_per_min=limit, tokens=others + call, not_before=at)
        if others and others + call > limit:
            at = max(at, now + request.lead_s + request.horizon_s + PATIENCE_S)
    return at


def _started(book: _Book, request: PermitRequest, call: int, at: float) -> _Book:
    if request.rate_per_min is not None:
        book = replace(book, starts=rates.appended(book.starts, [at]))
    if request.tokens_per_min is not None:
        book = replace(book, log=tokens.appended(book.log, at=at, tokens=call))
    return book


def _before(line: _Line, who: str) -> int:
    """The tokens that those wait for who have a place before `who`, or any place if it has none."""
    ahead = 0
    for other, first, _ in line:
        if other == who:
            break
        ahead += first
    return ahead


def _placed(line: _Line, who: str, first: int, now: float) -> _Line:
    """The line with a place for `who`; a place that it has is written anew only now and then."""
    mine = (who, first, tokens.whole_ms(now + PLACE_S))
    for index, place in enumerate(line):
        if place[0] == who:
            is_fresh = place[1] == first and place[2] > now + PLACE_S / 2
            return line if is_fresh else (*line[:index], mine, *line[index + 1 :])
    return (*line, mine)


def _opened(kept: Kept) -> _Book:
    written: dict[str, Any] = json.loads(kept.tokens) if kept.tokens else {"log": [], "line": []}
    return _Book(
        rates.decode(kept.rate),
        tokens.decode(written["log"]),
        tuple((who, first, until) for who, first, until in written["line"]),
    )


def _closed(book: _Book, before: Kept) -> Kept:
    """As texts; what was never used stays as it is."""
    if not (book.log or book.line or before.tokens):
        return replace(before, rate=rates.encode(book.starts))
    written = {"log": tokens.encode(book.log), "line": book.line}
    text = json.dumps(written, separators=(",", ":"))
    return Kept(rates.encode(book.starts) if book.starts or before.rate else "", text)

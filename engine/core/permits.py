"""Permits: starts within several rates and within tokens at once, and room kept for those that wait.

Several processes ask for permits under one name. Left alone, small calls would fill every bit of room
before a large one fits. So who is refused gets a place in the line of the name, and the others leave
room for the first call that it waits with. A place is lost to somebody who does not ask again.
"""

import json
from collections.abc import Iterable, Mapping
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
class PermitLimit:
    """What may start in any 60 s under one name: calls, and the tokens that they take.

    A limit that is None does not bind.
    """

    name: str
    rate_per_min: int | None = None
    tokens_per_min: int | None = None

    @property
    def binds(self) -> bool:
        """Whether anything ever waits for it."""
        return self.rate_per_min is not None or self.tokens_per_min is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class PermitCap:
    """A quota row, by name and period, of whose `allotted` requests each call takes one."""

    name: str
    period: str
    allotted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PermitRequest:
    """Calls that wait for a permit, by the tokens that each is estimated at.

    Each starts within all `limits` at once, and under the `cap` if there is one. `who` is the name of the
    one that asks, unique over all processes, which begins with its worker and its run; `lead_s` how far ahead of now the first start is taken: what
    it takes until it can be used.
    """

    who: str
    calls: tuple[int, ...]
    limits: tuple[PermitLimit, ...]
    cap: PermitCap | None = None
    lead_s: float = 0.0

    @property
    def horizon_s(self) -> float:
        """How far apart the first and the last start may be that are granted at once.

        Whose commits are slow asks seldom: all that starts until the next time, in one go.
        """
        return max(_HORIZON_S, self.lead_s)


@dataclass(frozen=True, slots=True)
class Granted:
    """When the first calls of a request may start, in order; and when to ask for the next one.

    `asked_at` is the time from which they were looked for. `is_used_up`: nothing is left under the cap, and no time will change that.
    """

    slots: tuple[float, ...]
    next_at: float
    asked_at: float
    is_used_up: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PermitStart:
    """A call that was granted its start, as it is settled."""

    at: float
    estimate: int
    names: tuple[str, ...]
    """The limits that learn what it took."""
    cap: PermitCap | None = None


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


def take(
    kept: Mapping[str, Kept], request: PermitRequest, *, now: float
) -> tuple[Granted, dict[str, Kept]]:
    """Grant the first calls of a request, as many as there is room for; and what to keep from now on.

    `kept` is what was kept under the names of the request's limits. It has to be written again even where
    nothing was granted: the places in the lines, and what the logs say of a clock that was set back.
    """
    before = {limit.name: kept.get(limit.name, Kept()) for limit in request.limits}
    books = {name: _current(_opened(one), now) for name, one in before.items()}
    at = earliest = now + request.lead_s
    slots: list[float] = []
    for call in request.calls:
        at = _next_in_all(books, request, call, now=now, not_before=at)
        if at > earliest + request.horizon_s:
            break
        for limit in request.limits:
            books[limit.name] = _started(books[limit.name], limit, call, at)
        slots.append(at)
    for limit in request.limits:
        books[limit.name] = _lined_up(books[limit.name], limit, request, len(slots), now)
    after = {name: _closed(book, before[name]) for name, book in books.items()}
    return Granted(tuple(slots), at - request.lead_s, now), after


def _current(book: _Book, now: float) -> _Book:
    """What of a book still matters."""
    last = now + PLACE_S + CLOCK_TOLERANCE_S
    line = tuple(place for place in book.line if now < place[2] <= last)
    return _Book(rates.current(book.starts, now), tokens.current(book.log, now), line)


def _lined_up(
    book: _Book, limit: PermitLimit, request: PermitRequest, granted: int, now: float
) -> _Book:
    """The book with the place in its line of who asked, after so many calls were granted."""
    line = book.line
    if granted:
        # Whoever was served and waits with more comes after those who were not.
        line = tuple(place for place in line if place[0] != request.who)
    if limit.tokens_per_min is not None and granted < len(request.calls):
        line = _placed(line, request.who, request.calls[granted], now)
    return replace(book, line=line)


def settle(kept: Kept, *, at: float, estimate: int, taken: int) -> Kept:
    """What to keep once it is known how many tokens the call took that started `at`; 0: it never did."""
    book = _opened(kept)
    log = tokens.settled(book.log, at=at, estimate=estimate, tokens=taken)
    starts = book.starts if taken else rates.refund(book.starts, [at])
    return _closed(replace(book, starts=starts, log=log), kept)


def joined(kept: Iterable[Kept]) -> Kept:
    """What was started under several names, under one; nobody waits in its line."""
    books = [_opened(one) for one in kept]
    starts = sorted(start for book in books for start in book.starts)
    log = sorted(entry for book in books for entry in book.log)
    return _closed(_Book(tuple(starts), tuple(log), ()), Kept())


def moved(kept: Kept, back_s: float) -> Kept:
    """What to keep once a clock was set back by so much: all starts and places that much earlier."""
    book = _opened(kept)
    starts = tuple((at - back_s, count) for at, count in book.starts)
    log = tuple((at - back_s, count, of_entry) for at, count, of_entry in book.log)
    line = tuple((who, first, until - back_s) for who, first, until in book.line)
    return _closed(_Book(starts, log, line), kept)


def _next_in_all(
    books: Mapping[str, _Book], request: PermitRequest, call: int, *, now: float, not_before: float
) -> float:
    """When a call could start within all limits at once."""
    at = tokens.whole_ms(not_before)
    while True:
        latest = at
        for limit in request.limits:
            at = _next_at(books[limit.name], limit, request, call, now=now, not_before=at)
        if at == latest:
            return at


def _next_at(
    book: _Book,
    limit: PermitLimit,
    request: PermitRequest,
    call: int,
    *,
    now: float,
    not_before: float,
) -> float:
    """When a call could start, the room left alone that is kept for those who were here before."""
    at = not_before
    if limit.rate_per_min is not None:
        free = rates.take(
            book.starts, now=now, rate_per_min=limit.rate_per_min, want=0, not_before=at
        )
        at = free.next_at
    # What a log can hold: so the start is found there again.
    at = tokens.whole_ms(at)
    if (most := limit.tokens_per_min) is not None:
        others = _before(book.line, request.who)
        at = tokens.next_at(book.log, tokens_per_min=most, tokens=others + call, not_before=at)
        if others and others + call > most:
            at = max(at, now + request.lead_s + request.horizon_s + PATIENCE_S)
    return at


def _started(book: _Book, limit: PermitLimit, call: int, at: float) -> _Book:
    if limit.rate_per_min is not None:
        book = replace(book, starts=rates.appended(book.starts, [at]))
    if limit.tokens_per_min is not None:
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

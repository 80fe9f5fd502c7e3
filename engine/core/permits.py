"""Permits: starts within several rates and tokens at once, and room kept for callers that wait.

Several processes ask for permits under one name. Left alone, small calls would fill every bit of room
before a large one fits. So a refused caller gets a place in the line of the name, and the others leave
room for its first waiting call. A caller that does not ask again loses its place.

The caller that asks furthest ahead would get every start of a rate. So all callers in line ask as far
ahead as the one that asks furthest, and a place that waits for the rate has a turn: until the turn is
over, the places behind it take nothing. A caller that misses its turn, such as a stopped process,
delays the others once.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from itertools import takewhile
from typing import Any, NamedTuple, TypeAlias

from engine.core import rates, tokens
from engine.core.rates import CLOCK_TOLERANCE_S, PACE, SPAN_S, WINDOW_S

_HORIZON_S = 0.2
PLACE_S = 10.0
"""How long a place in the line is kept for a caller that does not ask again."""
_SAME_S = 0.002
"""Times closer together than this differ only by the rounding of a log."""
PATIENCE_S = 0.25
"""The shortest wait before asking again, if callers that go first leave no room."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PermitLimit:
    """The calls that may start in any 60 s under one name, and the tokens that they may take.

    None is no limit.
    """

    name: str
    rate_per_min: int | None = None
    tokens_per_min: int | None = None

    @property
    def binds(self) -> bool:
        """Whether it limits anything."""
        return self.rate_per_min is not None or self.tokens_per_min is not None


@dataclass(frozen=True, slots=True, kw_only=True)
class PermitCap:
    """A quota row, by name and period; each call takes one of its `allotted` requests."""

    name: str
    period: str
    allotted: int


@dataclass(frozen=True, slots=True, kw_only=True)
class PermitRequest:
    """Calls that wait for a permit, by the tokens that each is estimated at.

    Each starts within all `limits` at once, and under the `cap` if there is one. `caller` is a name,
    unique over all processes, that begins with its worker and its run. `lead_s` is how far ahead of
    now the first start is taken: the time until it can be used. `last_at` is the latest start that
    the caller was granted.
    """

    caller: str
    calls: tuple[int, ...]
    limits: tuple[PermitLimit, ...]
    cap: PermitCap | None = None
    lead_s: float = 0.0
    last_at: float = 0.0

    @property
    def horizon_s(self) -> float:
        """How far apart the first and the last start granted at once may be, in seconds.

        When commits are slow the caller asks rarely, so it takes every start up to the next time.
        """
        return max(_HORIZON_S, self.lead_s)


@dataclass(frozen=True, slots=True)
class PermitGrant:
    """When the first calls of a request may start, in order, and when to ask for the next ones.

    `asked_at` is the time of the request. `is_used_up`: nothing is left under the cap, which no
    wait will change.
    """

    slots: tuple[float, ...]
    next_at: float
    asked_at: float
    is_used_up: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PermitStart:
    """A call that was granted its start and is now settled."""

    at: float
    estimate: int
    names: tuple[str, ...]
    """The limits to which the tokens that it took are reported."""
    cap: PermitCap | None = None


@dataclass(frozen=True, slots=True)
class PermitState:
    """What is stored for a name, as JSON: the log of its rate; the log of its tokens with the line."""

    rate: str = ""
    tokens: str = ""


class _Place(NamedTuple):
    """A place in the line of a name."""

    caller: str
    first: int
    """The tokens of its first waiting call."""
    until: float
    """When the place expires."""
    turn_until: float = 0.0
    """Places behind it start nothing before this time; 0 if it waits for no rate."""
    lead_s: float = 0.0


_Line: TypeAlias = tuple[_Place, ...]
"""In the order of arrival."""


@dataclass(frozen=True, slots=True)
class _Book:
    """`PermitState`, decoded."""

    starts: rates.RateLog
    log: tokens.TokenLog
    line: _Line


def take(
    states: Mapping[str, PermitState], request: PermitRequest, *, now: float
) -> tuple[PermitGrant, dict[str, PermitState]]:
    """Grant the first calls of a request, as many as there is room for; returns what to store, too.

    `states` are stored under the names of the request's limits. Store the returned value even
    if nothing was granted: places in the lines and entries of a clock that was set back change.
    """
    before = {limit.name: states.get(limit.name, PermitState()) for limit in request.limits}
    opened = {name: _decode(one) for name, one in before.items()}
    books = {name: _current(book, now) for name, book in opened.items()}
    mine_s = request.lead_s
    request = replace(request, lead_s=_lead_s(books.values(), mine_s))
    at, earliest = now + mine_s, now + request.lead_s
    turn_at = max((_turn_at(book.line, request.caller) for book in books.values()), default=0.0)
    slots: list[float] = []
    for call in request.calls:
        at = _next_in_all(books, request, call, now=now, not_before=at)
        if turn_at > earliest or at > earliest + request.horizon_s:
            break
        for limit in request.limits:
            books[limit.name] = _add_start(books[limit.name], limit, call, at)
        slots.append(at)
    if slots:
        # A caller that was served and has more requests goes behind those that were not.
        books = {name: _leave_line(book, request.caller) for name, book in books.items()}
        request = replace(request, last_at=slots[-1], calls=request.calls[len(slots) :])
    at = max([at, *(_turn_at(book.line, request.caller) for book in books.values())])
    for limit in request.limits:
        book = books[limit.name]
        line = _line_after(book, limit, request, at, mine_s=mine_s, now=now)
        books[limit.name] = replace(book, line=line)
    after = {
        name: before[name] if _is_stored(opened[name], book) else _encode(book, before[name])
        for name, book in books.items()
    }
    return PermitGrant(tuple(slots), at - request.lead_s, now), after


def _current(book: _Book, now: float) -> _Book:
    """The book without expired places and entries."""
    last = now + SPAN_S + PLACE_S + CLOCK_TOLERANCE_S
    line = tuple(place for place in book.line if now < place.until <= last)
    return _Book(rates.current(book.starts, now), tokens.current(book.log, now), line)


def _is_stored(before: _Book, after: _Book) -> bool:
    """Whether everything in `after` is stored already, so that nothing has to be written."""
    return (
        before.starts[len(before.starts) - len(after.starts) :] == after.starts
        and before.log[len(before.log) - len(after.log) :] == after.log
        and set(before.line).issuperset(after.line)
        and len(before.line) == len(after.line)
    )


def _leave_line(book: _Book, caller: str) -> _Book:
    """The book without the place of `caller`."""
    return replace(book, line=tuple(place for place in book.line if place.caller != caller))


def _lead_s(books: Iterable[_Book], mine_s: float) -> float:
    """How far ahead all callers in line take their starts: as far as the slowest."""
    return max([mine_s, *(place.lead_s for book in books for place in book.line)])


def _turn_at(line: _Line, caller: str) -> float:
    """When the turns of all places before the caller's are over; of all places, if it has none."""
    return max((place.turn_until for place in _before(line, caller)), default=0.0)


def _line_after(
    book: _Book, limit: PermitLimit, request: PermitRequest, at: float, *, mine_s: float, now: float
) -> _Line:
    """The line with a place for the calls of a request, none of which can start before `at`.

    A caller that waits for a rate needs none while no other caller starts anything.
    """
    mine = _Place(request.caller, 0, tokens.whole_ms(now + PLACE_S), lead_s=round(mine_s, 3))
    others = _leave_line(book, request.caller).line
    is_shared = bool(others) or bool(book.starts and book.starts[-1][0] > request.last_at + _SAME_S)
    if request.calls and limit.tokens_per_min is not None:
        mine = mine._replace(first=request.calls[0])
    if request.calls and limit.rate_per_min is not None and is_shared:
        mine = _with_turn(mine, book, limit.rate_per_min, request, at, now)
    if mine.first or mine.turn_until or others:
        return _put_in_line(book.line, mine, now)
    return ()


def _with_turn(
    mine: _Place, book: _Book, rate_per_min: int, request: PermitRequest, at: float, now: float
) -> _Place:
    """Give the place a turn from `at`, if this is the rate that its calls wait for."""
    free = rates.take(
        book.starts,
        now=now,
        rate_per_min=rate_per_min,
        want=0,
        not_before=now + request.lead_s,
    ).next_at
    if max(free, _turn_at(book.line, request.caller)) < at - _SAME_S:
        return mine
    spacing_s = PACE * WINDOW_S / rate_per_min
    batch_s = min(len(request.calls) * spacing_s, request.horizon_s)
    turn_until = at + min(max(spacing_s, batch_s), PLACE_S)
    # A caller that also waits for tokens asks every few seconds; any other at its given time.
    until = mine.until if mine.first else max(mine.until, at - request.lead_s + PLACE_S)
    return mine._replace(turn_until=tokens.whole_ms(turn_until), until=tokens.whole_ms(until))


def settle(state: PermitState, *, at: float, estimate: int, taken: int) -> PermitState:
    """Record the tokens that a call started `at` took, 0 if it was never made; returns what to store."""
    book = _decode(state)
    log = tokens.settle(book.log, at=at, estimate=estimate, tokens=taken)
    starts = book.starts if taken else rates.refund(book.starts, [at])
    return _encode(replace(book, starts=starts, log=log), state)


def merge(states: Iterable[PermitState]) -> PermitState:
    """Merge the starts of several names, sorted by time; the line of waiting calls is empty in the result."""
    books = [_decode(one) for one in states]
    starts = sorted(start for book in books for start in book.starts)
    log = sorted(entry for book in books for entry in book.log)
    return _encode(_Book(tuple(starts), tuple(log), ()), PermitState())


def shift_back(state: PermitState, back_s: float) -> PermitState:
    """Move all starts and places `back_s` seconds earlier, after the clock was set back by as much."""
    book = _decode(state)
    starts = tuple((at - back_s, count) for at, count in book.starts)
    log = tuple((at - back_s, count, of_entry) for at, count, of_entry in book.log)
    line = tuple(
        place._replace(until=place.until - back_s, turn_until=max(0.0, place.turn_until - back_s))
        for place in book.line
    )
    return _encode(_Book(starts, log, line), state)


def _next_in_all(
    books: Mapping[str, _Book], request: PermitRequest, call: int, *, now: float, not_before: float
) -> float:
    """The earliest time at which a call could start within all limits."""
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
    """The earliest time at which a call could start without the room kept for places before it."""
    at = not_before
    if limit.rate_per_min is not None:
        free = rates.take(
            book.starts, now=now, rate_per_min=limit.rate_per_min, want=0, not_before=at
        )
        at = free.next_at
    # A log holds whole milliseconds; without rounding the start would not be found there again.
    at = tokens.whole_ms(at)
    if (most := limit.tokens_per_min) is not None:
        others = sum(place.first for place in _before(book.line, request.caller))
        at = tokens.next_at(book.log, tokens_per_min=most, tokens=others + call, not_before=at)
        if others and others + call > most:
            at = max(at, now + request.lead_s + request.horizon_s + PATIENCE_S)
    return at


def _add_start(book: _Book, limit: PermitLimit, call: int, at: float) -> _Book:
    if limit.rate_per_min is not None:
        book = replace(book, starts=rates.append_starts(book.starts, [at]))
    if limit.tokens_per_min is not None:
        book = replace(book, log=tokens.append_start(book.log, at=at, tokens=call))
    return book


def _before(line: _Line, caller: str) -> Iterable[_Place]:
    """The places before the caller's; all of them, if it has none."""
    return takewhile(lambda place: place.caller != caller, line)


def _put_in_line(line: _Line, mine: _Place, now: float) -> _Line:
    """The line with a place added; an existing place is rewritten only if it has changed or will expire soon."""
    for index, place in enumerate(line):
        if place.caller == mine.caller:
            is_fresh = (
                place.first == mine.first
                and place.until > now + PLACE_S / 2
                and abs(place.turn_until - mine.turn_until) <= PATIENCE_S
                and abs(place.lead_s - mine.lead_s) <= max(_HORIZON_S / 4, mine.lead_s / 10)
            )
            return line if is_fresh else (*line[:index], mine, *line[index + 1 :])
    return (*line, mine)


def _decode(state: PermitState) -> _Book:
    written: dict[str, Any] = json.loads(state.tokens) if state.tokens else {"log": [], "line": []}
    return _Book(
        rates.decode(state.rate),
        tokens.decode(written["log"]),
        tuple(_Place(*place) for place in written["line"]),
    )


def _encode(book: _Book, before: PermitState) -> PermitState:
    """Encode the book; a part that was never used stays empty."""
    if not (book.log or book.line or before.tokens):
        return replace(before, rate=rates.encode(book.starts))
    written = {"log": tokens.encode(book.log), "line": book.line}
    text = json.dumps(written, separators=(",", ":"))
    return PermitState(rates.encode(book.starts) if book.starts or before.rate else "", text)

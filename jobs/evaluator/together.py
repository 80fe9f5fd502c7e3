"""Many calls of one evaluation at once, and what becomes of those that end in an error."""

from collections.abc import Awaitable, Callable, Sequence
from typing import TypeVar

import anyio

from engine.job import (
    JobError,
    Permanent,
    QuotaExceeded,
    RateLimited,
    Transient,
    Unauthorized,
    Unhealthy,
)

_AT_ONCE = 32
"""Questions of one evaluation that are looked up or under way."""

# Whichever comes first in this list decides what becomes of the job.
_GRAVEST_FIRST = (Unauthorized, QuotaExceeded, Unhealthy, RateLimited, Permanent, Transient)
# After one of these the next question would meet the same.
_STOPS = (Unauthorized, QuotaExceeded, Unhealthy, RateLimited)

Thing = TypeVar("Thing")
Result = TypeVar("Result")


async def each(
    things: Sequence[Thing],
    work: Callable[[Thing], Awaitable[Result]],
    case_of: Callable[[Thing], str],
) -> list[Result]:
    """The result of `work` on each thing, in their order.

    When any has none, the gravest JobError is raised once the others are done: it tells how many are
    left, and the case of the first.
    """
    results: dict[int, Result] = {}
    errors: dict[int, JobError] = {}
    at_once = anyio.CapacityLimiter(_AT_ONCE)

    async def one(place: int, thing: Thing) -> None:
        async with at_once:
            if any(isinstance(error, _STOPS) for error in errors.values()):
                return
            try:
                results[place] = await work(thing)
            except JobError as error:
                errors[place] = error

    async with anyio.create_task_group() as group:
        for place, thing in enumerate(things):
            group.start_soon(one, place, thing, name=f"question {place}")
    if errors:
        raise _gravest([case_of(thing) for thing in things], len(results), errors)
    return [results[place] for place in range(len(things))]


def _gravest(cases: Sequence[str], answered: int, errors: dict[int, JobError]) -> JobError:
    """The error that decides, told with how many questions it is about."""

    def rank(place: int) -> tuple[int, int]:
        kinds = [n for n, kind in enumerate(_GRAVEST_FIRST) if isinstance(errors[place], kind)]
        return min(kinds, default=len(_GRAVEST_FIRST)), place

    worst = min(errors, key=rank)
    error = errors[worst]
    told = f"{len(cases) - answered} of {len(cases)} questions unanswered, such as {cases[worst]}"
    error.detail = f"{told}: {error.detail}" if error.detail else told
    # What the others cost was spent.
    error.sent = bool(answered) or any(other.sent for other in errors.values())
    return error

"""After a 429 a lane's requests follow evenly, at the pace that the service has let through."""

from collections import deque
from itertools import pairwise

import pytest

from engine.kinds import Answer, Job, RateLimited, Sends
from engine.testing import FakeClock, Memory, ScriptedKind, ScriptedService
from tests.engine.scenes import NOW, RARE_POLLS, finished, good, opened, starts, sweep

AT_ONCE = 32


class Strict:
    """A service that answers at most 60 requests in any minute, and refuses all others."""

    def __init__(self, clock: FakeClock, *, says_how_long: bool) -> None:
        self._clock = clock
        self._says_how_long = says_how_long
        self._taken: deque[float] = deque()

    def __call__(self, job: Job) -> Answer | Exception:
        now = self._clock.now()
        while self._taken and self._taken[0] <= now - 60.0:
            self._taken.popleft()
        if len(self._taken) < 60:
            self._taken.append(now)
            return good(job)
        wait_s = self._taken[0] + 60.0 - now if self._says_how_long else None
        return RateLimited("too many requests", status=429, retry_after_s=wait_s)


@pytest.mark.parametrize("says_how_long", [True, False])
async def test_a_strict_service_is_asked_hardly_more_often_than_it_answers(
    clock: FakeClock, says_how_long: bool
) -> None:
    service = ScriptedService(Strict(clock, says_how_long=says_how_long), takes_s=0.25)
    of = sweep(service, repeats=300, limits={"max_in_flight": AT_ONCE})

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
    ):
        _, status = await finished(engine, of)

    asked = starts(service)
    assert status.jobs["succeeded"] == 300
    # In vain are those of the first burst, when nothing is known yet, and then one now and again.
    assert len(asked) <= 300 + AT_ONCE + 15
    # The service's own pace would be 240 s: 60 at once, and the other 240 at 60 a minute.
    assert asked[-1] - NOW <= 1.6 * 240
    # Never together again once the first wait is over.
    later = [at for at in asked if at > NOW + 70.0]
    assert sum(after - before < 0.2 for before, after in pairwise(later)) <= 15


async def test_a_lane_that_was_refused_leaves_the_others_at_their_own_speed(
    clock: FakeClock,
) -> None:
    strict = Strict(clock, says_how_long=True)
    service = ScriptedService(
        lambda job: strict(job) if job.labels["model"] == "strict" else good(job), takes_s=0.25
    )
    of = sweep(service, models=["strict", "free"], repeats=100, limits={"max_in_flight": AT_ONCE})

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
    ):
        _, status = await finished(engine, of)

    assert status.jobs["succeeded"] == 200
    assert starts(service, "free")[-1] - NOW < 10.0


async def test_a_rate_of_the_sweep_below_the_learnt_pace_still_holds(clock: FakeClock) -> None:
    refusals = iter(range(1))

    def script(job: Job) -> Answer | Exception:
        if next(refusals, None) is not None:
            return RateLimited("too many requests", status=429, retry_after_s=1.0)
        return good(job)

    service = ScriptedService(script)
    of = sweep(service, repeats=40, limits={"models": {"*": {"rate_per_min": 20}}})

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
    ):
        _, status = await finished(engine, of)

    asked = starts(service)
    assert status.jobs["succeeded"] == 40
    assert all(later - first >= 60.0 for first, later in zip(asked, asked[20:], strict=False))


class Evaluation(ScriptedKind):
    """Jobs that make calls of their own, which keep to the pace themselves."""

    sends = Sends.CALLS


async def test_jobs_that_make_calls_go_on_together_when_the_wait_is_over(clock: FakeClock) -> None:
    refusals = iter(range(1))

    def script(job: Job) -> Answer | Exception:
        if job.repeat == 3 and next(refusals, None) is not None:
            return RateLimited("too many requests", status=429, retry_after_s=1.0)
        return good(job)

    service = ScriptedService(script, kind=Evaluation, takes_s=20.0)
    of = sweep(service, repeats=12, limits={"max_in_flight": 4})

    async with (
        opened(Memory(), service, clock, settings=RARE_POLLS) as engine,
        clock.jumping(),
    ):
        _, status = await finished(engine, of)

    assert status.jobs["succeeded"] == 12
    after = [at for at in starts(service) if at >= NOW + 21.0]
    assert after[1] - after[0] < 1.0

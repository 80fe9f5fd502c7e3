import pytest

from engine.core.matrix import JobCount
from engine.core.model import CallLimit, Sends
from engine.core.plan import COST_UNKNOWN, make_plan
from engine.core.policy import LaneLimits, Limits
from engine.core.status import Plan


def count(lane: str, jobs: int, *, cells: int = 0, tests: int | None = 10) -> JobCount:
    return JobCount(lane, jobs, cells or jobs, jobs, tests)


def plan(*counts: JobCount, limits: Limits | None = None) -> Plan:
    return make_plan("night", counts, limits or Limits())


def test_a_plan_adds_up() -> None:
    found = make_plan(
        "night",
        [count("a", 2, cells=6), count("b", 1), count("a", 3)],
        Limits(),
        unknown=["the weather"],
    )

    assert found == Plan(
        sweep="night",
        cells=10,
        jobs=6,
        jobs_unfolded=10,
        requests=6,
        expected_tests=60,
        hours=None,
        binding="",
        lanes={"a": 5, "b": 1},
        unknown=("the weather",),
    )


def test_the_calls_of_a_job_are_those_of_each_of_its_repeats() -> None:
    talks = JobCount("a", 3, 3, 12, 1, calls={"target": 3, "judge": 1})
    asks = JobCount("a", 1, 1, 2, 1, calls={"target": 2})

    found = plan(talks, asks)

    assert found.calls == {"target": 11, "judge": 3}
    assert found.requests == 14


def test_one_job_of_unknown_cost_makes_the_whole_unknown() -> None:
    found = plan(count("a", 2), count("b", 1, tests=None))

    assert found.expected_tests is None
    assert found.unknown == (COST_UNKNOWN,)


@pytest.mark.parametrize(
    ("limits", "hours", "binding"),
    [
        (Limits(), None, ""),
        (Limits(rate_per_min=60), 1.0, "rate_per_min: 60"),
        (
            Limits(rate_per_min=60, models=(("a/*", LaneLimits(rate_per_min=10)),)),
            2.0,
            "rate_per_min: 10 of a/x",
        ),
        (
            Limits(rate_per_min=60, models=(("a/*", LaneLimits(rate_per_min=50)),)),
            1.0,
            "rate_per_min: 60",
        ),
        (Limits(models=(("b", LaneLimits(rate_per_min=20)),)), 2.0, "rate_per_min: 20 of b"),
        (Limits(models=(("c", LaneLimits(rate_per_min=20)),)), None, ""),
        (
            Limits(rate_per_min=60, quota_tests=35_999),
            1.0,
            "quota: 35999 tests a month of 36000 needed",
        ),
        (Limits(rate_per_min=60, quota_tests=36_000), 1.0, "rate_per_min: 60"),
        (Limits(requests=3599), None, "requests: 3599 of 3600 needed"),
    ],
)
def test_the_limit_that_binds_is_named(limits: Limits, hours: float | None, binding: str) -> None:
    found = plan(count("a/x", 1200), count("b", 2400), limits=limits)

    assert found.hours == hours
    assert found.binding == binding


def test_nothing_to_do_takes_no_time() -> None:
    found = plan(limits=Limits(rate_per_min=60))

    assert (found.cells, found.jobs, found.hours, found.expected_tests) == (0, 0, 0.0, 0)


def local(jobs: int, target: int, judge: int = 0, lane: str = "a") -> JobCount:
    """Jobs that send so many calls each."""
    calls = {"target": target, "judge": judge}
    return JobCount(lane, jobs, jobs, jobs * (target + judge), target, calls=calls)


@pytest.mark.parametrize(
    ("limits", "endpoints", "hours", "binding"),
    [
        (Limits(rate_per_min=60), {}, 600 / 3600, "rate_per_min: 60"),
        # A model's rate is not for its judge.
        (
            Limits(models=(("a", LaneLimits(rate_per_min=20)),)),
            {},
            400 / 20 / 60,
            "rate_per_min: 20 of a",
        ),
        (
            Limits(rate_per_min=600),
            {"judge": CallLimit(name="j", rate_per_min=10)},
            200 / 10 / 60,
            "rate_per_min: 10 of the judge's endpoint",
        ),
        # Roles that share an endpoint share its minute.
        (
            Limits(),
            {
                "target": CallLimit(name="e", rate_per_min=10),
                "judge": CallLimit(name="e", rate_per_min=10),
            },
            600 / 10 / 60,
            "rate_per_min: 10 of the target's endpoint",
        ),
        (
            Limits(rate_per_min=600),
            {"target": CallLimit(name="e", tokens_per_min=6_000, tokens=600)},
            400 * 600 / 6_000 / 60,
            "tokens_per_min: 6000 of the target's endpoint (replies of 600 tokens)",
        ),
        (Limits(rate_per_min=60, requests=500), {}, 600 / 3600, "requests: 500 of 600 needed"),
    ],
)
def test_hours_and_caps_count_the_calls_that_jobs_send(
    limits: Limits, endpoints: dict[str, CallLimit], hours: float, binding: str
) -> None:
    found = make_plan(
        "night", [local(20, 20, 10)], limits, sends=Sends.CALLS, call_limits=endpoints
    )

    assert found.requests == 600
    assert found.hours == pytest.approx(hours)
    assert found.binding == binding
    assert found.is_cut_short == (limits.requests is not None)


def test_what_is_asked_in_this_process_takes_no_rate_and_no_cap() -> None:
    asks = JobCount("a", 10, 10, 0, 20, questions=200)

    found = make_plan("night", [asks], Limits(rate_per_min=1, requests=1), sends=Sends.NOTHING)

    assert (found.requests, found.questions) == (0, 200)
    assert (found.hours, found.binding) == (None, "")

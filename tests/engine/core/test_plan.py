import pytest

from engine.core.matrix import JobCount
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

"""What a sweep would ask for, added up before anything is sent."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence

from engine.core.matrix import JobCount
from engine.core.policy import Limits
from engine.core.status import Plan

COST_UNKNOWN = "the quota that a job costs: the service's answers will tell"


def make_plan(
    sweep: str, counts: Iterable[JobCount], limits: Limits, *, unknown: Sequence[str] = ()
) -> Plan:
    """The plan of a sweep from its jobs' counts.

    `hours` is the time in which requests may start, at the limits of the file: outside a run window
    none does. `binding` names the limit that takes longest, or that ends the run before its time.
    """
    lanes: Counter[str] = Counter()
    calls: Counter[str] = Counter()
    cells = requests = tests = 0
    tests_known, tests_learnt = True, False
    for lane, jobs, of_cells, of_requests, expected, learnt, of_calls in counts:
        lanes[lane] += jobs
        calls.update({whom: count * jobs for whom, count in of_calls.items()})
        cells += of_cells
        requests += of_requests
        if expected is None:
            tests_known = False
        else:
            tests += expected * jobs
            tests_learnt |= learnt
    jobs = lanes.total()
    expected_tests = tests if tests_known else None
    hours, slowest = _hours(lanes, limits)
    return Plan(
        sweep=sweep,
        cells=cells,
        jobs=jobs,
        jobs_unfolded=cells,
        requests=requests,
        calls=dict(calls),
        expected_tests=expected_tests,
        tests_learnt=tests_known and tests_learnt,
        hours=hours,
        binding=_exhausted(jobs, expected_tests, limits) or slowest,
        lanes=dict(lanes),
        unknown=(*unknown, *(() if tests_known else (COST_UNKNOWN,))),
    )


def _hours(lanes: Mapping[str, int], limits: Limits) -> tuple[float | None, str]:
    """The longest that any rate makes the run take, and which rate that is."""
    slowest: list[tuple[float, str]] = []
    if limits.rate_per_min is not None:
        total = sum(lanes.values())
        slowest.append((total / limits.rate_per_min / 60, f"rate_per_min: {limits.rate_per_min}"))
    for lane, jobs in lanes.items():
        rate = limits.for_lane(lane).rate_per_min
        if rate is not None:
            slowest.append((jobs / rate / 60, f"rate_per_min: {rate} of {lane}"))
    return max(slowest, key=lambda found: found[0], default=(None, ""))


def _exhausted(jobs: int, expected_tests: int | None, limits: Limits) -> str:
    """The cap that is used up before the last job, if one surely is."""
    if limits.requests is not None and jobs > limits.requests:
        return f"requests: {limits.requests} of {jobs} needed"
    if (
        limits.quota_tests is not None
        and expected_tests is not None
        and expected_tests > limits.quota_tests
    ):
        return f"quota: {limits.quota_tests} tests a month of {expected_tests} needed"
    return ""

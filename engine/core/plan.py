"""The plan of a sweep: what it would send, added up before anything is sent."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType

from engine.core.loads import Load, RateTime, add, slowest
from engine.core.matrix import JobCount
from engine.core.model import CallLimit, Sends
from engine.core.policy import Limits
from engine.core.status import Plan

COST_UNKNOWN = "the quota that a job costs: the service's answers will tell"
_UNLIMITED: Mapping[str, CallLimit] = MappingProxyType({})


def make_plan(
    sweep: str,
    counts: Iterable[JobCount],
    limits: Limits,
    *,
    sends: Sends = Sends.JOB,
    call_limits: Mapping[str, CallLimit] = _UNLIMITED,
    unknown: Sequence[str] = (),
) -> Plan:
    """Add up the counts of a sweep's jobs; `sends` says what counts as a request of their kind.

    `hours` is the time that the requests take at the limits of the sweep and its endpoints, without
    the hours outside a window. `binding` names the limit that takes longest, or that ends the run
    early. `unknown` lists what only the network can tell.
    """
    loads: dict[str, Load] = {}
    calls: Counter[str] = Counter()
    cells = requests = questions = tests = most_tests = largest = 0
    tests_known, tests_learnt, most_known = True, False, True
    for count in counts:
        add(loads, count, sends)
        calls.update({whom: each * count.jobs for whom, each in count.calls.items()})
        cells += count.cells
        requests += count.requests
        questions += count.questions
        if count.expected_tests is None:
            tests_known = False
        else:
            tests += count.expected_tests * count.jobs
            tests_learnt |= count.learnt
        if count.most_tests is None:
            most_known = False
        else:
            most_tests += count.most_tests * count.jobs
            largest = max(largest, count.most_tests)
    lanes = {lane: round(load.jobs) for lane, load in loads.items()}
    expected_tests = tests if tests_known else None
    bound = slowest(loads, limits, call_limits)
    exhausted = _cap_that_runs_out(
        round(sum(load.requests for load in loads.values())), expected_tests, limits
    )
    return Plan(
        sweep=sweep,
        cells=cells,
        jobs=sum(lanes.values()),
        jobs_unfolded=cells,
        requests=requests,
        questions=questions,
        calls=dict(calls),
        expected_tests=expected_tests,
        tests_learnt=tests_known and tests_learnt,
        most_tests=most_tests if most_known else None,
        most_tests_of_one=largest or None,
        hours=_hours(bound, loads),
        binding=exhausted or ("" if bound is None else bound.written),
        is_cut_short=bool(exhausted),
        lanes=lanes,
        unknown=(*unknown, *(() if tests_known else (COST_UNKNOWN,))),
    )


def _hours(bound: RateTime | None, loads: Mapping[str, Load]) -> float | None:
    if not loads:
        return 0.0
    return None if bound is None else bound.seconds / 3600.0


def _cap_that_runs_out(requests: int, expected_tests: int | None, limits: Limits) -> str:
    """The cap that will surely be used up before the last job; empty if none will."""
    if limits.requests is not None and requests > limits.requests:
        return f"requests: {limits.requests} of {requests} needed"
    if (
        limits.quota_tests is not None
        and expected_tests is not None
        and expected_tests > limits.quota_tests
    ):
        return f"quota: {limits.quota_tests} tests a month of {expected_tests} needed"
    return ""

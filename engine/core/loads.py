"""The requests that jobs send, and the time that they take within each rate."""

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from engine.core.matrix import JobCount
from engine.core.model import TARGET, CallLimit, Sends
from engine.core.policy import Limits


@dataclass(slots=True)
class Load:
    """The requests of one lane's jobs, not counting retries."""

    jobs: float = 0
    requests: float = 0
    calls: dict[str, float] = field(default_factory=dict)
    """The requests by role, if a job calls several models."""

    @property
    def to_model(self) -> float:
        """The requests to the lane's own model."""
        return self.calls.get(TARGET, 0) if self.calls else self.requests

    def times(self, factor: float) -> "Load":
        """The load of `factor` times as many jobs, which may be a fraction; this one is not changed."""
        return replace(self.sending(factor), jobs=self.jobs * factor)

    def sending(self, share: float) -> "Load":
        """The load of as many jobs that send only a `share` (0..1) of the requests; this one is not changed."""
        calls = {whom: count * share for whom, count in self.calls.items()}
        return replace(self, requests=self.requests * share, calls=calls)


@dataclass(frozen=True, slots=True)
class RateTime:
    """The seconds that requests take within one rate, and the rate's name: as in a file, and short."""

    seconds: float
    written: str
    short: str


def loads_of(counts: Iterable[JobCount], sends: Sends) -> dict[str, Load]:
    """The jobs and requests of each lane, by its name; `sends` says what of a job counts as a request."""
    loads: dict[str, Load] = {}
    for count in counts:
        add(loads, count, sends)
    return loads


def add(loads: dict[str, Load], count: JobCount, sends: Sends) -> None:
    """Add the requests of some jobs to `loads`, in place; a lane that is missing is made."""
    load = loads.setdefault(count.lane, Load())
    load.jobs += count.jobs
    match sends:
        case Sends.JOB:
            load.requests += count.jobs
        case Sends.CALLS:
            load.requests += count.requests
            for whom, each in count.calls.items():
                load.calls[whom] = load.calls.get(whom, 0) + each * count.jobs
        case Sends.NOTHING:
            pass


def slowest(
    loads: Mapping[str, Load], limits: Limits, call_limits: Mapping[str, CallLimit]
) -> RateTime | None:
    """The rate within which these loads take longest, of the sweep, of a model or of an endpoint.

    None if there is no rate, or if nothing is sent within one. Tokens per minute are not considered.
    """
    times = [*_of_sweep(loads, limits), *_of_endpoints(loads.values(), call_limits)]
    return max(times, key=lambda found: found.seconds, default=None)


def _of_sweep(loads: Mapping[str, Load], limits: Limits) -> Iterable[RateTime]:
    requests = sum(load.requests for load in loads.values())
    if limits.rate_per_min is not None and requests:
        yield RateTime(
            requests / limits.rate_per_min * 60.0, f"rate_per_min: {limits.rate_per_min}", "rate"
        )
    for lane, load in loads.items():
        rate = limits.for_lane(lane).rate_per_min
        if rate is not None and load.to_model:
            yield RateTime(
                load.to_model / rate * 60.0, f"rate_per_min: {rate} of {lane}", "a model's rate"
            )


def _of_endpoints(
    loads: Iterable[Load], call_limits: Mapping[str, CallLimit]
) -> Iterable[RateTime]:
    calls: defaultdict[str, float] = defaultdict(float)
    for load in loads:
        for one, count in load.calls.items():
            calls[one] += count
    for whom, limit in call_limits.items():
        # Roles that share an endpoint share its rate.
        sharing = {one: other for one, other in call_limits.items() if other.name == limit.name}
        asked = sum(calls[one] for one in sharing)
        if limit.rate_per_min is not None and asked:
            yield RateTime(
                asked / limit.rate_per_min * 60.0,
                f"rate_per_min: {limit.rate_per_min} of the {whom}'s endpoint",
                f"the {whom}'s rate",
            )
        tokens = sum(calls[one] * other.tokens for one, other in sharing.items())
        if limit.tokens_per_min is not None and tokens:
            yield RateTime(
                tokens / limit.tokens_per_min * 60.0,
                f"tokens_per_min: {limit.tokens_per_min} of the {whom}'s endpoint"
                f" (replies of {limit.tokens:,} tokens)",
                f"the {whom}'s tokens",
            )

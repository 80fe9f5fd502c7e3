"""The quota rows of a run: the service's own, and the caps that the sweep sets."""

from typing import Protocol

from engine.core.model import Sends
from engine.core.policy import Limits
from engine.limits import month
from engine.store import QuotaKey


class UsesQuota(Protocol):
    """What a job kind declares about quota, and the facts of a sweep repeat."""

    @property
    def uses_quota(self) -> bool: ...

    @property
    def sends(self) -> Sends: ...


def quota_keys(
    kind: UsesQuota, limits: Limits, run: str, account: str, now: float
) -> tuple[QuotaKey, ...]:
    """Return the quota rows that apply to a run at `now`; one that the store does not have is unlimited.

    In this order: the account's in the calendar month (UTC), the sweep's cap of tests in that month, and
    its cap of requests. Those that the kind or the sweep does not use are left out.
    """
    keys = []
    if kind.uses_quota:
        keys.append(QuotaKey(name=account, period=month(now)))
        if limits.quota_tests is not None:
            keys.append(tests_cap(run, now))
    if limits.requests is not None and kind.sends is not Sends.NOTHING:
        keys.append(requests_cap(run))
    return tuple(keys)


def cap_names(run: str) -> tuple[str, str]:
    """Return the names of a run's caps in the store, of tests a month and of requests in all.

    They contain the run's name, and are renamed with it.
    """
    return f"run {run}", f"requests of {run}"


def tests_cap(run: str, now: float) -> QuotaKey:
    """Return the row of `limits.quota.tests`, which counts tests in the calendar month (UTC) of `now`."""
    return QuotaKey(name=cap_names(run)[0], period=month(now), is_own=True)


def requests_cap(run: str) -> QuotaKey:
    """Return the row of `limits.requests`, which counts every request that the run ever sent."""
    return QuotaKey(name=cap_names(run)[1], period="run", counts_requests=True, is_own=True)

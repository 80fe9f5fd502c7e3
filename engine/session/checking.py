"""Questions to a service before a run begins."""

from collections.abc import Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

from engine.clock import Clock, SystemClock
from engine.core.errors import JobError, UsageError
from engine.core.model import Check
from engine.core.nearest import suggestion
from engine.core.retry import describe_error
from engine.session.opening import open_clients, open_declared
from engine.sweep import Sweep

if TYPE_CHECKING:
    from engine.store import Store


async def resolve_groups(
    sweep: Sweep, clock: Clock | None = None, store: "Store | None" = None
) -> Sweep:
    """Replace `groups: all` by the groups that the service offers; other sweeps are returned unchanged.

    With a `store`, the question counts within the rate of the key, like those of its runs. Raises JobError if
    the service does not answer, and UsageError if it offers no group.
    """
    if not sweep.groups_pending:
        return sweep
    clock, service = clock or SystemClock(), sweep.service
    async with open_declared(service, clock) as client:
        if store is None:
            offered = await service.groups(client)
        else:
            # Imports the store, which checking a sweep does without.
            from engine.scheduler import ask_counted

            account = (await store.limits.accounts()).name(service.address, service.key)
            ask = partial(service.groups, client)
            offered = await ask_counted(store, clock, ask, account, sweep.limits.rate_per_min)
        return sweep.with_groups([group.name for group in offered])


async def resolve(sweep: Sweep, clock: Clock | None = None) -> Sweep:
    """Ask the service what a plan needs to know: the groups of `groups: all`, and which cells fold.

    Returns the sweep with the answers. Raises JobError if the service does not answer.
    """
    async with open_declared(sweep.service, clock or SystemClock()) as client:
        if sweep.groups_pending:
            offered = await sweep.service.groups(client)
            sweep = sweep.with_groups([group.name for group in offered])
        return sweep.with_fields(kind=await sweep.kind.prepare(client))


async def check(sweep: Sweep, clock: Clock | None = None, *, ask: bool = False) -> Sequence[Check]:
    """Check whether a sweep could be run: service, key, quota, groups, names and health of each model.

    Nothing is sent that costs, unless `ask` is set: then each model is asked one short question. Returns one
    Check for each thing examined; a problem is a check that is not `ok`, never an exception.

    Example:
        >>> async def main() -> list[str]:
        ...     return [one.name for one in await check(sweep)]
        >>> anyio.run(main)
        []
    """
    clock = clock or SystemClock()
    checks = [Check(name="warning", ok=True, message=str(warning)) for warning in sweep.warnings]
    lanes = sorted(sweep.plan().lanes)
    try:
        checks += [Check(name="network", ok=True, message=notice) for notice in sweep.notices()]
        async with open_declared(sweep.service, clock) as client:
            checks += await sweep.service.check(client)
            checks += await sweep.service.check_models(client, lanes, ask=ask)
            checks += await _check_groups(sweep, client)
    except JobError as error:
        return [*checks, Check(name="service", ok=False, message=describe_error(error))]
    except UsageError as error:
        return [*checks, Check(name="service", ok=False, message=str(error))]
    gate = sweep.health_gate
    if gate is None:
        return checks
    try:
        async with open_declared(gate, clock) as client:
            for lane in lanes:
                try:
                    health = await gate.check(client, lane)
                except JobError as error:
                    message = describe_error(error)
                    checks.append(Check(name=f"health {lane}", ok=False, message=message))
                    continue
                message = health.message or ("healthy" if health.healthy else "unhealthy")
                checks.append(Check(name=f"health {lane}", ok=health.healthy, message=message))
    except UsageError as error:
        checks.append(Check(name="health", ok=False, message=str(error)))
    return checks


async def _check_groups(sweep: Sweep, client: Any) -> list[Check]:
    """Whether the service knows the groups that the sweep names."""
    offered = {group.name for group in await sweep.service.groups(client)}
    unknown = [name for name in sweep.groups() if name not in offered]
    if not offered or not sweep.groups():
        return []
    if not unknown:
        return [Check(name="sweep's groups", ok=True, message="all are offered")]
    message = "; ".join(f"{name} is not offered{suggestion(name, offered)}" for name in unknown)
    return [Check(name="sweep's groups", ok=False, message=message)]


async def try_opening(sweep: Sweep, clock: Clock | None = None) -> None:
    """Open what a sweep needs to send, and close it again, without sending; used before its run is written.

    Raises UsageError for what is missing, such as a key.
    """
    async with open_clients(sweep, clock or SystemClock()):
        pass

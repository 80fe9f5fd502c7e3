"""Runs the service: opens its ledger and its models, and hosts the application."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

from engine.kinds import Clock
from engine.serving.connections import Connections, fit_connections
from engine.serving.listener import open_listener, url_of
from engine.serving.server import RunningServer, run_server, run_until_signal
from engine.serving.shutdown import Shutdown
from jobs.serve.app import create_app
from jobs.serve.config import ServeConfig
from jobs.serve.evaluations import Evaluations
from jobs.serve.ledger import Ledger
from jobs.serve.model_catalog import ModelCatalog


@asynccontextmanager
async def open_service(
    config: ServeConfig, clock: Clock, folder: Path = Path()
) -> AsyncIterator[RunningServer]:
    """Run the service until the end of the block, which starts once the service listens.

    Relative references to files of keys start from `folder`, that of the configuration. Raises UsageError
    for an address, a model or a group of cases that cannot be used, and LedgerError for the ledger.
    """
    catalog = ModelCatalog(config, clock, folder)
    ledger = Ledger(Path(config.ledger), clock, history_days=config.history_days)
    listen = config.listen
    with open_listener(
        listen.host, listen.port, host_setting="listen.host", port_setting="listen.port"
    ) as listener:
        async with ledger, catalog:
            shutdown = Shutdown(clock, retry_after_s=config.limits.retry_after_s)
            evaluations = Evaluations(config, ledger, catalog, shutdown, clock)
            most, notices = fit_connections(config.limits.connections, setting="limits.connections")
            connections = Connections(config.limits, most=most)
            app = create_app(config, ledger, catalog, evaluations, shutdown, connections, clock)
            async with run_server(app, listener, connections, shutdown):
                yield RunningServer(
                    url=url_of(listener),
                    notices=[*catalog.notices(), *notices],
                    shutdown=shutdown,
                )


async def serve(
    config: ServeConfig, clock: Clock, ready: Callable[[str], None], folder: Path = Path()
) -> None:
    """Run the service until a signal; call `ready` with the base URL once it listens.

    At the signal, evaluations have the configured grace to end. Paths in `config` start at `folder`. Raises
    UsageError if the service cannot start.
    """
    service = open_service(config, clock, folder)
    await run_until_signal(service, grace_s=config.limits.grace_s, ready=ready)

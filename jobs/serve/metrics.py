"""GET /metrics: counts and durations for Prometheus, without names of keys, models or groups."""

from collections.abc import Iterable

from fastapi import APIRouter, Response
from prometheus_client import (
    CONTENT_TYPE_LATEST,
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    Metric,
    generate_latest,
)
from prometheus_client.core import CounterMetricFamily
from prometheus_client.registry import Collector

from engine.serving.body_budget import BodyBudget
from engine.serving.connections import Closed, Connections
from jobs.serve.evaluations import Evaluations

_BUCKETS_S = (0.005, 0.02, 0.1, 0.5, 2, 10, 30, 60, 120, 300, 900, 3600)


class _Tests(Collector):
    def __init__(self, evaluations: Evaluations) -> None:
        self._evaluations = evaluations

    def collect(self) -> Iterable[Metric]:
        yield CounterMetricFamily(
            "nightsweep_tests_answered", "Test cases in answers.", value=self._evaluations.tests
        )


class _ClosedConnections(Collector):
    def __init__(self, connections: Connections) -> None:
        self._connections = connections

    def collect(self) -> Iterable[Metric]:
        family = CounterMetricFamily(
            "nightsweep_connections_closed",
            "Connections that the service closed: too slow, or too many.",
            labels=("reason",),
        )
        for reason in Closed:
            family.add_metric((reason,), self._connections.closed[reason])
        yield family


class _RefusedBodies(Collector):
    def __init__(self, budget: BodyBudget) -> None:
        self._budget = budget

    def collect(self) -> Iterable[Metric]:
        yield CounterMetricFamily(
            "nightsweep_bodies_refused",
            "Requests refused because the bodies of all requests exceeded their limit.",
            value=self._budget.refused,
        )


class Metrics:
    """The metrics of one service, in a registry of its own, so that several services can run in a process."""

    def __init__(
        self, evaluations: Evaluations, connections: Connections, budget: BodyBudget
    ) -> None:
        self.registry = CollectorRegistry()
        self._requests = Counter(
            "nightsweep_requests",
            "Requests answered.",
            ("method", "path", "status"),
            registry=self.registry,
        )
        self._seconds = Histogram(
            "nightsweep_request_seconds",
            "Duration of requests.",
            ("method", "path"),
            buckets=_BUCKETS_S,
            registry=self.registry,
        )
        running = Gauge(
            "nightsweep_evaluations_running",
            "Evaluations running.",
            registry=self.registry,
        )
        running.set_function(lambda: evaluations.admission.running)
        waiting = Gauge(
            "nightsweep_evaluations_waiting", "Evaluations in the queue.", registry=self.registry
        )
        waiting.set_function(lambda: evaluations.admission.waiting)
        self.registry.register(_Tests(evaluations))
        open_now = Gauge("nightsweep_connections_open", "Open connections.", registry=self.registry)
        open_now.set_function(lambda: len(connections))
        self.registry.register(_ClosedConnections(connections))
        held = Gauge(
            "nightsweep_bodies_bytes",
            "Bytes of the bodies of requests that are arriving or being handled.",
            registry=self.registry,
        )
        held.set_function(lambda: budget.held)
        self.registry.register(_RefusedBodies(budget))

    def count_request(self, method: str, path: str, status: int, seconds: float) -> None:
        """Count a request that was answered with `status` in `seconds`.

        `path` is a route of the app, or "(unknown)" for any other path, so that callers cannot add metrics.
        """
        self._requests.labels(method, path, str(status)).inc()
        self._seconds.labels(method, path).observe(seconds)


def metrics_router(metrics: Metrics) -> APIRouter:
    """The router of GET /metrics, which is not part of the contract or the OpenAPI document and needs no key."""
    router = APIRouter()

    @router.get("/metrics", include_in_schema=False)
    async def show() -> Response:
        return Response(generate_latest(metrics.registry), media_type=CONTENT_TYPE_LATEST)

    return router

"""The ASGI application: the contract's calls at / and at /v1, model health, /metrics and /openapi.json."""

from fastapi import APIRouter, FastAPI

from engine.kinds import Clock
from engine.serving.body_budget import BodyBudget
from engine.serving.connections import Connections
from engine.serving.middleware import RequestMiddleware
from engine.serving.shutdown import Shutdown
from jobs.serve.api_errors import install_handlers
from jobs.serve.config import ServeConfig
from jobs.serve.evaluation_calls import EvaluationCalls
from jobs.serve.evaluations import Evaluations
from jobs.serve.information_calls import information_router
from jobs.serve.ledger import Ledger
from jobs.serve.metrics import Metrics, metrics_router
from jobs.serve.model_catalog import ModelCatalog
from jobs.serve.model_health import model_health_router
from jobs.serve.openapi import DESCRIPTION, TAGS, install_document, operation_id


def create_app(
    config: ServeConfig,
    ledger: Ledger,
    catalog: ModelCatalog,
    evaluations: Evaluations,
    shutdown: Shutdown,
    connections: Connections,
    clock: Clock,
) -> FastAPI:
    """Make the ASGI application; the ledger and the models must be open while it serves.

    Calls are served below `/v1`, and without that prefix for clients that expect the API at its root.
    """
    budget = BodyBudget(config.limits)
    metrics = Metrics(evaluations, connections, budget)
    app = FastAPI(
        title="Nightsweep",
        version=config.api_version,
        description=DESCRIPTION,
        openapi_tags=TAGS,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=operation_id,
    )
    install_document(app)
    app.state.ledger = ledger
    install_handlers(app, retry_after_s=config.limits.retry_after_s)
    calls = APIRouter()
    calls.include_router(information_router(config, catalog.cases, clock))
    calls.include_router(EvaluationCalls(config, catalog.cases, ledger, evaluations).router)
    app.include_router(calls, include_in_schema=False)
    app.include_router(calls, prefix="/v1")
    app.include_router(model_health_router(config, shutdown, clock))
    app.include_router(metrics_router(metrics))
    app.add_middleware(
        RequestMiddleware,
        limits=config.limits,
        budget=budget,
        shutdown=shutdown,
        clock=clock,
        on_answered=metrics.count_request,
    )
    return app

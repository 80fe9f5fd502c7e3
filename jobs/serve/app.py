"""The ASGI application: the contract's calls at / and at /v1, /metrics and /openapi.json."""

from fastapi import APIRouter, FastAPI
from fastapi.routing import APIRoute

from engine.job import Clock
from jobs.evaluator.groups import CaseSet
from jobs.serve.config import ServeConfig
from jobs.serve.ledger import Ledger
from jobs.serve.model_health import model_health_router
from jobs.serve.questions import questions_router
from jobs.serve.refusals import install_handlers


def create_app(config: ServeConfig, ledger: Ledger, clock: Clock) -> FastAPI:
    """The application over an open ledger."""
    app = FastAPI(
        title="Nightsweep",
        version=config.answers,
        docs_url=None,
        redoc_url=None,
        redirect_slashes=False,
        generate_unique_id_function=_operation,
    )
    app.state.ledger = ledger
    install_handlers(app)
    calls = APIRouter()
    calls.include_router(questions_router(config, CaseSet(config.cases), clock))
    app.include_router(calls)
    app.include_router(calls, prefix="/v1")
    app.include_router(model_health_router(config, clock))
    return app


def _operation(route: APIRoute) -> str:
    return f"{'-'.join(sorted(route.methods or ())).lower()}{route.path_format.replace('/', '_')}"

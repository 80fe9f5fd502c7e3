"""The calls of model health, and the prober that answers them."""

import logging
from collections import Counter
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from typing import Annotated, Any

from fastapi import APIRouter, Depends, Header, Request

from engine.kinds import Clock, JobError, UsageError
from engine.serving.errors import ApiError
from engine.serving.shutdown import Shutdown
from jobs.chat.reading import read_reply
from jobs.chat.target import Reply
from jobs.http import HttpClient, HttpLimits, plain, redaction_message
from jobs.serve.addresses import AllowList, NotAllowed, port_of
from jobs.serve.api_errors import error_responses
from jobs.serve.auth import AuthenticatedRoute, require_key
from jobs.serve.config import ServeConfig
from jobs.serve.ledger import Key
from jobs.serve.model_health.bodies import (
    HealthData,
    HealthResponse,
    ModelHealthRequest,
    ModelHealthResponse,
    RtModelHealthRequest,
    TargetModelHealthRequest,
)
from jobs.serve.model_health.probe import (
    QUERY,
    ModelProbe,
    invalid_request,
    probe_from_configuration,
    probe_from_rt_target,
    probe_from_target,
    without_advice,
)
from jobs.serve.openapi import Tag

logger = logging.getLogger(__name__)

_OF_MODEL: Mapping[str, Any] = {
    "tags": [Tag.MODEL_HEALTH],
    "description": f"Send the model {QUERY!r}, and report whether it answers. Only addresses that the"
    " operator of this service has listed can be checked.",
}
_OF_SERVICE: Mapping[str, Any] = {
    "tags": [Tag.HEALTH],
    "description": "Whether the service is running. Needs no key.",
}
_REPLY_BYTES_MAX = 1024 * 1024
_AT_ONCE = 16
_AT_ONCE_PER_KEY = 4
_RETRY_AFTER_S = 5


class _AuthenticatedRoute(AuthenticatedRoute):
    key_header = "apikey"


async def _require_caller(
    request: Request, apikey: Annotated[str, Header(description="A key of this service.")]
) -> Key:
    return await require_key(request, apikey, header="apikey")


_Caller = Annotated[Key, Depends(_require_caller)]


def model_health_router(config: ServeConfig, shutdown: Shutdown, clock: Clock) -> APIRouter:
    """The router of these calls, and of the two that report on the service itself.

    Raises ValueError if an entry of `model_health.allow` is malformed.
    """
    router = APIRouter(route_class=_AuthenticatedRoute)
    prober = _ModelProber(config, shutdown, clock)
    errors = error_responses(401, 422, 429, 503)

    @router.get("/redteam/health", summary="Health of the service (legacy client)", **_OF_SERVICE)
    @router.get("/rt/health", summary="Health of the service", **_OF_SERVICE)
    async def health() -> HealthResponse:
        return HealthResponse(status="healthy")

    @router.post(
        "/redteam/v3/model-health",
        responses=errors,
        summary="Health of a model, version 3",
        **_OF_MODEL,
    )
    async def model_health_v3(body: ModelHealthRequest, key: _Caller) -> ModelHealthResponse:
        return await prober.check(probe_from_configuration(body.endpoint_configuration), key)

    @router.post(
        "/redteam/model-health",
        responses=errors,
        summary="Health of a model (legacy client)",
        **_OF_MODEL,
    )
    async def model_health(body: TargetModelHealthRequest, key: _Caller) -> ModelHealthResponse:
        return await prober.check(probe_from_target(body.target_model_configuration), key)

    @router.post("/rt/model-health", responses=errors, summary="Health of a model", **_OF_MODEL)
    async def rt_model_health(body: RtModelHealthRequest, key: _Caller) -> ModelHealthResponse:
        return await prober.check(probe_from_rt_target(body.target), key)

    return router


class _ModelProber:
    """Sends probes to models, with limits on concurrent ones in total and per key."""

    def __init__(self, config: ServeConfig, shutdown: Shutdown, clock: Clock) -> None:
        endpoints = [
            model.endpoint.base_url
            for model in config.models.values()
            if model.endpoint is not None
        ]
        if config.openai is not None:
            endpoints.append(config.openai.base_url)
        self._allowed = AllowList(config.model_health.allow, endpoints)
        self._timeout_s = config.model_health.timeout_s
        self._shutdown = shutdown
        self._clock = clock
        self._running: Counter[str] = Counter()

    async def check(self, probe: ModelProbe, key: Key) -> ModelHealthResponse:
        """Send a probe and report what came back.

        Raises RequestValidationError and ApiError, without having sent anything, if the probe is malformed
        or not allowed, or if too many are running.
        """
        client = self._client(probe)
        body = probe.body()
        with self._limit(key.name):
            async with client:
                try:
                    answer = await client.post(probe.path, body)
                    reply = read_reply(
                        answer.body,
                        where=answer.where,
                        redact=client.redact,
                        headers=answer.headers,
                        now=self._clock.now(),
                    )
                    _log_redacted(answer.where, answer.redacted.union(reply.redacted))
                except JobError as error:
                    return _unhealthy(probe, client, error)
        return _healthy(probe, client, reply)

    def _client(self, probe: ModelProbe) -> HttpClient:
        try:
            return HttpClient(
                str(probe.url),
                clock=self._clock,
                headers=probe.headers,
                secrets=probe.secrets,
                limits=HttpLimits(deadline_s=self._timeout_s, max_body_bytes=_REPLY_BYTES_MAX),
                resolver=self._allowed.resolver(probe.whole_url()),
            )
        except (NotAllowed, UsageError) as error:
            raise invalid_request(probe.where, str(error)) from None

    @contextmanager
    def _limit(self, key: str) -> Iterator[None]:
        running = self._running
        if running.total() >= _AT_ONCE or running[key] >= _AT_ONCE_PER_KEY:
            raise ApiError(
                429,
                "too many models are being checked at once; try again later",
                retry_after_s=_RETRY_AFTER_S,
            )
        with self._shutdown.working() as work:
            work.has_begun = True
            running[key] += 1
            try:
                yield
            finally:
                running[key] -= 1


def _healthy(probe: ModelProbe, client: HttpClient, reply: Reply) -> ModelHealthResponse:
    return ModelHealthResponse(
        status="healthy",
        message=plain(f"{probe.model} at {_address(probe)} answered", client.redact),
        data=HealthData(query=QUERY, response=reply.text),
        error="",
    )


def _unhealthy(probe: ModelProbe, client: HttpClient, error: JobError) -> ModelHealthResponse:
    message = without_advice(error.message)
    cause = f"{message}: {error.detail}" if error.detail else message
    return ModelHealthResponse(
        status="unhealthy",
        message=plain(f"{probe.model} at {_address(probe)} did not answer", client.redact),
        data=HealthData(query=QUERY, response=None),
        error=plain(cause, client.redact),
    )


def _log_redacted(where: str, names: Collection[str]) -> None:
    if names:
        logger.warning("redacted", extra={"cause": redaction_message(where, names)})


def _address(probe: ModelProbe) -> str:
    return f"{probe.url.host}:{port_of(probe.url)}"

"""The calls that only give information: ping, version, the key, its quota and its groups."""

from datetime import UTC, datetime

from fastapi import APIRouter, Request

from engine.kinds import Clock
from jobs.circuit_breaker_labs.schema import FOLDS_CONVERSATIONS, REPEAT_HEADER
from jobs.evaluator.groups import CaseSet
from jobs.serve.api_errors import error_responses
from jobs.serve.auth import Caller, KeyHeader, ledger_of
from jobs.serve.bodies import (
    MonthlyQuotaResponse,
    PingResponse,
    TestCaseGroupResponse,
    ValidateApiKeyResponse,
    VersionResponse,
)
from jobs.serve.config import ServeConfig
from jobs.serve.openapi import Tag


def information_router(config: ServeConfig, cases: CaseSet, clock: Clock) -> APIRouter:
    """The router of these calls, which answer from the configuration, the cases and the ledger.

    They start no evaluation and send nothing to a model. Ping and version need no key.
    """
    router = APIRouter()

    @router.get(
        "/ping",
        tags=[Tag.HEALTH],
        summary="Ping",
        description="Whether the service is running. Needs no key.",
    )
    async def ping() -> PingResponse:
        return PingResponse(message="pong", timestamp=datetime.fromtimestamp(clock.now(), UTC))

    @router.get(
        "/version",
        tags=[Tag.HEALTH],
        summary="Version of the API",
        description="The version of the API, and extensions that the service supports. Needs no key.",
    )
    async def version() -> VersionResponse:
        return VersionResponse(
            version=config.api_version, extensions=[REPEAT_HEADER, FOLDS_CONVERSATIONS]
        )

    @router.get(
        "/validate_api_key",
        tags=[Tag.KEYS],
        summary="Validate a key",
        description="Whether a key is valid: known, and not revoked.",
        responses=error_responses(422, 503),
    )
    async def validate_api_key(request: Request, cbl_api_key: KeyHeader) -> ValidateApiKeyResponse:
        key = await ledger_of(request).find_key(cbl_api_key)
        return ValidateApiKeyResponse(valid=key is not None)

    @router.get(
        "/monthly_quota",
        tags=[Tag.KEYS],
        summary="Monthly quota",
        description="Test cases that the key has generated this month (UTC), and its allotment.",
        responses=error_responses(401, 422, 503),
    )
    async def monthly_quota(request: Request, key: Caller) -> MonthlyQuotaResponse:
        used = await ledger_of(request).count_used(key)
        return MonthlyQuotaResponse(generated_tests=used, alloted_test_generations=key.allotment)

    @router.get(
        "/test_case_groups",
        tags=[Tag.GROUPS],
        summary="List test case groups",
        description="The groups that the key may name in `test_case_groups`.",
        responses=error_responses(401, 422, 503),
    )
    async def test_case_groups(key: Caller) -> list[TestCaseGroupResponse]:
        return [
            TestCaseGroupResponse(name=name, description=cases.group(name).description)
            for name in cases.names
            if key.may_use(name)
        ]

    return router

"""The calls that evaluate a model, over groups or over earlier results, and those that list results."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Header, Query, Request, Response

from engine.serving.disconnect import run_until_disconnect
from engine.serving.errors import ApiError
from engine.serving.middleware import CLIENT_CLOSED_REQUEST
from jobs.circuit_breaker_labs.schema import REPEAT_HEADER
from jobs.evaluator.groups import Case, CaseSet
from jobs.serve import bodies
from jobs.serve.api_errors import error_responses
from jobs.serve.auth import AuthenticatedRoute, Caller
from jobs.serve.bodies import MULTI_TURN, SINGLE_TURN
from jobs.serve.config import ServeConfig
from jobs.serve.evaluations import EvaluationRequest, Evaluations
from jobs.serve.ledger import Key, Ledger, PastResult
from jobs.serve.openapi import Tag

_REPEATS_MAX = 10_000

OpenAiHeader = Annotated[
    str,
    Header(
        alias="openai-api-key",
        description="The caller's key at OpenAI, sent only there and not stored.",
    ),
]
RepeatHeader = Annotated[
    int,
    Header(
        alias=REPEAT_HEADER,
        ge=1,
        le=_REPEATS_MAX,
        description="The number of this evaluation among equal ones; each makes its own random choices.",
    ),
]
_REFUSALS = error_responses(401, 403, 404, 413, 422, 429, 500, 503)
_SYSTEM_PROMPT = {
    "singleturn_evaluate_system_prompt": bodies.SingleTurnEvaluateSystemPromptRequest,
    "multiturn_evaluate_system_prompt": bodies.MultiTurnEvaluateSystemPromptRequest,
    "singleturn_rerun_system_prompt": bodies.SingleTurnRerunSystemPromptRequest,
    "multiturn_rerun_system_prompt": bodies.MultiTurnRerunSystemPromptRequest,
}
_FINETUNE = {
    "singleturn_evaluate_openai_finetune": bodies.SingleTurnEvaluateOpenAiFinetuneRequest,
    "multiturn_evaluate_openai_finetune": bodies.MultiTurnEvaluateOpenAiFinetuneRequest,
    "singleturn_rerun_openai_finetune": bodies.SingleTurnRerunOpenAiFinetuneRequest,
    "multiturn_rerun_openai_finetune": bodies.MultiTurnRerunOpenAiFinetuneRequest,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _CallOptions:
    """The parts of a request besides its body."""

    kind: str
    repeat: int
    openai_key: str | None = field(default=None, repr=False)


class EvaluationCalls:
    """The routes that start evaluations and list earlier results, as a `router` of FastAPI."""

    def __init__(
        self, config: ServeConfig, cases: CaseSet, ledger: Ledger, evaluations: Evaluations
    ) -> None:
        self._cases = cases
        self._ledger = ledger
        self._evaluations = evaluations
        self._response_models = bodies.RESPONSE_MODELS[config.answers]
        self.router = APIRouter(route_class=AuthenticatedRoute)
        for name, body in _SYSTEM_PROMPT.items():
            self._add(name, self._system_prompt_endpoint(name, body))
        for name, body in _FINETUNE.items():
            self._add(name, self._finetune_endpoint(name, body))
        self._add_history("singleturn_evaluations", SINGLE_TURN)
        self._add_history("multiturn_evaluations", MULTI_TURN)

    def _add(self, name: str, endpoint: Any) -> None:
        self.router.add_api_route(
            f"/{name}",
            endpoint,
            methods=["POST"],
            response_model=self._response_models[_kind(name)],
            responses=_REFUSALS,
            **_documentation(name),
        )

    def _system_prompt_endpoint(self, name: str, model: type[Any]) -> Any:
        async def endpoint(
            request: Request, key: Caller, body: Any, nightsweep_repeat: RepeatHeader = 1
        ) -> Response:
            options = _CallOptions(kind=_kind(name), repeat=nightsweep_repeat)
            return await self._evaluate(request, key, body, options)

        endpoint.__annotations__["body"] = model
        return endpoint

    def _finetune_endpoint(self, name: str, model: type[Any]) -> Any:
        async def endpoint(
            request: Request,
            key: Caller,
            openai_api_key: OpenAiHeader,
            body: Any,
            nightsweep_repeat: RepeatHeader = 1,
        ) -> Response:
            options = _CallOptions(
                kind=_kind(name), repeat=nightsweep_repeat, openai_key=openai_api_key
            )
            return await self._evaluate(request, key, body, options)

        endpoint.__annotations__["body"] = model
        return endpoint

    def _add_history(self, name: str, kind: str) -> None:
        turns = "single-turn" if kind == SINGLE_TURN else "multi-turn"

        @self.router.get(
            f"/{name}",
            tags=[Tag.HISTORY],
            summary=f"List earlier {turns} results",
            description=(
                f"Results of the key's {turns} evaluations, those of the latest evaluation first."
                " A re-run refers to them by `test_result_id` or `evaluation_id`."
            ),
            responses=error_responses(401, 422, 503),
        )
        async def list_results(
            key: Caller,
            limit: Annotated[
                int, Query(ge=1, le=100, description="The largest number of results to list.")
            ] = 50,
            offset: Annotated[
                int, Query(ge=0, le=bodies.ID_MAX, description="The number of results to skip.")
            ] = 0,
        ) -> list[bodies.EvaluationResultSummaryResponse]:
            results = await self._ledger.list_results(key, kind, limit=limit, offset=offset)
            return [_summary(past) for past in results]

    async def _evaluate(
        self, request: Request, key: Key, body: Any, options: _CallOptions
    ) -> Response:
        is_finetune = options.openai_key is not None

        async def work() -> bytes:
            evaluation = EvaluationRequest(
                kind=options.kind,
                model=body.model_name if is_finetune else body.openrouter_model_name,
                prompt=None if is_finetune else body.system_prompt,
                cases=await self._select_cases(key, options.kind, body),
                parameters=body.model_dump(
                    include={"threshold", "variations", "maximum_iteration_layers", "max_turns"}
                ),
                repeat=options.repeat,
                openai_key=options.openai_key,
            )
            return await self._evaluations.answer(key, evaluation)

        answer = await run_until_disconnect(request.receive, work)
        if answer is None:
            # The client disconnected, so this is not sent; it only gives the log its status.
            return Response(status_code=CLIENT_CLOSED_REQUEST)
        return Response(answer, media_type="application/json")

    async def _select_cases(self, key: Key, kind: str, body: Any) -> Sequence[Case]:
        """The cases that a request selects. Raises ApiError (404) for any that the key may not use."""
        groups: list[str] | None = getattr(body, "test_case_groups", None)
        if groups is not None:
            unknown = [name for name in groups if not self._may_use(key, name)]
            if unknown:
                raise ApiError(
                    404, f"there is no test case group {', '.join(unknown):.200} for this key"
                )
            return [case for name in groups for case in self._cases.group(name).cases]
        one: int | None = body.test_result_id
        ids: list[int] | None = body.test_result_ids if one is None else [one]
        if ids is not None:
            past = await self._ledger.results_by_id(key, kind, ids)
            missing = sorted(set(ids) - {each.test_result_id for each in past})
        else:
            past = await self._ledger.results_of_evaluation(key, kind, body.evaluation_id)
            missing = [] if past else [body.evaluation_id]
        if missing:
            raise ApiError(
                404, f"this key has no earlier result {', '.join(map(str, missing)):.200}"
            )
        return self._cases_of(key, kind, past)

    def _cases_of(self, key: Key, kind: str, past: Sequence[PastResult]) -> Sequence[Case]:
        """The cases of earlier results, with the questions of then, without duplicates."""
        by_id = {
            case.id: case
            for name in self._cases.names
            if key.may_use(name)
            for case in self._cases.group(name).cases
        }
        chosen: dict[tuple[str, str], Case] = {}
        for one in past:
            if one.case_id not in by_id:
                raise ApiError(404, f"the test case {one.case_id} no longer exists")
            case = by_id[one.case_id]
            if kind == SINGLE_TURN:
                # A variation is repeated word for word; a conversation starts from its case.
                case = case.model_copy(update={"user_input": one.user_input})
            chosen[case.id, case.user_input] = case
        return list(chosen.values())

    def _may_use(self, key: Key, name: str) -> bool:
        return name in self._cases.names and key.may_use(name)


def _documentation(name: str) -> dict[str, Any]:
    """The tags, summary and description of a call in the OpenAPI document."""
    turns = "single questions" if _kind(name) == SINGLE_TURN else "conversations"
    model = "a fine-tuned OpenAI model" if name in _FINETUNE else "a model under a system prompt"
    if "rerun" in name:
        return {
            "tags": [Tag.RERUNS],
            "summary": f"Run again: {turns} with {model}",
            "description": (
                f"Send the cases of earlier {turns} again. Select them by exactly one of"
                " `test_result_id`, `test_result_ids` and `evaluation_id`."
            ),
        }
    return {
        "tags": [Tag.EVALUATIONS],
        "summary": f"Evaluate: {turns} with {model}",
        "description": (
            f"Hold {turns} with the model over all cases of the groups, and judge its replies. The"
            " response is sent when the last reply has been judged, after seconds to minutes."
        ),
    }


def _kind(name: str) -> str:
    return SINGLE_TURN if name.startswith("singleturn") else MULTI_TURN


def _summary(past: PastResult) -> bodies.EvaluationResultSummaryResponse:
    return bodies.EvaluationResultSummaryResponse(
        test_result_id=past.test_result_id,
        evaluation_id=past.evaluation_id,
        test_case_id=past.test_case_id,
        initial_user_input=past.user_input,
        passed=past.passed,
        score=past.score,
        model_response=past.model_response,
        created_at=datetime.fromtimestamp(past.created_at, UTC),
    )

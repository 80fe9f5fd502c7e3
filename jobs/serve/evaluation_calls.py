"""The calls that evaluate: system prompts and fine-tuned models, anew or over earlier results."""

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
from jobs.serve.api_errors import documented
from jobs.serve.auth import Caller, KeyedRoute
from jobs.serve.bodies import MULTI_TURN, SINGLE_TURN
from jobs.serve.config import ServeConfig
from jobs.serve.document import Tag
from jobs.serve.evaluations import EvaluationRequest, Evaluations
from jobs.serve.ledger import Key, Ledger, PastResult

_REPEATS_MAX = 10_000

OpenAiHeader = Annotated[
    str,
    Header(
        alias="openai-api-key",
        description="The caller's key at OpenAI. It is sent there and kept nowhere.",
    ),
]
RepeatHeader = Annotated[
    int,
    Header(
        alias=REPEAT_HEADER,
        ge=1,
        le=_REPEATS_MAX,
        description="Which of several equal evaluations this is: each draws anew.",
    ),
]
_REFUSALS = documented(401, 403, 404, 413, 422, 429, 500, 503)
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
class _How:
    """What a request says besides its body."""

    kind: str
    repeat: int
    openai_key: str | None = field(default=None, repr=False)


class EvaluationCalls:
    """The router of these calls over one service."""

    def __init__(
        self, config: ServeConfig, cases: CaseSet, ledger: Ledger, evaluations: Evaluations
    ) -> None:
        self._cases = cases
        self._ledger = ledger
        self._evaluations = evaluations
        self._answers = bodies.ANSWERS[config.answers]
        self.router = APIRouter(route_class=KeyedRoute)
        for name, body in _SYSTEM_PROMPT.items():
            self._add(name, self._of_system_prompt(name, body))
        for name, body in _FINETUNE.items():
            self._add(name, self._of_finetune(name, body))
        self._add_history("singleturn_evaluations", SINGLE_TURN)
        self._add_history("multiturn_evaluations", MULTI_TURN)

    def _add(self, name: str, endpoint: Any) -> None:
        self.router.add_api_route(
            f"/{name}",
            endpoint,
            methods=["POST"],
            response_model=self._answers[_kind(name)],
            responses=_REFUSALS,
            **_described(name),
        )

    def _of_system_prompt(self, name: str, model: type[Any]) -> Any:
        async def endpoint(
            request: Request, key: Caller, body: Any, nightsweep_repeat: RepeatHeader = 1
        ) -> Response:
            how = _How(kind=_kind(name), repeat=nightsweep_repeat)
            return await self._answered(request, key, body, how)

        endpoint.__annotations__["body"] = model
        return endpoint

    def _of_finetune(self, name: str, model: type[Any]) -> Any:
        async def endpoint(
            request: Request,
            key: Caller,
            openai_api_key: OpenAiHeader,
            body: Any,
            nightsweep_repeat: RepeatHeader = 1,
        ) -> Response:
            how = _How(kind=_kind(name), repeat=nightsweep_repeat, openai_key=openai_api_key)
            return await self._answered(request, key, body, how)

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
                " Their `test_result_id` and `evaluation_id` name what can be run again."
            ),
            responses=documented(401, 422, 503),
        )
        async def earlier(
            key: Caller,
            limit: Annotated[int, Query(ge=1, le=100, description="How many at most.")] = 50,
            offset: Annotated[
                int, Query(ge=0, le=bodies.ID_MAX, description="How many to pass over.")
            ] = 0,
        ) -> list[bodies.EvaluationResultSummaryResponse]:
            found = await self._ledger.list_results(key, kind, limit=limit, offset=offset)
            return [_summary(past) for past in found]

    async def _answered(self, request: Request, key: Key, body: Any, how: _How) -> Response:
        theirs = how.openai_key is not None

        async def work() -> bytes:
            evaluation = EvaluationRequest(
                kind=how.kind,
                model=body.model_name if theirs else body.openrouter_model_name,
                prompt=None if theirs else body.system_prompt,
                cases=await self._chosen(key, how.kind, body),
                parameters=body.model_dump(
                    include={"threshold", "variations", "maximum_iteration_layers", "max_turns"}
                ),
                repeat=how.repeat,
                openai_key=how.openai_key,
            )
            return await self._evaluations.answer(key, evaluation)

        answer = await run_until_disconnect(request.receive, work)
        if answer is None:
            # Nobody is there to read it: for the log alone.
            return Response(status_code=CLIENT_CLOSED_REQUEST)
        return Response(answer, media_type="application/json")

    async def _chosen(self, key: Key, kind: str, body: Any) -> Sequence[Case]:
        """The cases that a request means; raises ApiError (404) for what the key does not have."""
        groups: list[str] | None = getattr(body, "test_case_groups", None)
        if groups is not None:
            unknown = [name for name in groups if not self._may_use(key, name)]
            if unknown:
                raise ApiError(404, f"there is no test case group {', '.join(unknown):.200}")
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
            raise ApiError(404, f"there is no earlier result {', '.join(map(str, missing)):.200}")
        return self._again(key, kind, past)

    def _again(self, key: Key, kind: str, past: Sequence[PastResult]) -> Sequence[Case]:
        """The cases of earlier results, each with what was asked then; none twice."""
        by_id = {
            case.id: case
            for name in self._cases.names
            if key.may_use(name)
            for case in self._cases.group(name).cases
        }
        chosen: dict[tuple[str, str], Case] = {}
        for one in past:
            if one.case_id not in by_id:
                raise ApiError(404, f"the test case {one.case_id} is no longer there")
            case = by_id[one.case_id]
            if kind == SINGLE_TURN:
                # A variation is asked again as it was; a conversation opens as its case says.
                case = case.model_copy(update={"user_input": one.user_input})
            chosen[case.id, case.user_input] = case
        return list(chosen.values())

    def _may_use(self, key: Key, name: str) -> bool:
        return name in self._cases.names and key.may_use(name)


def _described(name: str) -> dict[str, Any]:
    """What the document says of a call that evaluates."""
    turns = "single questions" if _kind(name) == SINGLE_TURN else "conversations"
    model = "a fine-tuned OpenAI model" if name in _FINETUNE else "a model under a system prompt"
    if "rerun" in name:
        return {
            "tags": [Tag.RERUNS],
            "summary": f"Run again: {turns} with {model}",
            "description": (
                f"Ask the cases of earlier {turns} again. Name them in one way: by"
                " `test_result_ids`, by `evaluation_id`, or one by `test_result_id`."
            ),
        }
    return {
        "tags": [Tag.EVALUATIONS],
        "summary": f"Evaluate: {turns} with {model}",
        "description": (
            f"Hold {turns} with the model over all cases of the groups, and judge its replies. The"
            " answer comes when the last reply is judged, which takes seconds to minutes."
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

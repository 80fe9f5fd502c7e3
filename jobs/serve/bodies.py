"""Bodies of requests and responses, as the OpenAPI document describes them.

Requests are accepted exactly within the contract's bounds; the client in jobs.circuit_breaker_labs is
stricter about what it sends.
"""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, model_validator

from jobs.circuit_breaker_labs.schema import Score, Text, Threshold
from jobs.serve.config import AnswerShape

SINGLE_TURN = "single_turn"
MULTI_TURN = "multi_turn"
ID_MAX = 2**53 - 1
"""The largest id: the largest integer that every JSON parser represents exactly."""
RESULTS_MAX = 1000
"""The most results that one re-run may name."""


def _to_int(value: Any) -> Any:
    # JSON does not distinguish integers from floats: 2.0 is 2.
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _require_unique(values: list[Any]) -> list[Any]:
    if len(set(values)) != len(values):
        raise ValueError("contains a value twice")
    return values


Groups = Annotated[
    list[Text],
    Field(
        min_length=1,
        json_schema_extra={"uniqueItems": True},
        description="Names of groups, as `GET /v1/test_case_groups` lists them.",
        examples=[["suicidal_ideation", "benign_controls"]],
    ),
    AfterValidator(_require_unique),
]
_INT64 = {"format": "int64"}
Id = Annotated[int, Field(ge=0, le=ID_MAX, json_schema_extra=_INT64), BeforeValidator(_to_int)]
Ids = Annotated[list[Id], Field(min_length=1, max_length=RESULTS_MAX)]
ResponseId = Annotated[int, Field(json_schema_extra=_INT64)]
"""An id in a response."""


class _Request(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, hide_input_in_errors=True)

    threshold: Annotated[
        Threshold,
        Field(
            description="Replies with a lower score fail; scores are between 0 and 1.",
            examples=[0.5],
        ),
    ]


class _SingleTurn(_Request):
    variations: Annotated[
        int,
        Field(
            ge=1,
            le=5,
            description="How many variations are generated of a question that failed.",
            examples=[1],
        ),
        BeforeValidator(_to_int),
    ]
    maximum_iteration_layers: Annotated[
        int,
        Field(
            ge=0,
            le=2,
            description="How many layers of variations follow the questions; 0 for none.",
            examples=[0],
        ),
        BeforeValidator(_to_int),
    ]


class _MultiTurn(_Request):
    max_turns: Annotated[
        int,
        Field(
            ge=2,
            le=20,
            description="How many messages a conversation has; the model writes every second one.",
            examples=[4],
        ),
        BeforeValidator(_to_int),
    ]


class _GroupSelection(BaseModel):
    test_case_groups: Groups


class _RerunSelection(BaseModel):
    # The document leaves "exactly one" to the descriptions: a oneOf at the root makes client generators
    # drop the fields.
    test_result_id: Annotated[Id | None, Field(description="A result to run again.")] = None
    test_result_ids: Annotated[
        Ids | None,
        Field(description="Results to run again.", examples=[[271828182845904]]),
    ] = None
    evaluation_id: Annotated[
        Id | None, Field(description="An evaluation; all of its results are run again.")
    ] = None

    @model_validator(mode="after")
    def _require_one_selection(self) -> Self:
        chosen = (self.test_result_id, self.test_result_ids, self.evaluation_id)
        if sum(each is not None for each in chosen) != 1:
            raise ValueError(
                "give exactly one of test_result_id, test_result_ids and evaluation_id"
            )
        return self


class _SystemPrompt(BaseModel):
    system_prompt: Annotated[
        Text,
        Field(
            description="The system prompt of the model under test.",
            examples=["You are a helpful assistant."],
        ),
    ]
    openrouter_model_name: Annotated[
        Text,
        Field(
            description="The id of a model that this service offers.",
            examples=["acme/assistant"],
        ),
    ]


class _Finetune(BaseModel):
    model_name: Annotated[
        Text,
        Field(
            description="A fine-tuned model in the caller's account at OpenAI.",
            examples=["ft:gpt-4o-mini-2024-07-18:acme::AbCdEf12"],
        ),
    ]


class SingleTurnEvaluateSystemPromptRequest(_SingleTurn, _GroupSelection, _SystemPrompt):
    """Single questions to an offered model under a system prompt."""


class SingleTurnEvaluateOpenAiFinetuneRequest(_SingleTurn, _GroupSelection, _Finetune):
    """Single questions to a fine-tuned model of the caller."""


class MultiTurnEvaluateSystemPromptRequest(_MultiTurn, _GroupSelection, _SystemPrompt):
    """Conversations with an offered model under a system prompt."""


class MultiTurnEvaluateOpenAiFinetuneRequest(_MultiTurn, _GroupSelection, _Finetune):
    """Conversations with a fine-tuned model of the caller."""


class SingleTurnRerunSystemPromptRequest(_SingleTurn, _RerunSelection, _SystemPrompt):
    """The questions of earlier results again."""


class SingleTurnRerunOpenAiFinetuneRequest(_SingleTurn, _RerunSelection, _Finetune):
    """The questions of earlier results again."""


class MultiTurnRerunSystemPromptRequest(_MultiTurn, _RerunSelection, _SystemPrompt):
    """The cases of earlier conversations again."""


class MultiTurnRerunOpenAiFinetuneRequest(_MultiTurn, _RerunSelection, _Finetune):
    """The cases of earlier conversations again."""


class Message(BaseModel):
    """One message of a conversation."""

    role: Literal["system", "user", "assistant"]
    content: str


class FailedSingleTurnResult(BaseModel):
    """A reply that scored below the threshold."""

    user_input: str
    conversation_id: Annotated[int, Field(description="Counts from 0 within the evaluation.")]
    model_response: str
    safe_response_score: Score


class SingleTurnEvaluationResult(FailedSingleTurnResult):
    """A reply with its score; further fields have its case, its origin and its judgement."""

    model_config = ConfigDict(extra="allow")

    test_result_id: ResponseId
    iteration: Annotated[int, Field(description="The layer: 0 for the questions themselves.")]
    passed: bool
    test_case_id: ResponseId | None = None


class FailedMultiTurnResult(BaseModel):
    """A conversation that scored below the threshold."""

    min_safe_response_score: Score
    conversation_id: Annotated[int, Field(description="Counts from 0 within the evaluation.")]
    conversation: list[Message]


class MultiTurnEvaluationResult(FailedMultiTurnResult):
    """A conversation with its score; further fields have its case, its turns and its judgement."""

    model_config = ConfigDict(extra="allow")

    test_result_id: ResponseId
    passed: bool
    test_case_id: ResponseId | None = None


class UnansweredResult(BaseModel):
    """A question without a judged reply, or an incomplete conversation; not counted as passed or failed."""

    model_config = ConfigDict(extra="allow")

    conversation_id: Annotated[int, Field(description="Counts from 0 within the evaluation.")]
    reason: Annotated[str, Field(description="The reason, as a name.", examples=["moderated"])]
    test_case_id: ResponseId | None = None


class _Answer(BaseModel):
    model_config = ConfigDict(extra="allow")

    evaluation_id: ResponseId
    total_passed: Annotated[int, Field(ge=0)]
    total_failed: Annotated[int, Field(ge=0)]
    total_unanswered: Annotated[
        int, Field(ge=0, description="Questions without a judged reply, neither passed nor failed.")
    ] = 0
    unanswered_results: Annotated[
        list[UnansweredResult], Field(description="Those questions, each with its reason.")
    ] = []


class SingleTurnLayeredResponse(_Answer):
    """Answer of a single-turn evaluation, in the shape of versions 1.0.8 to 1.0.10."""

    failed_results: Annotated[
        list[list[FailedSingleTurnResult]], Field(description="The failed results, by layer.")
    ]
    results_by_iteration: Annotated[
        list[list[SingleTurnEvaluationResult]], Field(description="All results, by layer.")
    ]


class SingleTurnResponse(SingleTurnLayeredResponse):
    """Answer of a single-turn evaluation: the same results in the shape of every version."""

    results: list[SingleTurnEvaluationResult]


class SingleTurnFlatResponse(_Answer):
    """Answer of a single-turn evaluation, in the shape of version 1.0.11."""

    results: list[SingleTurnEvaluationResult]


class MultiTurnResponse(_Answer):
    """Answer of a multi-turn evaluation: every conversation, and again those that failed."""

    failed_results: list[FailedMultiTurnResult]
    results: list[MultiTurnEvaluationResult]


class MultiTurnFlatResponse(_Answer):
    """Answer of a multi-turn evaluation, in the shape of version 1.0.11."""

    results: list[MultiTurnEvaluationResult]


_LAYERED: Mapping[str, type[BaseModel]] = {
    SINGLE_TURN: SingleTurnLayeredResponse,
    MULTI_TURN: MultiTurnResponse,
}
RESPONSE_MODELS: Mapping[AnswerShape, Mapping[str, type[BaseModel]]] = {
    "all": {SINGLE_TURN: SingleTurnResponse, MULTI_TURN: MultiTurnResponse},
    "1.0.8": _LAYERED,
    "1.0.9": _LAYERED,
    "1.0.10": _LAYERED,
    "1.0.11": {SINGLE_TURN: SingleTurnFlatResponse, MULTI_TURN: MultiTurnFlatResponse},
}
"""The response bodies of the two kinds of evaluation, by the setting `answers`."""


class EvaluationResultSummaryResponse(BaseModel):
    """One earlier result."""

    test_result_id: ResponseId
    evaluation_id: ResponseId
    test_case_id: ResponseId | None
    initial_user_input: str | None
    passed: bool | None
    score: Score | None
    model_response: str | None
    created_at: datetime


class MonthlyQuotaResponse(BaseModel):
    """Test cases generated this month (UTC) and allotted; spelled as the API spells it."""

    generated_tests: Annotated[int, Field(ge=0, examples=[1203])]
    alloted_test_generations: Annotated[int, Field(ge=0, examples=[5000])]


class TestCaseGroupResponse(BaseModel):
    """A group of test cases that the key may use."""

    __test__ = False

    name: Annotated[str, Field(examples=["suicidal_ideation"])]
    description: str | None


class PingResponse(BaseModel):
    """The service is running."""

    message: str
    timestamp: datetime


class VersionResponse(BaseModel):
    """The version of the API whose formats are used, and extensions that this service supports."""

    version: Annotated[str, Field(examples=["1.0.11"])]
    extensions: list[str]


class ValidateApiKeyResponse(BaseModel):
    """Whether a key may be used."""

    valid: bool


class Refusal(BaseModel):
    """Why a request was refused: `error` is a name for programs, `message` a text for people.

    `needed` is the number of test cases that an evaluation may need, if the allotment does not cover it.
    """

    error: Annotated[str, Field(examples=["quota_exceeded"])]
    message: str
    needed: int | None = None


class RefusalResponse(BaseModel):
    """The format of every refusal except 422."""

    detail: Refusal


class ValidationErrorItem(BaseModel):
    """One mistake in a request."""

    loc: list[str | int]
    msg: str
    type: str


class HTTPValidationError(BaseModel):
    """The mistakes in a request."""

    detail: list[ValidationErrorItem]

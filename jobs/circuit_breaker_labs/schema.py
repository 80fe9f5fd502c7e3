"""Bodies of the API: requests held to the contract's bounds, answers of versions 1.0.8 to 1.0.11.

An answer's version shows in its fields: `failed_results` alone is 1.0.8; with an `evaluation_id` it is
1.0.9 or 1.0.10; an `evaluation_id` without `failed_results` is 1.0.11. Only the fields that the numbers
come from are read here (`judged_tests` reads the others), and as leniently as they can be without doubt:
1.0 and "1" are counts, a score may be off by a rounding error, and null stands for what is not there. The
answer's bytes are kept whole elsewhere.
"""

from typing import Annotated, Any, NotRequired

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    TypeAdapter,
    with_config,
)
from pydantic.types import FailFast
from typing_extensions import TypeAliasType, TypedDict

KNOWN_VERSIONS = ("1.0.8", "1.0.9", "1.0.10", "1.0.11")
REPEAT_HEADER = "nightsweep-repeat"
"""The extension of a service that takes the number of a repeat."""
FOLDS_CONVERSATIONS = "nightsweep-folds-conversations"
"""The extension of a service whose conversations do not depend on the threshold and are all listed."""

ANSWER = ConfigDict(coerce_numbers_to_str=True)
_ROUNDING = 1e-9

Threshold = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False)]


def _number(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError("true and false are not numbers")
    return value


def _score(value: Any) -> Any:
    """The score, clamped to 0..1 if rounding put it just outside."""
    if isinstance(value, str):
        value = float(value)
    if isinstance(_number(value), float):
        nearest = min(max(value, 0.0), 1.0)
        return nearest if abs(value - nearest) <= _ROUNDING else value
    return value


Score = Annotated[float, Field(ge=0, le=1, allow_inf_nan=False), BeforeValidator(_score)]
# The largest SQL integer; no evaluation has that many tests.
Count = Annotated[int, Field(ge=0, le=2**53), BeforeValidator(_number)]


def _text_only(value: Any) -> Any:
    return value if isinstance(value, str) else None


def _wrap_layer(value: Any) -> Any:
    """Wrap a single layer that was sent without the list of layers."""
    if isinstance(value, list) and value and isinstance(value[0], dict):
        return [value]
    return value


def _encodable(text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError as error:
        problem = f"character {error.start} is half a surrogate pair: no JSON can hold it"
    else:
        return text
    raise ValueError(problem)


Text = Annotated[str, AfterValidator(_encodable)]


def _unique(names: list[str]) -> list[str]:
    if len(set(names)) != len(names):
        raise ValueError("each group is named once")
    return names


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    threshold: Threshold
    test_case_groups: Annotated[list[Text], Field(min_length=1), AfterValidator(_unique)]


class _SingleTurn(_Request):
    variations: Annotated[int, Field(ge=1, le=5)]
    maximum_iteration_layers: Annotated[int, Field(ge=0, le=2)]


class _MultiTurn(_Request):
    # The contract allows odd numbers, but then the last message has no reply.
    max_turns: Annotated[int, Field(ge=2, le=20, multiple_of=2)]


class _SystemPrompt(BaseModel):
    system_prompt: Text
    openrouter_model_name: Text


class _Finetune(BaseModel):
    model_name: Text


class SingleTurnSystemPrompt(_SingleTurn, _SystemPrompt):
    """Body of POST singleturn_evaluate_system_prompt."""


class SingleTurnFinetune(_SingleTurn, _Finetune):
    """Body of POST singleturn_evaluate_openai_finetune."""


class MultiTurnSystemPrompt(_MultiTurn, _SystemPrompt):
    """Body of POST multiturn_evaluate_system_prompt."""


class MultiTurnFinetune(_MultiTurn, _Finetune):
    """Body of POST multiturn_evaluate_openai_finetune."""


@with_config(ANSWER)
class SingleTurnResult(TypedDict):
    """One reply of the model."""

    safe_response_score: Score
    iteration: NotRequired[Any]
    case: NotRequired[Any]
    test_case_id: NotRequired[Any]


@with_config(ANSWER)
class MultiTurnResult(TypedDict):
    """One conversation; its score is its lowest."""

    min_safe_response_score: Score
    case: NotRequired[Any]
    test_case_id: NotRequired[Any]


# Only the first invalid entry is reported: a hostile list could cause millions of errors. Named aliases,
# because FailFast cannot be hashed and a union hashes its parts.
SingleTurnResults = TypeAliasType(
    "SingleTurnResults", Annotated[list[SingleTurnResult], FailFast()]
)
SingleTurnLayers = TypeAliasType(
    "SingleTurnLayers",
    Annotated[list[SingleTurnResults | None], FailFast(), BeforeValidator(_wrap_layer)],
)
MultiTurnResults = TypeAliasType("MultiTurnResults", Annotated[list[MultiTurnResult], FailFast()])


@with_config(ANSWER)
class SingleTurnAnswer(TypedDict):
    """Answer to a single-turn evaluation, of any known version."""

    total_passed: Count
    total_failed: Count
    evaluation_id: NotRequired[Any]
    failed_results: NotRequired[SingleTurnLayers | None]
    results_by_iteration: NotRequired[SingleTurnLayers | None]
    results: NotRequired[SingleTurnResults | None]
    total_unanswered: NotRequired[Any]
    unanswered_results: NotRequired[Any]


@with_config(ANSWER)
class MultiTurnAnswer(TypedDict):
    """Answer to a multi-turn evaluation, of any known version."""

    total_passed: Count
    total_failed: Count
    evaluation_id: NotRequired[Any]
    failed_results: NotRequired[MultiTurnResults | None]
    results: NotRequired[MultiTurnResults | None]
    total_unanswered: NotRequired[Any]
    unanswered_results: NotRequired[Any]


@with_config(ANSWER)
class MonthlyQuota(TypedDict):
    """Answer to GET monthly_quota, spelled as the API spells it."""

    generated_tests: Count
    alloted_test_generations: Count


@with_config(ANSWER)
class TestCaseGroup(TypedDict):
    """One group of GET test_case_groups."""

    name: Annotated[str, Field(min_length=1)]
    description: NotRequired[Annotated[str | None, BeforeValidator(_text_only)]]


@with_config(ANSWER)
class KeyValidity(TypedDict):
    """Answer to GET validate_api_key."""

    valid: bool


@with_config(ANSWER)
class Ping(TypedDict):
    """Answer to GET ping."""

    timestamp: NotRequired[str]


@with_config(ANSWER)
class Version(TypedDict):
    """Answer to GET version. `extensions` is Nightsweep's own: what it knows beyond the contract."""

    version: str
    extensions: NotRequired[list[str] | None]


SINGLE_TURN_ANSWER = TypeAdapter(SingleTurnAnswer)
MULTI_TURN_ANSWER = TypeAdapter(MultiTurnAnswer)
MONTHLY_QUOTA = TypeAdapter(MonthlyQuota)
TEST_CASE_GROUPS: TypeAdapter[list[TestCaseGroup]] = TypeAdapter(
    Annotated[list[TestCaseGroup], FailFast()]
)
KEY_VALIDITY = TypeAdapter(KeyValidity)
PING = TypeAdapter(Ping)
VERSION = TypeAdapter(Version)

"""The tests of an answer, passed or failed, read from bytes that may hold anything.

The lists of all results (from version 1.0.9 on) name the test case; those of failed results do not. A
Nightsweep service, whose answers have the same shape, also says which message a variation was made from,
and why the judge decided as it did.
"""

from collections.abc import Iterator
from typing import Annotated, Any, TypeAlias, TypeVar

from pydantic import (
    AliasChoices,
    BaseModel,
    Field,
    GetCoreSchemaHandler,
    StrictBool,
    ValidationError,
)
from pydantic_core.core_schema import CoreSchema, with_default_schema

from engine.kinds import JobError, JudgedTest, Message
from jobs.circuit_breaker_labs.schema import ANSWER, Count, Score
from jobs.http import read_json

T = TypeVar("T")

_VALUES = (
    "risk_level",
    "control",
    "strategy",
    "mutator",
    "language",
    "translated_back",
    "truncated",
)
"""The fields of a test that become `JudgedTest.values`."""


class _NoneIfInvalid:
    """Reads a value that is missing or of another type as None, without a call into Python."""

    def __get_pydantic_core_schema__(
        self, source: Any, handler: GetCoreSchemaHandler
    ) -> CoreSchema:
        return with_default_schema(handler(source), default=None, on_error="default")


_OrNone: TypeAlias = Annotated[T | None, _NoneIfInvalid()]


class _Message(BaseModel):
    model_config = ANSWER

    role: str
    content: str


class _Test(BaseModel):
    """What an answer says of a test; what is missing, or of another type, is None."""

    model_config = ANSWER

    score: _OrNone[Score] = Field(
        None, validation_alias=AliasChoices("safe_response_score", "min_safe_response_score")
    )
    passed: _OrNone[StrictBool] = None
    case: _OrNone[str] = None
    test_case_id: _OrNone[str] = None
    conversation_id: _OrNone[Count] = None
    parent_conversation_id: _OrNone[Count] = None
    iteration: _OrNone[Count] = None
    user_input: _OrNone[str] = None
    model_response: _OrNone[str] = None
    conversation: _OrNone[list[_OrNone[_Message]]] = None
    judgement: _OrNone[dict[str, Any]] = None
    risk_level: _OrNone[str] = None
    control: _OrNone[StrictBool] = None
    strategy: _OrNone[str] = None
    mutator: _OrNone[str] = None
    language: _OrNone[str] = None
    translated_back: _OrNone[str] = None
    truncated: _OrNone[StrictBool] = None

    def has_failed(self, threshold: float) -> bool | None:
        """Whether its score is below the threshold; without a score, what the answer calls it, None if nothing."""
        if self.score is not None:
            return self.score < threshold
        return None if self.passed is None else not self.passed

    def messages(self) -> tuple[Message, ...]:
        found = [
            Message(role=one.role, content=one.content)
            for one in self.conversation or ()
            if one is not None
        ]
        if self.user_input is not None:
            found.append(Message(role="user", content=self.user_input))
        if self.model_response is not None:
            found.append(Message(role="assistant", content=self.model_response))
        return tuple(found)


def read_tests(body: bytes, threshold: float) -> Iterator[JudgedTest]:
    """The tests that an answer of any version lists, in its order; those with a score below the threshold failed.

    A test whose score cannot be read has failed or passed if the answer says so, and is left out otherwise. Of
    an answer that lists only its failed tests, only those that fail at the threshold are yielded. What else
    cannot be read is left out or None.
    """
    answer = _read(body)
    full = _find_list(answer, "results") or _find_list(answer, "results_by_iteration")
    for layer, result in _each_result(full or _find_list(answer, "failed_results")):
        try:
            test = _Test.model_validate(result)
        except ValidationError:
            continue
        if not full:
            test.passed = False
        failed = test.has_failed(threshold)
        if failed or (full and failed is not None):
            yield _to_judged_test(test, layer, failed=failed)


def _read(body: bytes) -> dict[str, Any]:
    try:
        answer = read_json(body, "a stored answer")
    except JobError:
        return {}
    return answer if isinstance(answer, dict) else {}


def _find_list(answer: dict[str, Any], name: str) -> list[Any]:
    """A list of the answer; empty if there is none by this name."""
    found = answer.get(name)
    return found if isinstance(found, list) else []


def _each_result(listed: list[Any]) -> Iterator[tuple[int | None, Any]]:
    """Each result of a list, with the number of its layer if the list is one of layers."""
    for number, one in enumerate(listed):
        if isinstance(one, list):
            yield from ((number, result) for result in one)
        else:
            yield None, one


def _to_judged_test(test: _Test, layer: int | None, *, failed: bool) -> JudgedTest:
    return JudgedTest(
        failed=failed,
        case=test.test_case_id if test.case is None else test.case,
        number=test.conversation_id,
        parent=test.parent_conversation_id,
        layer=test.iteration if layer is None else layer,
        score=test.score,
        messages=test.messages(),
        evidence=test.judgement,
        values={name: value for name in _VALUES if (value := getattr(test, name)) is not None},
    )

"""The answer of an evaluation, in the shape of the Circuit Breaker Labs API 1.0.9 and later.

In addition to that API's fields, each result has its case, its parent and its judgement with evidence, and
the document names the judge, the target and the cases. Unanswered questions are counted and listed
separately with a reason only: an endpoint's error text may hold what not every reader should see.
"""

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any

from engine.kinds import Answer, ListedTest, Listing, Measurement, counted_unanswered
from jobs.evaluator.groups import Case
from jobs.evaluator.multi_turn import Conversation, MultiTurnOutcome, UnfinishedConversation
from jobs.evaluator.mutators import Translation
from jobs.evaluator.questions import MissingAnswer
from jobs.evaluator.single_turn import JudgedMessage, SingleTurnOutcome, UnansweredQuestion

_ID_BYTES = 6
"""Identifiers stay below 2**48, which JSON readers that use doubles keep exact."""


def single_turn_answer(
    key: str,
    found: SingleTurnOutcome,
    provenance: Mapping[str, Any],
    warning: str | None = None,
    *,
    is_layered: bool = False,
) -> Answer:
    """The raw answer and its numbers; `key` is the job's, from which all identifiers derive.

    Equal arguments give equal bytes. The document contains `provenance` and the `warning`. Unanswered
    questions are neither passed nor failed. `is_layered` says that only cases that fail are varied.
    """
    layers = found.layers
    results = [
        [_result_fields(key, number, one) for one in layer] for number, layer in enumerate(layers)
    ]
    everything = [one for layer in layers for one in layer]
    passed = sum(one.passed for one in everything)
    document = {
        "evaluation_id": _identifier(key),
        "total_passed": passed,
        "total_failed": len(everything) - passed,
        "failed_results": [
            [_failed_fields(one) for one in layer if not one.passed] for layer in layers
        ],
        "results_by_iteration": results,
        "total_unanswered": len(found.unanswered),
        "unanswered_results": [_question_fields(one) for one in found.unanswered],
        **provenance,
    }
    tests = [
        ListedTest(one.message.case.id, number, one.judgement.score)
        for number, layer in enumerate(layers)
        for one in layer
    ]
    unanswered = [ListedTest(one.case.id, one.iteration, None) for one in found.unanswered]
    missing = [one.missing for one in found.unanswered]
    listing = Listing.of([*tests, *unanswered], is_layered=is_layered)
    return _answer(document, passed, listing, missing, warning)


def multi_turn_answer(
    key: str,
    found: MultiTurnOutcome,
    provenance: Mapping[str, Any],
    warning: str | None = None,
) -> Answer:
    """The raw answer and its numbers, with one test for each conversation.

    `key` is the job's, from which all identifiers derive, so equal arguments give equal bytes. The document
    contains `provenance` and the `warning`. Unfinished conversations are neither passed nor failed.
    """
    conversations = found.conversations
    passed = sum(one.passed for one in conversations)
    document = {
        "evaluation_id": _identifier(key),
        "total_passed": passed,
        "total_failed": len(conversations) - passed,
        "failed_results": [
            _failed_conversation_fields(one) for one in conversations if not one.passed
        ],
        "results": [_conversation_fields(key, one) for one in conversations],
        "total_unanswered": len(found.unfinished),
        "unanswered_results": [_unfinished_fields(one) for one in found.unfinished],
        **provenance,
    }
    tests = [ListedTest(one.case.id, 0, one.judgement.score) for one in conversations]
    unanswered = [ListedTest(one.case.id, 0, None) for one in found.unfinished]
    missing = [one.missing for one in found.unfinished]
    return _answer(document, passed, Listing.of([*tests, *unanswered]), missing, warning)


def _answer(
    document: dict[str, Any],
    passed: int,
    listing: Listing,
    missing: Sequence[MissingAnswer],
    warning: str | None,
) -> Answer:
    if warning is not None:
        document["warnings"] = [warning]
    scores = sorted(test.score for test in listing.tests if test.score is not None)
    return Answer(
        raw=json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode(),
        measurement=Measurement(
            passed=passed,
            failed=len(scores) - passed,
            tests=len(scores),
            scores=tuple(scores),
            unanswered=_by_reason(missing),
            note=_note(missing, len(scores)),
            listing=listing,
        ),
    )


def _by_reason(missing: Sequence[MissingAnswer]) -> dict[str, int]:
    """The number of unanswered questions by reason, most frequent first."""
    return dict(Counter(sorted(one.reason for one in missing)).most_common())


def _note(missing: Sequence[MissingAnswer], answered: int) -> str | None:
    """A sentence on the unanswered questions that quotes one of their errors."""
    if not missing:
        return None
    first = missing[0]
    error_text = ": ".join(filter(None, (first.error.message, first.error.detail)))
    return (
        f"{counted_unanswered(_by_reason(missing), answered)}, such as {first.case}: {error_text}"
    )


def _question_fields(one: UnansweredQuestion) -> dict[str, Any]:
    return {
        "conversation_id": one.conversation_id,
        "user_input": one.user_input,
        "reason": one.missing.reason,
        "iteration": one.iteration,
        **_case_fields(one.case),
        "parent_conversation_id": one.parent_id,
        "mutator": one.mutator,
    }


def _unfinished_fields(one: UnfinishedConversation) -> dict[str, Any]:
    return {
        "conversation_id": one.conversation_id,
        "reason": one.missing.reason,
        **_case_fields(one.case),
        "strategy": one.strategy,
    }


def _case_fields(case: Case) -> dict[str, Any]:
    return {
        "test_case_id": _identifier(case.id),
        "case": case.id,
        "risk_level": case.risk_level.value,
        "control": case.control,
    }


def _failed_conversation_fields(one: Conversation) -> dict[str, Any]:
    return {
        "min_safe_response_score": one.judgement.score,
        "conversation_id": one.conversation_id,
        "conversation": [message.as_json() for message in one.messages],
    }


def _conversation_fields(key: str, one: Conversation) -> dict[str, Any]:
    case = one.case
    return {
        "test_result_id": _identifier(key, one.conversation_id),
        **_failed_conversation_fields(one),
        "passed": one.passed,
        **_case_fields(case),
        "strategy": one.strategy,
        "written_by": list(one.written_by),
        "truncated": one.truncated,
        **_redacted_fields(one.redacted),
        "turns": [
            {
                "score": turn.score,
                "red_flags": turn.as_json()["red_flags"],
                **_thinking_fields(thinking),
            }
            for turn, thinking in zip(one.turns, one.thinking, strict=True)
        ],
        "judgement": one.judgement.as_json(),
    }


def _failed_fields(one: JudgedMessage) -> dict[str, Any]:
    return {
        "user_input": one.message.user_input,
        "conversation_id": one.message.conversation_id,
        "model_response": one.reply.text,
        "safe_response_score": one.judgement.score,
    }


def _result_fields(key: str, iteration: int, one: JudgedMessage) -> dict[str, Any]:
    message = one.message
    return {
        "test_result_id": _identifier(key, message.conversation_id),
        "iteration": iteration,
        **_failed_fields(one),
        "passed": one.passed,
        **_case_fields(message.case),
        "parent_conversation_id": message.parent_id,
        "mutator": message.mutator,
        **_translation_fields(message.translation),
        "truncated": one.reply.truncated,
        **_thinking_fields(one.reply.thinking),
        **_redacted_fields(one.reply.redacted),
        "judgement": one.judgement.as_json(),
    }


def _translation_fields(translation: Translation | None) -> dict[str, Any]:
    """For a translation: its language, and the text translated back that the lint has read."""
    if translation is None:
        return {}
    return {"language": translation.language, "translated_back": translation.english}


def _thinking_fields(thinking: str | None) -> dict[str, Any]:
    """The model's reasoning, if the endpoint returned it: part of the transcript, never judged."""
    return {} if thinking is None else {"thinking": thinking}


def _redacted_fields(names: Sequence[str]) -> dict[str, Any]:
    """The references of the keys that were removed from the reply, if any."""
    return {"redacted": list(names)} if names else {}


def _identifier(key: str, *parts: int) -> int:
    text = ":".join([key, *map(str, parts)])
    return int.from_bytes(sha256(text.encode()).digest()[:_ID_BYTES], "big")

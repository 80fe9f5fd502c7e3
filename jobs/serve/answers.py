"""Converts the evaluator's answer into the formats of the API's versions, and into rows of the history.

Versions 1.0.8 to 1.0.10 list the failed results; 1.0.9 and 1.0.10 also list all results by layer; 1.0.11
has only a flat list of all results. Clients ignore unknown fields, so an answer with all three lists
serves every version.
"""

import json
from collections.abc import Mapping
from typing import Any

from engine.kinds import Answer
from jobs.serve.config import AnswerShape


def render_answer(answer: Answer, shape: AnswerShape) -> tuple[bytes, dict[str, Any]]:
    """The response body in the format of one version or of all, and the evaluator's own document.

    The body is the evaluator's bytes, unchanged, unless the format needs other fields; the document, for
    the history, never depends on the format.
    """
    document: dict[str, Any] = json.loads(answer.raw)
    if shape not in ("all", "1.0.11"):
        return answer.raw, document
    rendered = dict(document)
    if "results_by_iteration" in rendered:
        rendered["results"] = [one for layer in rendered["results_by_iteration"] for one in layer]
    if shape == "1.0.11":
        rendered.pop("failed_results")
        rendered.pop("results_by_iteration", None)
    text = json.dumps(rendered, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8"), document


def history_rows(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The results of an evaluator's document, in its order, as rows for Ledger.record_evaluation.

    Of a conversation the first and the last message are kept, with its lowest score.
    """
    if "results_by_iteration" in document:
        return [
            _row(one, one["user_input"], one["model_response"], one["safe_response_score"])
            for layer in document["results_by_iteration"]
            for one in layer
        ]
    rows = []
    for one in document["results"]:
        messages = [message["content"] for message in one["conversation"]]
        rows.append(_row(one, messages[0], messages[-1], one["min_safe_response_score"]))
    return rows


def _row(one: Mapping[str, Any], user_input: str, response: str, score: float) -> dict[str, Any]:
    return {
        "test_result_id": one["test_result_id"],
        "case_id": one["case"],
        "test_case_id": one["test_case_id"],
        "user_input": user_input,
        "model_response": response,
        "score": score,
        "passed": one["passed"],
    }

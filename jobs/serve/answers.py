"""The evaluator's answer in the shapes of the API's versions, and as rows of the history.

Versions 1.0.8 to 1.0.10 list the failed results, 1.0.9 and 1.0.10 all results by layer as well, 1.0.11
all results flat and nothing else. Clients keep fields that they do not know, so one answer with all three
lists serves every version. Each result keeps its case, its descent and its judgement.
"""

import json
from collections.abc import Mapping
from typing import Any

from engine.kinds import Answer
from jobs.serve.config import Answers


def shaped(answer: Answer, shape: Answers) -> tuple[bytes, dict[str, Any]]:
    """The answer's body in the shape of one version or of all, and the evaluator's own document."""
    document: dict[str, Any] = json.loads(answer.raw)
    if shape not in ("all", "1.0.11"):
        return answer.raw, document
    shown = dict(document)
    if "results_by_iteration" in shown:
        shown["results"] = [one for layer in shown["results_by_iteration"] for one in layer]
    if shape == "1.0.11":
        shown.pop("failed_results")
        shown.pop("results_by_iteration", None)
    text = json.dumps(shown, ensure_ascii=False, separators=(",", ":"))
    return text.encode("utf-8"), document


def history_rows(document: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The results of an evaluator's document as the ledger keeps them."""
    if "results_by_iteration" in document:
        return [
            _row(one, one["user_input"], one["model_response"], one["safe_response_score"])
            for layer in document["results_by_iteration"]
            for one in layer
        ]
    rows = []
    for one in document["results"]:
        said = [message["content"] for message in one["conversation"]]
        rows.append(_row(one, said[0], said[-1], one["min_safe_response_score"]))
    return rows


def _row(one: Mapping[str, Any], asked: str, replied: str, score: float) -> dict[str, Any]:
    return {
        "test_result_id": one["test_result_id"],
        "case_id": one["case"],
        "test_case_id": one["test_case_id"],
        "user_input": asked,
        "model_response": replied,
        "score": score,
        "passed": one["passed"],
    }

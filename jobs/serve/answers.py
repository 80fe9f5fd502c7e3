"""The evaluator's answer in the shape of an API version, and as rows of the history.

What is shown up to 1.0.10 is what 1.0.8 shows and what 1.0.9 added; 1.0.11 lists all results flat and
no longer the failed ones apart. The case, the descent and the judgement of each result stay in all.
"""

import json
from collections.abc import Mapping
from typing import Any

from engine.job import Answer
from jobs.serve.config import Version


def shaped(answer: Answer, version: Version) -> tuple[bytes, dict[str, Any]]:
    """The answer's body in a version's shape, and the evaluator's own document."""
    document: dict[str, Any] = json.loads(answer.raw)
    if version != "1.0.11":
        return answer.raw, document
    shown = {name: value for name, value in document.items() if name != "failed_results"}
    if "results_by_iteration" in shown:
        layers = shown.pop("results_by_iteration")
        shown["results"] = [one for layer in layers for one in layer]
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

"""Answers as plain functions of requests: the same body always gives the same answer.

A case's score depends on the model, the prompt and the group, never on the threshold, so that an
answer at one threshold can be compared with what another request gave at a lower one.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import shake_256
from typing import Any, NamedTuple

GROUPS: Mapping[str, int] = {
    "suicidal_ideation": 12,
    "self_harm": 8,
    "eating_disorders": 10,
    "psychosis_delusions": 6,
    "substance_use": 5,
    "benign_controls": 9,
}
"""The groups on offer, with their numbers of cases."""

VERSIONS = ("1.0.8", "1.0.9", "1.0.10", "1.0.11")

NAMES = {
    401: "unauthorized",
    403: "quota_exceeded",
    404: "not_found",
    500: "internal_server_error",
}


class Case(NamedTuple):
    """One test case after its evaluation."""

    iteration: int
    case: str
    score: float


@dataclass(frozen=True, slots=True)
class Evaluation:
    """What an evaluation came to: its answer's bytes and the tests it cost."""

    body: bytes
    tests: int


def encode(document: Any) -> bytes:
    """A document as compact JSON."""
    return json.dumps(document, separators=(",", ":")).encode()


def error_body(status: int, message: str, error: str | None = None) -> bytes:
    """An error in the shape the vendor uses."""
    name = error or NAMES.get(status, "error")
    return encode({"detail": {"error": name, "message": message}})


def evaluate(path: str, request: Mapping[str, Any], version: str) -> Evaluation:
    """The answer to a valid evaluation request, in the shape of an API version."""
    if path.startswith("/singleturn"):
        return _single_turn(request, version)
    return _multi_turn(request, version)


def _scores(count: int, *seed: object) -> Iterator[float]:
    # Two decimals: scores that equal a threshold exactly do occur, and pass.
    digest = shake_256("\x1f".join(map(str, seed)).encode()).digest(count)
    return (round(byte % 101 / 100, 2) for byte in digest)


def _subject(request: Mapping[str, Any]) -> tuple[str, str]:
    model = request.get("openrouter_model_name") or request.get("model_name") or ""
    return model, request.get("system_prompt", "")


def _single_turn(request: Mapping[str, Any], version: str) -> Evaluation:
    model, prompt = _subject(request)
    threshold = request["threshold"]
    variations = request["variations"]
    layer = [
        Case(0, f"{group}-{index}", score)
        for group in request["test_case_groups"]
        for index, score in enumerate(_scores(GROUPS[group], "single", model, prompt, group))
    ]
    layers = [layer]
    for iteration in range(1, request["maximum_iteration_layers"] + 1):
        layer = [
            Case(iteration, f"{parent.case}.{index}", score)
            for parent in layer
            if parent.score < threshold
            for index, score in enumerate(_scores(variations, model, prompt, parent.case))
        ]
        layers.append(layer)
    failed = sum(case.score < threshold for layer in layers for case in layer)
    total = sum(map(len, layers))
    answer: dict[str, Any] = {"total_passed": total - failed, "total_failed": failed}
    numbered = _numbered(layers)
    if version != "1.0.11":
        answer["failed_results"] = [
            [_single_result(case, number) for case, number in layer if case.score < threshold]
            for layer in numbered
        ]
    if version != "1.0.8":
        answer["evaluation_id"] = _identifier(model, prompt, threshold)
        listed = [
            [
                {
                    **_single_result(case, number),
                    "test_result_id": number,
                    "iteration": case.iteration,
                    "passed": case.score >= threshold,
                }
                for case, number in layer
            ]
            for layer in numbered
        ]
        if version == "1.0.11":
            answer["results"] = [result for layer in listed for result in layer]
        else:
            answer["results_by_iteration"] = listed
    return Evaluation(encode(answer), total)


def _numbered(layers: list[list[Case]]) -> list[list[tuple[Case, int]]]:
    number = 0
    numbered = []
    for layer in layers:
        numbered.append([(case, number + index) for index, case in enumerate(layer, 1)])
        number += len(layer)
    return numbered


def _single_result(case: Case, number: int) -> dict[str, Any]:
    return {
        "user_input": f"question {case.case}",
        "conversation_id": number,
        "model_response": f"answer to {case.case}",
        "safe_response_score": case.score,
    }


def _multi_turn(request: Mapping[str, Any], version: str) -> Evaluation:
    model, prompt = _subject(request)
    threshold = request["threshold"]
    turns = request["max_turns"]
    cases = [
        Case(0, f"{group}-{index}", score)
        for group in request["test_case_groups"]
        for index, score in enumerate(_scores(GROUPS[group], "multi", model, prompt, group, turns))
    ]
    results = [_multi_result(case, number, turns) for number, case in enumerate(cases, 1)]
    failed = [result for result in results if result["min_safe_response_score"] < threshold]
    answer: dict[str, Any] = {
        "total_passed": len(results) - len(failed),
        "total_failed": len(failed),
    }
    if version != "1.0.11":
        answer["failed_results"] = failed
    if version != "1.0.8":
        answer["evaluation_id"] = _identifier(model, prompt, threshold)
        answer["results"] = [
            {
                **result,
                "test_result_id": result["conversation_id"],
                "passed": result["min_safe_response_score"] >= threshold,
            }
            for result in results
        ]
    return Evaluation(encode(answer), len(results))


def _multi_result(case: Case, number: int, turns: int) -> dict[str, Any]:
    return {
        "min_safe_response_score": case.score,
        "conversation_id": number,
        "conversation": [
            {"role": "assistant" if turn % 2 else "user", "content": f"{case.case} turn {turn}"}
            for turn in range(turns)
        ],
    }


def _identifier(*seed: object) -> int:
    return int.from_bytes(shake_256(repr(seed).encode()).digest(4), "big")

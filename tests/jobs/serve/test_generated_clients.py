"""Clients generated from /openapi.json are complete, have good names, and work with the service."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.http_client import get
from tests.jobs.serve.running import COLD_MODEL, GROUP, Running, conversation, evaluation, service
from tests.jobs.serve.test_vendor_packages import FINETUNE, OPENAI_KEY
from tests.jobs.serve.vendors.installed import run, run_python

CLIENT_GENERATOR = "openapi-python-client-0.29.1"
MODELS_GENERATOR = "datamodel-code-generator-0.89.0"
CHOICES = {"test_result_id", "test_result_ids", "evaluation_id"}


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with service(tmp_path_factory.mktemp("running")) as started:
        yield started


@pytest.fixture(scope="module")
def document(running: Running) -> dict[str, Any]:
    results = get(f"{running.base_url}/openapi.json").json()
    assert isinstance(results, dict)
    return results


@pytest.fixture(scope="module")
def generated(document: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the package `generated_client`, and the module `generated_models`."""
    folder = tmp_path_factory.mktemp("generated")
    (folder / "openapi.json").write_text(json.dumps(document), encoding="utf-8")
    # It would format what it has written with tools that are not there.
    (folder / "config.yaml").write_text("post_hooks: []\n", encoding="utf-8")
    run_python(
        CLIENT_GENERATOR,
        *("-m", "openapi_python_client", "generate", "--fail-on-warning", "--meta", "none"),
        *("--path", str(folder / "openapi.json"), "--config", str(folder / "config.yaml")),
        *("--output-path", str(folder / "generated_client")),
    )
    run_python(
        MODELS_GENERATOR,
        *("-m", "datamodel_code_generator", "--input", str(folder / "openapi.json")),
        *("--input-file-type", "openapi", "--output-model-type", "pydantic_v2.BaseModel"),
        *("--formatters", "builtin", "--output", str(folder / "generated_models.py")),
    )
    return folder


def call(running: Running, generated: Path, *calls: dict[str, Any]) -> list[dict[str, Any]]:
    """What the generated client makes of the service's answers."""
    results = run(
        CLIENT_GENERATOR,
        "generated_client.py",
        running.base_url,
        given=[
            {**each, "arguments": {"cbl_api_key": running.key, **each.get("arguments", {})}}
            for each in calls
        ],
        beside=generated,
    )
    assert isinstance(results, list)
    return results


def request(call_of: str, model: str, body: dict[str, Any], **changes: Any) -> dict[str, Any]:
    arguments = {}
    if "OpenAiFinetune" in model:
        body = {"model_name": FINETUNE, **body}
        del body["system_prompt"], body["openrouter_model_name"]
        arguments = {"openai_api_key": OPENAI_KEY}
    body = {**body, **changes}
    return {"call": call_of, "model": model, "body": body, "arguments": arguments}


def without_groups(body: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in body.items() if name != "test_case_groups"}


def test_a_generated_client_evaluates_lists_and_runs_again(
    running: Running, generated: Path
) -> None:
    single = request(
        "evaluations.singleturn_evaluate_system_prompt",
        "SingleTurnEvaluateSystemPromptRequest",
        evaluation(openrouter_model_name=COLD_MODEL),
    )
    multi = request(
        "evaluations.multiturn_evaluate_openai_finetune",
        "MultiTurnEvaluateOpenAiFinetuneRequest",
        conversation(),
    )

    first, second, listed = call(
        running,
        generated,
        single,
        multi,
        {"call": "evaluation_history.singleturn_evaluations", "arguments": {"limit": 3}},
    )
    ids = [one["test_result_id"] for one in listed["parsed"]]
    evaluation_id = second["parsed"]["evaluation_id"]
    again = call(
        running,
        generated,
        request(
            "re_run_evaluations.singleturn_rerun_system_prompt",
            "SingleTurnRerunSystemPromptRequest",
            without_groups(evaluation()),
            test_result_ids=ids[:2],
        ),
        request(
            "re_run_evaluations.singleturn_rerun_openai_finetune",
            "SingleTurnRerunOpenAiFinetuneRequest",
            without_groups(evaluation()),
            test_result_id=ids[0],
        ),
        request(
            "re_run_evaluations.multiturn_rerun_system_prompt",
            "MultiTurnRerunSystemPromptRequest",
            without_groups(conversation()),
            evaluation_id=evaluation_id,
        ),
        request(
            "re_run_evaluations.multiturn_rerun_openai_finetune",
            "MultiTurnRerunOpenAiFinetuneRequest",
            without_groups(conversation()),
            evaluation_id=evaluation_id,
        ),
    )

    results = [first, second, *again]
    assert [(each["status"], each["type"]) for each in results] == [
        (200, "SingleTurnResponse"),
        (200, "MultiTurnResponse"),
        (200, "SingleTurnResponse"),
        (200, "SingleTurnResponse"),
        (200, "MultiTurnResponse"),
        (200, "MultiTurnResponse"),
    ]
    assert [len(each["parsed"]["results"]) for each in results] == [3, 3, 2, 1, 3, 3]
    assert first["parsed"]["total_failed"] == len(first["parsed"]["failed_results"][0]) == 3
    for each in again:
        assert set(each["fields"]) >= CHOICES | {"threshold"}


def test_a_generated_client_reads_information_and_refusals(
    running: Running, generated: Path
) -> None:
    unknown = evaluation(openrouter_model_name="acme/unknown")
    evaluate = (
        "evaluations.singleturn_evaluate_system_prompt",
        "SingleTurnEvaluateSystemPromptRequest",
    )

    quota, groups, key, missing, invalid, wrong = call(
        running,
        generated,
        {"call": "api_keys.monthly_quota"},
        {"call": "test_case_groups.test_case_groups"},
        {"call": "api_keys.validate_api_key"},
        request(*evaluate, unknown),
        request(*evaluate, evaluation(threshold=2.0)),
        {"call": "api_keys.monthly_quota", "arguments": {"cbl_api_key": "wrong"}},
    )

    assert quota["parsed"]["alloted_test_generations"] == 100_000
    assert GROUP in [one["name"] for one in groups["parsed"]]
    assert key["parsed"] == {"valid": True}
    refused = [(each["status"], each["type"]) for each in (missing, invalid, wrong)]
    assert refused == [
        (404, "RefusalResponse"),
        (422, "HTTPValidationError"),
        (401, "RefusalResponse"),
    ]


def test_generated_models_have_the_fields_and_the_bounds_of_requests_and_read_answers(
    running: Running, generated: Path
) -> None:
    with running.client() as client:
        single = client.post("/v1/singleturn_evaluate_system_prompt", json=evaluation()).json()
        multi = client.post("/v1/multiturn_evaluate_system_prompt", json=conversation()).json()
    again = without_groups(evaluation())

    results = run(
        MODELS_GENERATOR,
        "generated_models.py",
        given=[
            ("SingleTurnRerunSystemPromptRequest", {**again, "test_result_ids": [2**53 - 1]}),
            ("SingleTurnRerunSystemPromptRequest", {**again, "test_result_ids": [2**53]}),
            ("SingleTurnEvaluateSystemPromptRequest", evaluation(variations=6)),
            ("MultiTurnEvaluateSystemPromptRequest", conversation() | {"max_turns": 22}),
            ("SingleTurnResponse", single),
            ("MultiTurnResponse", multi),
        ],
        beside=generated,
    )

    rerun, too_large, variations, turns, of_single, of_multi = results
    assert set(rerun["fields"]) == CHOICES | set(again)
    assert rerun["read"]["test_result_ids"] == [2**53 - 1]
    assert too_large["refused"] == ["test_result_ids"]
    assert (variations["refused"], turns["refused"]) == (["variations"], ["max_turns"])
    assert len(of_single["read"]["results"]) == len(of_multi["read"]["results"]) == 3


def test_the_service_enforces_the_documented_bounds_of_integers(
    running: Running, document: dict[str, Any]
) -> None:
    bounds = [bound for bound in reported_bounds(document) if bound[0] == "integer"]
    again = without_groups(evaluation())

    with running.client() as client:
        path = "/v1/singleturn_rerun_system_prompt"
        largest = client.post(path, json={**again, "test_result_id": 2**53 - 1})
        larger = client.post(path, json={**again, "test_result_id": 2**53})
        history = "/v1/singleturn_evaluations"
        furthest = client.get(history, params={"offset": 2**53 - 1})
        further = client.get(history, params={"offset": 2**53})

    assert len(bounds) > 20
    for kind, name, value in bounds:
        assert type(value) is int, (kind, name, value)
        assert abs(value) < 2**53
    assert (largest.status_code, larger.status_code) == (404, 422)
    assert (furthest.status_code, further.status_code) == (200, 422)


def reported_bounds(part: Any) -> Iterator[tuple[Any, str, Any]]:
    """The type, the rule and the number of every bound in a document."""
    if isinstance(part, list):
        for each in part:
            yield from reported_bounds(each)
    elif isinstance(part, dict):
        for name, value in part.items():
            if name in ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"):
                yield part.get("type"), name, value
            yield from reported_bounds(value)


def test_every_call_has_a_summary_a_description_tags_and_a_unique_name(
    document: dict[str, Any],
) -> None:
    calls = [call for paths in document["paths"].values() for call in paths.values()]
    tags = {tag["name"] for tag in document["tags"]}

    names = [call["operationId"] for call in calls]
    assert len(set(names)) == len(calls) == 20
    assert all(name.isidentifier() for name in names)
    for call in calls:
        assert call["summary"]
        assert call["description"]
        assert set(call["tags"]) <= tags
        assert len(call["tags"]) == 1
        assert all(answer["description"] for answer in call["responses"].values())
    assert {tag for call in calls for tag in call["tags"]} == tags
    assert all(tag["description"] for tag in document["tags"])
    assert len({call["summary"] for call in calls}) == len(calls)


def test_every_request_has_examples_that_the_service_accepts(
    running: Running, document: dict[str, Any]
) -> None:
    schemas = document["components"]["schemas"]
    for path, calls in document["paths"].items():
        call = calls.get("post")
        if call is None or not path.startswith("/v1/"):
            continue
        content = call["requestBody"]["content"]["application/json"]
        schema = schemas[content["schema"]["$ref"].rpartition("/")[2]]
        body = {
            name: described["examples"][0]
            for name, described in schema["properties"].items()
            if "examples" in described
        }
        assert set(schema["required"]) <= set(body)
        with running.client(**{"openai-api-key": OPENAI_KEY}) as client:
            answer = client.post(path, json=body)
        # The model, the group or the earlier result of the example is not there.
        assert answer.status_code in (200, 404), answer.text


def test_the_document_names_every_call_of_the_contract_under_v1_and_no_metrics(
    document: dict[str, Any],
) -> None:
    of_contract = {path for path in document["paths"] if path.startswith("/v1/")}

    assert len(of_contract) == 5 + 4 + 4 + 2
    assert set(document["paths"]) - of_contract == {
        "/redteam/health",
        "/redteam/model-health",
        "/redteam/v3/model-health",
        "/rt/health",
        "/rt/model-health",
    }

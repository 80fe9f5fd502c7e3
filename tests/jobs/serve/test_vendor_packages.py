"""The vendors' own packages work with the service as with the vendors."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from functools import cache
from typing import Any

import httpx
import pytest

from jobs.serve.model_health import QUERY
from tests.jobs.chat.server import Asked
from tests.jobs.serve.running import (
    COLD_MODEL,
    GROUP,
    MODEL,
    OTHER_GROUP,
    Running,
    by_rule,
    conversation,
    evaluation,
    service,
)
from tests.jobs.serve.vendors.installed import asking

LEGACY = "RedTeamLegacyClient"
CURRENT = "RedTeamClient"
OPENAI_KEY = "sk-of-the-caller-4k7p1w9z3x"
FINETUNE = "ft:acme:kind-1"
SINGLE_TURN_CALLS = "evaluations.singleturn_evaluate_system_prompt_post"
QUESTIONS = {
    "health_checks.ping_get": "PingResponse",
    "health_checks.version_get": "VersionResponse",
    "api_keys.validate_api_key_get": "ValidateApiKeyResponse",
    "api_keys.monthly_quota_get": "MonthlyQuotaResponse",
    "test_case_groups.get_test_case_groups_get": "list",
}


VERSIONS = ("1.0.8", "1.0.9", "1.0.10", "1.0.11")
WITH_HISTORY = VERSIONS[1:]


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    """One service, as it is configured by default, for the packages of all versions."""
    with service(tmp_path_factory.mktemp("running")) as started:
        yield started


Calling = Callable[..., list[dict[str, Any]]]
"""What the package of a version makes of the service's answers to calls."""


@pytest.fixture(scope="module")
def call(running: Running) -> Iterator[Calling]:
    """Makes calls with the package of each version, in one process for each."""
    with ExitStack() as packages:

        @cache
        def package(version: str) -> Callable[[Any], Any]:
            name = f"circuit-breaker-labs-{version}"
            return packages.enter_context(asking(name, "circuit_breaker_labs.py", running.base_url))

        def make(version: str, *calls: dict[str, Any]) -> list[dict[str, Any]]:
            got = package(version)(
                [
                    {
                        **each,
                        "arguments": {**_key(running, each["call"]), **each.get("arguments", {})},
                    }
                    for each in calls
                ]
            )
            assert isinstance(got, list)
            return got

        yield make


def _key(running: Running, name: str) -> dict[str, str]:
    return {} if name.startswith("health_checks.") else {"cbl_api_key": running.key}


def evaluate(kind: str, target: str, **changes: Any) -> dict[str, Any]:
    """The call of an evaluation: single_turn or multi_turn, of a system prompt or a fine-tune."""
    module = {
        ("single_turn", "system_prompt"): SINGLE_TURN_CALLS,
        ("single_turn", "finetune"): "evaluations.single_turn_evaluate_openai_fine_tune_post",
        ("multi_turn", "system_prompt"): "evaluations.multi_turn_evaluate_system_prompt_post",
        ("multi_turn", "finetune"): "evaluations.multiturn_evaluate_openai_fine_tune_post",
    }[kind, target]
    return {"call": module, **_request("Evaluate", kind, target, changes)}


def rerun(kind: str, target: str, **changes: Any) -> dict[str, Any]:
    """The call that runs earlier results again."""
    what = "openai_finetune" if target == "finetune" else target
    module = f"re_run_evaluations.{kind.replace('_', '')}_rerun_{what}_post"
    described = _request("Rerun", kind, target, changes)
    del described["body"]["test_case_groups"]
    return {"call": module, **described}


def _request(verb: str, kind: str, target: str, changes: dict[str, Any]) -> dict[str, Any]:
    body = evaluation(**changes) if kind == "single_turn" else conversation(**changes)
    turn = "SingleTurn" if kind == "single_turn" else "MultiTurn"
    if target == "system_prompt":
        return {"model": f"{turn}{verb}SystemPromptRequest", "body": body}
    del body["system_prompt"], body["openrouter_model_name"]
    return {
        "model": f"{turn}{verb}OpenAiFinetuneRequest",
        "body": {**body, "model_name": FINETUNE},
        "arguments": {"openai_api_key": OPENAI_KEY},
    }


EVERY_EVALUATION = [
    (kind, target)
    for kind in ("single_turn", "multi_turn")
    for target in ("system_prompt", "finetune")
]


@pytest.mark.parametrize("version", VERSIONS)
def test_the_package_reads_information(call: Calling, version: str) -> None:
    got = call(version, *({"call": name} for name in QUESTIONS))

    assert [each["status"] for each in got] == [200] * 5
    assert [each["type"] for each in got] == list(QUESTIONS.values())
    ping, version_given, key, quota, groups = (each["parsed"] for each in got)
    assert ping["timestamp"].endswith("+00:00")
    assert version_given["version"] == "1.0.11"
    assert key == {"valid": True}
    assert quota["alloted_test_generations"] == 100_000
    assert {GROUP, OTHER_GROUP} <= {each["name"] for each in groups}


@pytest.mark.parametrize("version", VERSIONS)
def test_the_package_reads_every_evaluation(call: Calling, version: str) -> None:
    got = call(version, *(evaluate(*each) for each in EVERY_EVALUATION))

    assert [each["status"] for each in got] == [200] * 4
    assert [each["type"] for each in got] == ["SingleTurnResponse"] * 2 + ["MultiTurnResponse"] * 2
    for each in got:
        assert each["parsed"]["total_passed"] + each["parsed"]["total_failed"] == 3


@pytest.mark.parametrize("version", VERSIONS[:3])
def test_the_package_reads_failed_results(call: Calling, version: str) -> None:
    single, multi = call(
        version,
        evaluate("single_turn", "system_prompt", openrouter_model_name=COLD_MODEL),
        evaluate("multi_turn", "system_prompt", openrouter_model_name=COLD_MODEL),
    )

    [layer] = single["parsed"]["failed_results"]
    assert len(layer) == single["parsed"]["total_failed"] == 3
    assert all(each["safe_response_score"] < 0.5 for each in layer)
    conversations = multi["parsed"]["failed_results"]
    assert len(conversations) == multi["parsed"]["total_failed"] == 3
    assert all(each["conversation"][0]["role"] == "user" for each in conversations)


@pytest.mark.parametrize("version", WITH_HISTORY)
def test_the_package_reads_every_result_of_its_version(call: Calling, version: str) -> None:
    single, multi = call(
        version,
        evaluate("single_turn", "system_prompt", maximum_iteration_layers=1, threshold=1.0),
        evaluate("multi_turn", "system_prompt"),
    )

    parsed = single["parsed"]
    results = (
        parsed["results"]
        if version == "1.0.11"
        else [each for layer in parsed["results_by_iteration"] for each in layer]
    )
    assert len(results) == parsed["total_passed"] + parsed["total_failed"] > 3
    assert {each["iteration"] for each in results} == {0, 1}
    conversations = multi["parsed"]["results"]
    assert len(conversations) == 3
    for each in (*results, *conversations):
        assert each["test_result_id"] > 0
        assert each["test_case_id"] > 0


@pytest.mark.parametrize("version", VERSIONS)
def test_the_package_reads_every_refusal(running: Running, call: Calling, version: str) -> None:
    asked = evaluate("single_turn", "system_prompt")
    poor = running.another_key(f"poor-{version}", allotment=1)

    got = call(
        version,
        {**asked, "arguments": {"cbl_api_key": "wrong"}},
        {**asked, "arguments": {"cbl_api_key": poor}},
        evaluate("single_turn", "system_prompt", openrouter_model_name="acme/unknown"),
        evaluate("single_turn", "system_prompt", test_case_groups=["unknown"]),
        evaluate("single_turn", "system_prompt", threshold=2.0),
    )

    assert [(each["status"], each["type"]) for each in got] == [
        (401, "UnauthorizedResponse"),
        (403, "QuotaExceededResponse"),
        (404, "NotFoundResponse"),
        (404, "NotFoundResponse"),
        (422, "HTTPValidationError"),
    ]


@pytest.mark.parametrize("kind", ["single_turn", "multi_turn"])
@pytest.mark.parametrize("version", VERSIONS[2:])
def test_the_package_lists_results_and_runs_them_again(
    call: Calling, version: str, kind: str
) -> None:
    history = f"evaluation_history.get_{kind.replace('_', '')}_evaluations_get"

    [first] = call(version, evaluate(kind, "system_prompt"))
    evaluation_id = first["parsed"]["evaluation_id"]
    [listed] = call(version, {"call": history, "arguments": {"limit": 100}})
    mine = [each for each in listed["parsed"] if each["evaluation_id"] == evaluation_id]
    chosen = [each["test_result_id"] for each in mine][:2]
    again = call(
        version,
        rerun(kind, "system_prompt", evaluation_id=evaluation_id),
        rerun(kind, "system_prompt", test_result_ids=chosen),
        rerun(kind, "finetune", evaluation_id=evaluation_id),
    )

    assert len(mine) == 3
    assert len(chosen) == 2
    assert [each["status"] for each in again] == [200] * 3
    totals = [each["parsed"]["total_passed"] + each["parsed"]["total_failed"] for each in again]
    assert totals == [3, 2, 3]


@pytest.mark.parametrize(("kind", "target"), EVERY_EVALUATION)
def test_the_package_of_1_0_9_lists_results_and_runs_one_again(
    call: Calling, kind: str, target: str
) -> None:
    history = f"evaluation_history.get_{kind.replace('_', '')}_evaluations_get"
    call("1.0.9", evaluate(kind, target))
    [listed] = call("1.0.9", {"call": history})
    chosen = listed["parsed"][0]

    [again] = call("1.0.9", rerun(kind, target, test_result_id=chosen["test_result_id"]))

    assert again["status"] == 200
    assert again["parsed"]["total_passed"] + again["parsed"]["total_failed"] == 1


def test_the_caller_s_openai_key_reaches_only_the_configured_endpoint(
    running: Running, call: Calling
) -> None:
    before = len(running.models.asked)

    call("1.0.11", evaluate("single_turn", "finetune"))

    asked = running.models.asked[before:]
    assert {each.headers["authorization"] for each in asked} == {f"Bearer {OPENAI_KEY}"}
    assert {each.body["model"] for each in asked} == {FINETUNE}


def answers(asked: Asked) -> tuple[int, Any]:
    if asked.body["model"] == "acme/down":
        return 503, {"error": {"message": "no GPU is free"}}
    return by_rule(Asked(asked.line, asked.headers, {**asked.body, "seed": 0}))


@pytest.fixture(scope="module")
def healthy(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with service(tmp_path_factory.mktemp("healthy"), answers) as started:
        yield started


@pytest.fixture(scope="module")
def enkrypt(healthy: Running) -> Iterator[Callable[[Any], Any]]:
    """What Enkrypt's package makes of the service's answers to calls, in one process."""
    name = "enkryptai-sdk-1.0.47"
    with asking(name, "enkryptai.py", healthy.base_url, healthy.key) as ask:
        yield ask


def endpoint_configuration(running: Running, model: str) -> dict[str, Any]:
    """Where the models of a service answer, as version 3 of the vendor's interface tells it."""
    url = httpx.URL(running.models.base_url)
    return {
        "endpoint_configuration": {
            "testing_for": "foundationModels",
            "model_name": model,
            "model_config": {
                "model_provider": "openai_compatible",
                "endpoint": {
                    "scheme": "http",
                    "host": url.host,
                    "port": url.port,
                    "base_path": "/v1",
                },
                "apikeys": [OPENAI_KEY],
                "input_modalities": ["text"],
                "output_modalities": ["text"],
            },
        }
    }


def rt_target(running: Running, model: str) -> dict[str, Any]:
    """The same as the calls under /rt tell it."""
    return {
        "endpoint": f"{running.models.base_url}/chat/completions",
        "api_key": OPENAI_KEY,
        "model_name": model,
        "provider": "openai_compatible",
    }


def test_enkrypt_s_package_reads_that_a_model_is_healthy(
    healthy: Running, enkrypt: Callable[[Any], Any]
) -> None:
    target = {
        "model_name": MODEL,
        "model_endpoint_url": f"{healthy.models.base_url}/chat/completions",
        "model_api_key": OPENAI_KEY,
    }

    got = enkrypt(
        [
            (LEGACY, "check_model_health_v3", endpoint_configuration(healthy, MODEL)),
            (LEGACY, "check_model_health", {"target_model_configuration": target}),
            (CURRENT, "check_model_health", {"target": rt_target(healthy, MODEL)}),
            (LEGACY, "get_health"),
            (CURRENT, "health_check"),
        ],
    )

    assert got[3:] == [{"status": "healthy"}] * 2
    for each in got[:3]:
        assert each["status"] == "healthy"
        assert each["data"]["query"] == QUERY
        assert each["data"]["response"]
    assert [asked.body["model"] for asked in healthy.models.asked[-3:]] == [MODEL] * 3


def test_enkrypt_s_package_reads_why_a_model_is_unhealthy(
    healthy: Running, enkrypt: Callable[[Any], Any]
) -> None:
    down = endpoint_configuration(healthy, "acme/down")
    elsewhere = endpoint_configuration(healthy, MODEL)
    elsewhere["endpoint_configuration"]["model_config"]["endpoint"]["host"] = "169.254.169.254"

    got = enkrypt(
        [
            (LEGACY, "check_model_health_v3", down),
            (LEGACY, "check_model_health_v3", elsewhere),
            (CURRENT, "check_model_health", {"target": rt_target(healthy, "acme/down")}),
        ],
    )

    # The package raises where there is an error, with the whole message.
    assert "unhealthy" in got[0]["raised"]
    assert "no GPU is free" in got[0]["raised"]
    assert "is not listed" in got[1]["raised"]
    assert "no GPU is free" in got[2]["raised"]
    assert OPENAI_KEY not in str(got)

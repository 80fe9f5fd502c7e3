"""Evaluations over HTTP: answers, refusals, quota, groups, history and re-runs."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Barrier, Thread
from typing import Any

import httpx
import pytest
from anyio.from_thread import start_blocking_portal

from engine.clock import SystemClock
from engine.kinds import UsageError
from jobs.chat.model_caller import SHORT_QUESTION
from jobs.serve import server
from jobs.serve.config import ServeConfig, read_config
from tests import http_client
from tests.contracts.contract import contract
from tests.http_client import get
from tests.jobs.chat.server import Asked, chat_server
from tests.jobs.serve.running import (
    COLD_MODEL,
    GROUP,
    MODEL,
    OTHER_GROUP,
    PROMPT,
    Running,
    by_rule,
    conversation,
    evaluation,
    make_key,
    service,
    write_config,
    write_groups,
)
from tests.patience import PATIENCE_S

SINGLE = "/singleturn_evaluate_system_prompt"
MULTI = "/multiturn_evaluate_system_prompt"
FINETUNE = "/singleturn_evaluate_openai_finetune"


@pytest.fixture
def client(shared_service: Running) -> Iterator[httpx.Client]:
    with shared_service.client() as opened:
        yield opened


def finetune_body(**changes: Any) -> dict[str, Any]:
    body = evaluation(model_name="ft:acme:mine", **changes)
    del body["system_prompt"], body["openrouter_model_name"]
    return body


def total(document: dict[str, Any]) -> int:
    passed, failed = document["total_passed"], document["total_failed"]
    assert isinstance(passed, int)
    assert isinstance(failed, int)
    return passed + failed


@contextmanager
def serving(config: ServeConfig, key: str) -> Iterator[httpx.Client]:
    """A client of a service that runs during the block."""
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(server.open_service(config, SystemClock())) as started,
        http_client.client(started.url, {"cbl-api-key": key}) as opened,
    ):
        yield opened


@pytest.mark.parametrize("prefix", ["", "/v1"])
@pytest.mark.parametrize(("path", "body"), [(SINGLE, evaluation()), (MULTI, conversation())])
def test_an_answer_follows_the_contract_and_has_the_fields_of_later_versions(
    client: httpx.Client, prefix: str, path: str, body: dict[str, Any]
) -> None:
    answer = client.post(prefix + path, json=body)

    assert answer.status_code == 200
    document = answer.json()
    assert contract().answer_problems("POST", path, 200, document) == []
    assert total(document) == 3
    assert document["evaluation_id"] > 0
    assert len(document["results"]) == 3
    assert all(one["judgement"]["items"] for one in document["results"])


def test_an_answer_lists_its_results_in_the_format_of_every_version(client: httpx.Client) -> None:
    body = evaluation(maximum_iteration_layers=1, threshold=1.0)

    document = client.post(SINGLE, json=body).json()

    flat = [one for layer in document["results_by_iteration"] for one in layer]
    assert document["results"] == flat
    assert len(flat) == total(document) > 3
    failed = [one["conversation_id"] for layer in document["failed_results"] for one in layer]
    assert failed == [one["conversation_id"] for one in flat if not one["passed"]]


@pytest.mark.parametrize(
    ("answers", "single", "multi"),
    [
        ("all", {"failed_results", "results_by_iteration", "results"}, {"failed_results"}),
        ("1.0.8", {"failed_results", "results_by_iteration"}, {"failed_results"}),
        ("1.0.10", {"failed_results", "results_by_iteration"}, {"failed_results"}),
        ("1.0.11", {"results"}, set()),
    ],
)
def test_the_format_of_a_single_version_can_be_configured(
    tmp_path: Path, answers: str, single: set[str], multi: set[str]
) -> None:
    lists = {"failed_results", "results_by_iteration", "results"}

    with service(tmp_path, answers=answers) as running, running.client() as client:
        of_single = client.post(SINGLE, json=evaluation()).json()
        of_multi = client.post(MULTI, json=conversation()).json()
        version = client.get("/version").json()["version"]

    assert lists & set(of_single) == single
    assert lists & set(of_multi) == {"results"} | multi
    assert version == ("1.0.11" if answers == "all" else answers)


def test_cases_of_different_groups_have_different_numbers(client: httpx.Client) -> None:
    mine = [GROUP, OTHER_GROUP]

    document = client.post(SINGLE, json=evaluation(test_case_groups=mine)).json()

    numbers = {one["test_case_id"]: one["case"] for one in document["results"]}
    assert len(numbers) == len(document["results"]) == 6


def test_an_id_that_different_cases_share_is_refused_at_the_start(tmp_path: Path) -> None:
    groups = write_groups(tmp_path / "groups")
    copied = (groups / f"{GROUP}.yaml").read_text(encoding="utf-8")
    copied = copied.replace(f"name: {GROUP}", "name: copied").replace("exams (2)", "finals")
    (groups / "copied.yaml").write_text(copied, encoding="utf-8")

    with pytest.raises(UsageError) as caught, service(tmp_path, cases=str(groups)):
        pass

    # The first and the third are the same cases in another group.
    [line] = str(caught.value).splitlines()
    assert f"the id {GROUP}-02 belongs to different cases in the groups copied and {GROUP}" in line


def test_several_groups_are_one_evaluation_with_its_own_identifiers(
    client: httpx.Client,
) -> None:
    body = evaluation(
        test_case_groups=[GROUP, OTHER_GROUP],
        openrouter_model_name=COLD_MODEL,
        maximum_iteration_layers=1,
        variations=2,
    )

    document = client.post(SINGLE, json=body).json()

    first, second = document["results_by_iteration"]
    assert (len(first), len(second)) == (6, 12)
    ids = [one["conversation_id"] for one in [*first, *second]]
    assert ids == list(range(18))
    assert [one["case"].rpartition("-")[0] for one in first] == [GROUP] * 3 + [OTHER_GROUP] * 3


@pytest.mark.parametrize(
    ("changes", "status", "name"),
    [
        ({"openrouter_model_name": "acme/unknown"}, 404, "not_found"),
        ({"test_case_groups": ["unknown"]}, 404, "not_found"),
        ({"threshold": 1.01}, 422, None),
        ({"threshold": "0.5"}, 422, None),
        ({"variations": 6}, 422, None),
        ({"variations": True}, 422, None),
        ({"maximum_iteration_layers": 3}, 422, None),
        ({"test_case_groups": []}, 422, None),
        ({"test_case_groups": [GROUP, GROUP]}, 422, None),
        ({"system_prompt": None}, 422, None),
    ],
)
def test_a_request_outside_the_contract_is_refused_in_its_format(
    client: httpx.Client, changes: dict[str, Any], status: int, name: str | None
) -> None:
    answer = client.post(SINGLE, json=evaluation(**changes))

    assert answer.status_code == status
    assert contract().answer_problems("POST", SINGLE, status, answer.json()) == []
    if name is None:
        [problem] = answer.json()["detail"]
        assert problem["loc"][:2] == ["body", next(iter(changes))]
    else:
        assert answer.json()["detail"]["error"] == name


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"threshold": NaN}',
        b'{"threshold": 1e999, "\\ud800": "\\ud800"}',
        json.dumps(evaluation(system_prompt="\ud800")).encode(),
        b"",
    ],
)
def test_a_body_that_is_not_json_is_a_validation_error(client: httpx.Client, body: bytes) -> None:
    answer = client.post(SINGLE, content=body, headers={"content-type": "application/json"})

    assert answer.status_code == 422
    assert contract().answer_problems("POST", SINGLE, 422, answer.json()) == []


def test_integers_may_be_written_as_floats(client: httpx.Client) -> None:
    body = json.dumps(evaluation()).replace('"variations": 1', '"variations": 1.0')

    answer = client.post(SINGLE, content=body, headers={"content-type": "application/json"})

    assert answer.status_code == 200


@pytest.mark.parametrize(
    ("path", "header"), [(SINGLE, "cbl-api-key"), ("/redteam/v3/model-health", "apikey")]
)
def test_a_body_is_not_parsed_without_a_key(
    shared_service: Running, path: str, header: str
) -> None:
    with shared_service.client(**{"content-type": "application/json"}) as client:
        del client.headers["cbl-api-key"]
        wrong = client.post(path, content=b"[[[", headers={header: "wrong"})
        missing = client.post(path, content=b"[[[")
        right = client.post(path, content=b"[[[", headers={header: shared_service.key})

    assert wrong.status_code == 401
    assert missing.status_code == 422
    [problem] = missing.json()["detail"]
    assert (problem["loc"], problem["type"]) == (["header", header], "missing")
    [problem] = right.json()["detail"]
    assert problem["type"] == "json_invalid"


def test_a_group_that_the_key_may_not_use_is_not_found(shared_service: Running) -> None:
    limited = shared_service.another_key("limited", groups=[OTHER_GROUP])

    with shared_service.client(**{"cbl-api-key": limited}) as client:
        refused = client.post(SINGLE, json=evaluation())
        allowed = client.post(SINGLE, json=evaluation(test_case_groups=[OTHER_GROUP]))

    assert (refused.status_code, allowed.status_code) == (404, 200)


def test_the_caller_s_key_is_sent_only_to_openai_and_without_a_system_prompt(
    tmp_path: Path,
) -> None:
    secret = "sk-of-the-caller-0815"  # noqa: S105 (made up)
    with service(tmp_path) as running, running.client() as client:
        missing = client.post(FINETUNE, json=finetune_body())
        answer = client.post(FINETUNE, json=finetune_body(), headers={"openai-api-key": secret})

    assert missing.status_code == 422
    assert answer.status_code == 200
    assert {asked.headers["authorization"] for asked in running.models.asked} == {
        f"Bearer {secret}"
    }
    roles = [
        message["role"] for asked in running.models.asked for message in asked.body["messages"]
    ]
    assert set(roles) == {"user"}
    kept = [file.read_bytes() for file in tmp_path.iterdir() if file.is_file()]
    assert not any(secret.encode() in content for content in kept)


def test_a_transient_error_is_retried_without_repeating_answered_questions(
    tmp_path: Path,
) -> None:
    seen: list[Any] = []

    def fail_once(asked: Asked) -> tuple[int, Any]:
        question = asked.body["messages"][-1]["content"]
        if question == SHORT_QUESTION[-1].content:
            return by_rule(asked)  # the check whether the endpoint is reachable
        seen.append(question)
        return (503, {"error": "busy"}) if len(seen) == 2 else by_rule(asked)

    with service(tmp_path, fail_once) as running, running.client() as client:
        answer = client.post(SINGLE, json=evaluation())

    assert answer.status_code == 200
    assert len(seen) == 4
    assert len(set(seen)) == 3


def test_tests_are_charged_and_an_evaluation_over_the_allotment_is_refused(
    service: Running,
) -> None:
    poor = service.another_key("poor", allotment=7)
    with service.client(**{"cbl-api-key": poor}) as client:
        first = client.post(SINGLE, json=evaluation())
        # At most 3 + 3 tests, of which 4 are left.
        second = client.post(SINGLE, json=evaluation(maximum_iteration_layers=1))
        asked = len(service.models.asked)
        third = client.post(MULTI, json=conversation())
        quota = client.get("/monthly_quota").json()

    assert (first.status_code, second.status_code, third.status_code) == (200, 403, 200)
    assert second.json()["detail"]["error"] == "quota_exceeded"
    assert second.json()["detail"]["needed"] == 6
    assert contract().answer_problems("POST", SINGLE, 403, second.json()) == []
    assert asked == 3
    assert quota == {"generated_tests": 6, "alloted_test_generations": 7}


def test_concurrent_evaluations_stay_within_the_allotment_and_reservations_refuse_with_429(
    tmp_path: Path,
) -> None:
    with service(tmp_path, limits={"evaluations_per_key": 8}) as running:
        poor = running.another_key("poor", allotment=7)
        barrier = Barrier(6, timeout=PATIENCE_S)
        answers: list[httpx.Response] = []

        def ask() -> None:
            with running.client(**{"cbl-api-key": poor}) as client:
                barrier.wait()
                answers.append(client.post(SINGLE, json=evaluation()))

        threads = [Thread(target=ask, daemon=True) for _ in range(6)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(PATIENCE_S)
        with running.client(**{"cbl-api-key": poor}) as client:
            quota = client.get("/monthly_quota").json()

    refused = [answer for answer in answers if answer.status_code != 200]
    held = [answer for answer in refused if answer.status_code == 429]
    assert len(refused) == 4
    # 429 while the two were running, 403 after they had used the allotment.
    assert {answer.status_code for answer in refused} <= {403, 429}
    assert all(answer.json()["detail"]["error"] == "quota_held" for answer in held)
    assert all("retry-after" in answer.headers for answer in held)
    assert quota["generated_tests"] == 6


def test_the_history_lists_the_key_s_own_results_latest_first_in_pages(service: Running) -> None:
    other = service.another_key("other")
    with service.client() as client:
        first = client.post(SINGLE, json=evaluation()).json()
        second = client.post(SINGLE, json=evaluation(openrouter_model_name=COLD_MODEL)).json()
        everything = client.get("/v1/singleturn_evaluations").json()
        page = client.get("/singleturn_evaluations", params={"limit": 2, "offset": 2}).json()
        conversations = client.get("/multiturn_evaluations").json()
        too_many = client.get("/singleturn_evaluations", params={"limit": 101})
    theirs = get(
        f"{service.base_url}/singleturn_evaluations", headers={"cbl-api-key": other}
    ).json()

    ids = [one["evaluation_id"] for one in everything]
    assert ids == [second["evaluation_id"]] * 3 + [first["evaluation_id"]] * 3
    assert page == everything[2:4]
    assert {one["model_response"] for one in everything[:3]} == {"Buy more rice."}
    assert conversations == theirs == []
    assert too_many.status_code == 422


def test_earlier_results_are_run_again_with_the_same_questions(service: Running) -> None:
    with service.client() as client:
        body = evaluation(openrouter_model_name=COLD_MODEL, maximum_iteration_layers=1)
        before = client.post(SINGLE, json=body).json()
        deepest = before["results_by_iteration"][1]
        chosen = [one["test_result_id"] for one in deepest[:2]]
        again = evaluation(test_result_ids=chosen)
        del again["test_case_groups"]
        after = client.post("/singleturn_rerun_system_prompt", json=again)
        # The field of version 1.0.9.
        one_more = {**again, "test_result_ids": None, "test_result_id": chosen[1]}
        alone = client.post("/singleturn_rerun_system_prompt", json=one_more)

    [layer] = after.json()["results_by_iteration"]
    assert [one["user_input"] for one in layer] == [one["user_input"] for one in deepest[:2]]
    assert [one["case"] for one in layer] == [one["case"] for one in deepest[:2]]
    assert [one["user_input"] for one in alone.json()["results"]] == [deepest[1]["user_input"]]


def test_results_are_listed_and_run_again_after_a_restart(tmp_path: Path) -> None:
    with (
        start_blocking_portal() as portal,
        portal.wrap_async_context_manager(chat_server(by_rule)) as models,
    ):
        config = read_config(write_config(tmp_path, models.base_url, {}))
        key = make_key(config, "tester")
        with serving(config, key) as client:
            before = client.post(SINGLE, json=evaluation()).json()
            listed_before = client.get("/singleturn_evaluations").json()
        with serving(config, key) as client:
            listed = client.get("/singleturn_evaluations").json()
            again = evaluation(evaluation_id=before["evaluation_id"])
            del again["test_case_groups"]
            after = client.post("/singleturn_rerun_system_prompt", json=again)

    assert len(listed) == total(before) == 3
    assert listed == listed_before
    assert after.status_code == 200
    assert total(after.json()) == 3


@pytest.mark.parametrize(
    ("chosen", "status"),
    [
        ({"evaluation_id": 4711}, 404),
        ({"test_result_ids": [4711]}, 404),
        ({}, 422),
        ({"evaluation_id": 1, "test_result_ids": [1]}, 422),
        ({"test_result_ids": []}, 422),
        ({"evaluation_id": None}, 422),
        ({"evaluation_id": None, "test_result_ids": None}, 422),
        ({"evaluation_id": 4711, "test_result_ids": None}, 404),
        ({"evaluation_id": None, "test_result_ids": [4711]}, 404),
        ({"test_result_id": 4711}, 404),
        ({"test_result_id": 4711.0, "test_result_ids": None}, 404),
        ({"test_result_id": 1, "test_result_ids": [1]}, 422),
        ({"test_result_id": 1, "evaluation_id": 1}, 422),
        ({"test_result_id": "1"}, 422),
        ({"test_result_id": None}, 422),
    ],
)
def test_a_re_run_selects_earlier_results_of_the_key_in_one_of_three_ways(
    client: httpx.Client, chosen: dict[str, Any], status: int
) -> None:
    body = {**evaluation(), **chosen}
    del body["test_case_groups"]

    answer = client.post("/singleturn_rerun_system_prompt", json=body)

    assert answer.status_code == status


def test_an_id_with_a_star_offers_all_models_of_an_endpoint(tmp_path: Path) -> None:
    with service(tmp_path) as plain:
        models = {"*": {"endpoint": {"base_url": plain.models.base_url}}}
        (tmp_path / "wild").mkdir()
        with service(tmp_path / "wild", models=models) as running, running.client() as client:
            answer = client.post(SINGLE, json=evaluation(openrouter_model_name="any/thing"))

        assert answer.status_code == 200
        assert {asked.body["model"] for asked in plain.models.asked} == {"any/thing"}


def test_a_model_may_have_another_name_at_its_endpoint(tmp_path: Path) -> None:
    with service(tmp_path) as plain:
        endpoint = {"base_url": plain.models.base_url}
        models = {MODEL: {"endpoint": endpoint, "model": "theirs"}}
        (tmp_path / "named").mkdir()
        with service(tmp_path / "named", models=models) as running, running.client() as client:
            assert client.post(SINGLE, json=evaluation(system_prompt=PROMPT)).status_code == 200

        assert {asked.body["model"] for asked in plain.models.asked} == {"theirs"}

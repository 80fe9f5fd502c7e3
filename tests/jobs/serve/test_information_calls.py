"""Ping, version, key, quota and groups, at / and at /v1."""

from datetime import datetime, timedelta

import pytest

from tests.http_client import get, put
from tests.jobs.serve.running import GROUP, OTHER_GROUP, Running


@pytest.fixture(params=["", "/v1"])
def base(request: pytest.FixtureRequest, shared_service: Running) -> str:
    return f"{shared_service.base_url}{request.param}"


def test_ping_answers_with_a_time_zone(base: str) -> None:
    answer = get(f"{base}/ping")

    assert answer.status_code == 200
    moment = datetime.fromisoformat(answer.json()["timestamp"])
    assert moment.utcoffset() == timedelta(0)
    assert answer.json()["message"]


def test_version_is_that_of_the_answers(base: str) -> None:
    assert get(f"{base}/version").json()["version"] == "1.0.11"


def test_a_key_is_valid_and_any_other_is_not(base: str, shared_service: Running) -> None:
    def valid(key: str) -> object:
        return get(f"{base}/validate_api_key", headers={"cbl-api-key": key}).json()

    assert valid(shared_service.key) == {"valid": True}
    assert valid("nsk_other") == {"valid": False}


def test_the_quota_is_that_of_the_key(base: str, shared_service: Running) -> None:
    answer = get(f"{base}/monthly_quota", headers=shared_service.headers)

    assert answer.json() == {"generated_tests": 0, "alloted_test_generations": 100_000}


def test_the_groups_are_those_that_the_key_may_use(base: str, shared_service: Running) -> None:
    name = f"of-{base.count('v1')}"
    limited = shared_service.another_key(name, groups=[OTHER_GROUP])

    everything = get(f"{base}/test_case_groups", headers=shared_service.headers).json()
    some = get(f"{base}/test_case_groups", headers={"cbl-api-key": limited}).json()

    assert {GROUP, OTHER_GROUP, "suicidal_ideation"} <= {group["name"] for group in everything}
    assert some == [{"name": OTHER_GROUP, "description": "moving_house for tests"}]


@pytest.mark.parametrize("path", ["monthly_quota", "test_case_groups"])
def test_without_a_key_it_is_422_and_with_a_wrong_one_401(base: str, path: str) -> None:
    missing = get(f"{base}/{path}")
    wrong = get(f"{base}/{path}", headers={"cbl-api-key": "wrong"})

    assert missing.status_code == 422
    [problem] = missing.json()["detail"]
    assert problem["loc"] == ["header", "cbl-api-key"]
    assert wrong.status_code == 401
    assert wrong.json()["detail"]["error"] == "unauthorized"


def test_a_missing_key_is_a_validation_error_for_validate_api_key_too(base: str) -> None:
    assert get(f"{base}/validate_api_key").status_code == 422


def test_other_paths_and_verbs_are_refused_in_the_same_shape(base: str) -> None:
    unknown = get(f"{base}/docs")
    verb = put(f"{base}/ping")

    assert (unknown.status_code, unknown.json()["detail"]["error"]) == (404, "not_found")
    assert (verb.status_code, verb.json()["detail"]["error"]) == (405, "method_not_allowed")
    assert verb.headers["allow"] == "GET"

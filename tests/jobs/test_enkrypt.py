"""Model health: as a client, as an evaluation, as the gate of other sweeps."""

import json
from collections.abc import AsyncIterator
from copy import deepcopy
from typing import Any

import pytest
from pydantic import ValidationError

from engine.clock import SystemClock
from engine.kinds import (
    Answer,
    Disconnected,
    DocumentAxis,
    Job,
    JobError,
    Permanent,
    TimedOut,
    Transient,
    Unauthorized,
    UsageError,
)
from jobs.enkrypt import Client, Enkrypt, EnkryptHealth, EnkryptHealthSettings, EnkryptSettings
from jobs.enkrypt.schema import HEALTH_ANSWER, read_endpoint, with_secrets
from tests.contracts.server import ContractServer
from tests.jobs.context import MemoryContext

KEY = "planted-enkrypt-key-0a1b2c3d4e5f"
MODEL_KEY = "planted-model-key-6g7h8i9j0k"

ENDPOINT: dict[str, Any] = {
    "testing_for": "foundationModels",
    "model_name": "a/model",
    "certifications": [],
    "field_of_tomorrow": {"kept": [1, None, "x"]},
    "model_config": {
        "model_provider": "together",
        "hosting_type": "External",
        "endpoint": {
            "scheme": "https",
            "host": "api.together.xyz",
            "port": 443,
            "base_path": "/v1",
            "region": "eu",
        },
        "auth_data": {"header_name": "Authorization", "header_prefix": "Bearer"},
        "apikeys": ["env:MODEL_KEY"],
        "default_request_options": {"temperature": 0},
    },
}


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ENKRYPT_API_KEY", KEY)
    monkeypatch.setenv("MODEL_KEY", MODEL_KEY)
    monkeypatch.setenv("OPENROUTER_API_KEY", MODEL_KEY)


@pytest.fixture
async def server() -> AsyncIterator[ContractServer]:
    async with ContractServer(keys=[KEY]) as running:
        yield running


def _endpoint(**changes: Any) -> dict[str, Any]:
    return {**deepcopy(ENDPOINT), **changes}


async def _run(
    server: ContractServer, content: Any, context: MemoryContext | None = None, **settings: Any
) -> Answer:
    service = Enkrypt().with_settings(
        EnkryptSettings(kind="enkrypt", base_url=server.url + "/", **settings)
    )
    async with service.open(SystemClock()) as client:
        [kind] = service.kinds()
        job = Job(
            id=1,
            key="0" * 64,
            run="r",
            parameters={"model": content},
            labels={"model": "m"},
            repeat=1,
            attempt=1,
        )
        return await kind.run(job, client, context or MemoryContext())


async def test_a_healthy_model_passes_and_an_unhealthy_one_fails(server: ContractServer) -> None:
    server.configure(unhealthy_models=["b/model"])

    healthy = (await _run(server, _endpoint())).measurement
    unhealthy = (await _run(server, _endpoint(model_name="b/model"))).measurement

    assert (healthy.passed, healthy.failed, healthy.tests, healthy.scores) == (1, 0, 0, None)
    assert healthy.note == "a/model answered"
    assert (unhealthy.passed, unhealthy.failed) == (0, 1)
    assert unhealthy.note == "b/model did not answer: connection refused"
    assert server.violations == []


@pytest.mark.parametrize(
    ("fields", "status"),
    [
        ({"status": "healthy", "error": "some text"}, "healthy"),
        ({"status": "healthy", "error": None}, "healthy"),
        ({"status": "healthy"}, "healthy"),
        ({"status": "unhealthy", "message": "no", "error": None}, "unhealthy"),
    ],
)
def test_the_status_alone_decides(fields: dict[str, Any], status: str) -> None:
    answer = HEALTH_ANSWER.validate_json(json.dumps(fields))

    assert answer.status == status


def test_unknown_fields_survive_both_ways() -> None:
    document = {"status": "healthy", "message": "m", "data": {"query": "q", "x": 1}, "new": [1]}
    label, content = read_endpoint(_endpoint())

    answer = HEALTH_ANSWER.validate_python(document)
    sent = with_secrets(content)

    assert answer.model_dump(exclude_unset=True) == document
    assert label == "a/model"
    expected = _endpoint()
    assert content == expected
    expected["model_config"]["apikeys"] = [MODEL_KEY]
    assert sent == expected


def test_a_name_is_the_label_and_is_not_sent() -> None:
    label, content = read_endpoint(_endpoint(name="together, EU"))

    assert label == "together, EU"
    assert content == ENDPOINT


@pytest.mark.parametrize(
    "secret",
    [
        {"apikeys": ["sk-literal-key"]},
        {"auth_data": {"apikeys": ["sk-literal-key"]}},
        {"auth_data": {"api-key": "sk-literal-key"}},
        {"default_request_options": {"headers": [{"Authorization": "sk-literal-key"}]}},
    ],
)
async def test_a_literal_key_is_refused_wherever_it_stands(
    server: ContractServer, secret: dict[str, Any]
) -> None:
    document = _endpoint()
    document["model_config"] |= secret

    with pytest.raises(ValueError, match="env:NAME") as caught:
        read_endpoint(document)
    async with Client(api_key=KEY, clock=SystemClock(), url=server.url) as client:
        with pytest.raises(UsageError, match="env:NAME") as caught_late:
            await client.model_health(document)

    assert "sk-literal-key" not in f"{caught.value} {caught_late.value}"
    assert server.requests == []


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"model_name": ""}, "model_name"),
        ({"model_name": 5}, "model_name"),
        ({"model_config": {}}, "model_config: write `endpoint` .* or `endpoint_url`"),
        ({"model_config": {"endpoint_url": ""}}, "model_config: write `endpoint`"),
        ({"model_config": {"endpoint_url": "api.openai.com"}}, "model_config.endpoint_url"),
        ({"model_config": {"endpoint_url": "https://u:p@h/v1"}}, "write a key reference"),
        ({"model_config": {"endpoint": {"scheme": "ftp", "host": "h"}}}, "endpoint.scheme"),
        ({"model_config": {"endpoint": {"scheme": "http", "host": "h", "port": 0}}}, "port"),
        ({"name": " "}, "name"),
    ],
)
def test_a_configuration_that_cannot_work_is_refused_with_its_path(
    change: dict[str, Any], path: str
) -> None:
    with pytest.raises(ValueError, match=path):
        read_endpoint(_endpoint(**change))


async def test_no_key_comes_back_in_an_answer_or_an_error(server: ContractServer) -> None:
    echoing = _endpoint(model_name=f"model {MODEL_KEY}")
    context = MemoryContext()
    echoed = await _run(server, echoing, context)
    server.fail_next(status=422, detail=f"{MODEL_KEY} and {KEY}")
    with pytest.raises(Permanent) as caught:
        await _run(server, _endpoint())

    assert MODEL_KEY.encode() not in echoed.raw
    assert MODEL_KEY not in str(echoed.measurement.note)
    [(kind, message)] = context.notes
    assert kind == "redacted"
    assert "the key of env:MODEL_KEY" in message
    assert caught.value.detail == "[redacted] and [redacted]"


async def test_a_missing_key_of_an_endpoint_fails_no_job(
    server: ContractServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("MODEL_KEY")

    with pytest.raises(Unauthorized, match="MODEL_KEY") as caught:
        await _run(server, _endpoint())

    assert not caught.value.sent


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ("garbage", Transient),
        ("reset", Disconnected),
        ("wrong_schema", Permanent),
        ("error_in_200", Permanent),
        ("hang", TimedOut),
    ],
)
async def test_whatever_goes_wrong_is_a_named_error(
    server: ContractServer, fault: str, error: type[JobError]
) -> None:
    server.play(fault)

    with pytest.raises(JobError) as caught:
        await _run(server, _endpoint(), deadline_s=0.3 if fault == "hang" else 60.0)

    assert type(caught.value) is error


def test_the_kind_has_one_axis_of_documents_and_no_quota() -> None:
    service = Enkrypt().with_settings(EnkryptSettings(kind="enkrypt"))
    [kind] = service.kinds()
    [axis] = kind.axes

    assert (kind.name, axis.name, axis.field) == ("model_health", "models", "model")
    assert isinstance(axis, DocumentAxis)
    assert not kind.uses_quota
    assert kind.folded_field is None
    assert service.identity == "https://api.enkryptai.com"
    assert service.credential == "env:ENKRYPT_API_KEY"


async def test_the_gate_asks_once_about_each_model_through_openrouter(
    server: ContractServer,
) -> None:
    server.configure(unhealthy_models=["b/model"])
    gate = EnkryptHealth().with_settings(EnkryptHealthSettings(base_url=server.url))
    async with gate.open(SystemClock()) as client:
        healthy = await gate.check(client, "a/model")
        unhealthy = await gate.check(client, "b/model")

    assert healthy.healthy
    assert not unhealthy.healthy
    assert "did not answer" in unhealthy.message
    assert [each.model for each in server.requests] == ["a/model", "b/model"]
    assert server.violations == []


# As the vendor's package, enkryptai-sdk 1.0.47, and its notebooks write it.
PACKAGE_FORM: dict[str, Any] = {
    "model_saved_name": "my-endpoint",
    "model_version": "v1",
    "testing_for": "foundationModels",
    "model_name": "gpt-4",
    "model_config": {
        "model_provider": "openai",
        "endpoint_url": "https://api.openai.com/v1/chat/completions",
        "apikey": "env:MODEL_KEY",
        "rate_per_min": 20,
        "input_modalities": ["text"],
        "output_modalities": ["text"],
        "custom_headers": [
            {"key": "X-Api-Key", "value": "env:MODEL_KEY"},
            {"key": "X-Title", "value": "env: none"},
        ],
        "paths": None,
    },
}


async def test_an_endpoint_as_the_vendors_package_writes_it_is_sent_as_it_is(
    server: ContractServer,
) -> None:
    label, content = read_endpoint(PACKAGE_FORM)

    sent = with_secrets(content)

    assert label == "gpt-4"
    assert content == PACKAGE_FORM
    expected = deepcopy(PACKAGE_FORM)
    expected["model_config"]["apikey"] = MODEL_KEY
    expected["model_config"]["custom_headers"][0]["value"] = MODEL_KEY
    assert sent == expected
    assert (await _run(server, PACKAGE_FORM)).measurement.passed == 1


@pytest.mark.parametrize(
    "secret",
    [
        {"apikey": "sk-literal-key"},
        {"model_api_key": "sk-literal-key"},
        {"model_bearer_token": "sk-literal-key"},
        {"custom_headers": [{"key": "Authorization", "value": "sk-literal-key"}]},
        {"custom_headers": [{"key": "x-api-key", "value": "sk-literal-key"}]},
    ],
)
def test_a_literal_key_in_the_packages_form_is_refused(secret: dict[str, Any]) -> None:
    document = deepcopy(PACKAGE_FORM)
    document["model_config"] |= secret

    with pytest.raises(ValueError, match="env:NAME") as caught:
        read_endpoint(document)

    assert "sk-literal-key" not in str(caught.value)


def test_a_gate_takes_an_address_in_place_of_its_parts() -> None:
    changes = {
        "model_config": {"endpoint_url": "https://llm.example/v1", "apikey": "env:MODEL_KEY"}
    }

    settings = EnkryptHealthSettings(endpoint=changes)
    again = EnkryptHealthSettings.model_validate(json.loads(settings.model_dump_json()))

    configuration = settings.endpoint["model_config"]
    assert configuration["endpoint_url"] == "https://llm.example/v1"
    assert not {"endpoint", "paths", "apikeys"} & set(configuration)
    assert configuration["auth_data"]["header_name"] == "Authorization"
    assert again == settings


@pytest.mark.parametrize("opened", ["service", "gate"])
async def test_if_only_the_variable_of_the_vendors_package_is_set_the_error_says_what_to_write(
    opened: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ENKRYPT_API_KEY")
    monkeypatch.setenv("ENKRYPTAI_API_KEY", KEY)
    made: Enkrypt | EnkryptHealth = Enkrypt().with_settings(EnkryptSettings(kind="enkrypt"))
    if opened == "gate":
        made = EnkryptHealth().with_settings(EnkryptHealthSettings())

    with pytest.raises(UsageError, match="write `api_key: env:ENKRYPTAI_API_KEY`"):
        async with made.open(SystemClock()):
            pass


def test_the_gates_endpoint_is_laid_over_the_default_and_survives_the_store() -> None:
    changes = {"model_config": {"endpoint": {"host": "llm.example"}, "apikeys": ["env:MODEL_KEY"]}}

    settings = EnkryptHealthSettings(endpoint=changes)
    again = EnkryptHealthSettings.model_validate(json.loads(settings.model_dump_json()))

    configuration = settings.endpoint["model_config"]
    assert configuration["endpoint"]["host"] == "llm.example"
    assert configuration["endpoint"]["base_path"] == "/api/v1"
    assert configuration["apikeys"] == ["env:MODEL_KEY"]
    assert again == settings


@pytest.mark.parametrize(
    "endpoint",
    [
        {"model_name": "fixed"},
        {"model_config": {"apikeys": ["sk-literal-key"]}},
        {"model_config": {"endpoint": {"scheme": "ftp"}}},
    ],
)
def test_a_gates_endpoint_that_cannot_work_is_refused(endpoint: dict[str, Any]) -> None:
    with pytest.raises(ValidationError) as caught:
        EnkryptHealthSettings(endpoint=endpoint)

    assert "sk-literal-key" not in str(caught.value)


async def test_a_gate_without_the_key_of_the_models_says_so_before_it_is_opened(
    server: ContractServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = EnkryptHealth().with_settings(EnkryptHealthSettings(base_url=server.url))
    monkeypatch.delenv("OPENROUTER_API_KEY")

    with pytest.raises(UsageError, match="OPENROUTER_API_KEY is not set"):
        async with gate.open(SystemClock()):
            pass

    assert server.requests == []


async def test_a_gate_whose_key_is_missing_says_so(
    server: ContractServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = EnkryptHealth().with_settings(EnkryptHealthSettings(base_url=server.url))
    async with gate.open(SystemClock()) as client:
        monkeypatch.delenv("OPENROUTER_API_KEY")
        with pytest.raises(Unauthorized, match="OPENROUTER_API_KEY"):
            await gate.check(client, "a/model")

    assert server.requests == []

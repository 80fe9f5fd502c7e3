"""The service against a real server: every call, every kind, every refusal, checked by the contract."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import ValidationError

from engine.clock import SystemClock
from engine.kinds import (
    Answer,
    Job,
    JobContext,
    JobError,
    JobKind,
    Permanent,
    QuotaExceeded,
    RateLimited,
    TimedOut,
    Transient,
    Unauthorized,
    UsageError,
)
from jobs.circuit_breaker_labs import CircuitBreakerLabs, CircuitBreakerLabsSettings
from jobs.circuit_breaker_labs.client import Client
from tests.contracts.answers import GROUPS, VERSIONS
from tests.contracts.faults import BODIES
from tests.contracts.server import EVALUATIONS, ContractServer
from tests.jobs.context import MemoryContext

KEY = "planted-cbl-key-0a1b2c3d4e5f"
OPENAI_KEY = "planted-openai-key-9z8y7x6w5v"

PARAMETERS: Mapping[str, Any] = {
    "model": "a/model",
    "prompt": "You are kind.",
    "group": "self_harm",
    "threshold": 0.5,
    "variations": 2,
    "maximum_iteration_layers": 0,
    "max_turns": 4,
}


@pytest.fixture(autouse=True)
def keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CBL_KEY", KEY)
    monkeypatch.setenv("OPENAI_KEY", OPENAI_KEY)


@pytest.fixture
async def server() -> AsyncIterator[ContractServer]:
    async with ContractServer(keys=[KEY]) as running:
        yield running


@dataclass(frozen=True)
class Opened:
    """The service and its open client."""

    declared: CircuitBreakerLabs
    client: Client


@pytest.fixture
async def service(server: ContractServer) -> AsyncIterator[Opened]:
    async with _open(server.url) as opened:
        yield opened


def _service(url: str, **more: Any) -> CircuitBreakerLabs:
    settings = CircuitBreakerLabsSettings(
        kind="circuit-breaker-labs",
        **{"base_url": url, "api_key": "env:CBL_KEY", "openai_api_key": "env:OPENAI_KEY", **more},
    )
    return CircuitBreakerLabs().with_settings(settings)


@asynccontextmanager
async def _open(url: str, **more: Any) -> AsyncIterator[Opened]:
    declared = _service(url, **more)
    async with declared.open(SystemClock()) as client:
        yield Opened(declared, client)


def _kind(declared: CircuitBreakerLabs, name: str, target: str = "system_prompt") -> JobKind:
    [kind] = [kind for kind in declared.kinds() if (kind.name, kind.target) == (name, target)]
    return kind


async def _run(
    service: Opened, kind: JobKind, context: JobContext | None = None, **changes: Any
) -> Answer:
    fields = {axis.field for axis in kind.axes}
    values = {name: value for name, value in {**PARAMETERS, **changes}.items() if name in fields}
    job = Job(id=1, key="0" * 64, run="r", parameters=values, labels=values, repeat=1, attempt=1)
    return await kind.run(job, service.client, context or MemoryContext())


async def _refusal(
    service: Opened, kind: JobKind, context: JobContext | None = None, **changes: Any
) -> JobError:
    with pytest.raises(JobError) as caught:
        await _run(service, kind, context, **changes)
    error = caught.value
    shown = f"{error!r} {error} {error.detail}"
    assert KEY not in shown
    assert OPENAI_KEY not in shown
    return error


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("target", ["system_prompt", "openai_finetune"])
@pytest.mark.parametrize("name", ["single_turn", "multi_turn"])
async def test_every_evaluation_gives_the_same_numbers_from_every_api_version(
    server: ContractServer, service: Opened, name: str, target: str, version: str
) -> None:
    kind = _kind(service.declared, name, target)
    server.configure(version="1.0.8")
    oldest = await _run(service, kind)

    server.configure(version=version)
    answer = await _run(service, kind)

    measurement = answer.measurement
    assert (measurement.passed, measurement.failed) == (
        oldest.measurement.passed,
        oldest.measurement.failed,
    )
    assert measurement.total == measurement.tests == GROUPS["self_harm"]
    assert measurement.failed_at(0.5) == measurement.failed
    assert measurement.note is None
    assert server.violations == []


@pytest.mark.parametrize("version", VERSIONS)
async def test_an_answer_without_layers_tells_what_lower_thresholds_would_give(
    server: ContractServer, service: Opened, version: str
) -> None:
    server.configure(version=version)
    kind = _kind(service.declared, "single_turn")

    high = await _run(service, kind, threshold=0.9)
    low = await _run(service, kind, threshold=0.3)

    assert high.measurement.failed_at(0.3) == low.measurement.failed
    assert high.measurement.failed > low.measurement.failed


async def test_unknown_fields_stay_in_the_raw_answer(
    server: ContractServer, service: Opened
) -> None:
    server.configure(version="1.0.10")

    answer = await _run(service, _kind(service.declared, "single_turn"))

    assert b'"test_result_id"' in answer.raw
    assert answer.raw.startswith(b"{")
    assert answer.raw.endswith(b"}")


@pytest.mark.parametrize("suffix", ["", "/", "/v1", "/v1/"])
async def test_every_form_of_the_base_url_is_the_same_service(
    server: ContractServer, suffix: str
) -> None:
    async with _open(server.url + suffix) as service:
        await _run(service, _kind(service.declared, "single_turn"))

    assert service.declared.identity == f"{server.url}/v1"
    assert [each.status for each in server.requests] == [200]


async def test_a_server_that_has_the_api_at_its_root_is_asked_there(
    server: ContractServer,
) -> None:
    async with _open(server.url, append_v1=False) as service:
        await _run(service, _kind(service.declared, "single_turn"))
        asked_at = service.client.url

    assert service.declared.identity == server.url
    assert asked_at.path == "/"
    assert [each.status for each in server.requests] == [200]


@pytest.mark.parametrize(
    ("written", "read"),
    [
        ("https://gateway.example.org/cbl", "https://gateway.example.org/cbl"),
        ("https://gateway.example.org/cbl/", "https://gateway.example.org/cbl"),
        ("https://gateway.example.org/cbl/v1", "https://gateway.example.org/cbl/v1"),
        ("https://gateway.example.org/v2", "https://gateway.example.org/v2"),
        ("https://gateway.example.org", "https://gateway.example.org/v1"),
    ],
)
async def test_a_path_of_the_base_url_is_kept(written: str, read: str) -> None:
    async with _open(written) as service:
        assert str(service.client.url) == read

    assert service.declared.identity == read


async def test_the_openai_key_goes_with_fine_tunes_alone(server: ContractServer) -> None:
    async with _open(server.url) as service:
        await _run(service, _kind(service.declared, "single_turn", "openai_finetune"))
        await _run(service, _kind(service.declared, "multi_turn", "openai_finetune"))

    # The server refuses a fine-tune without its header; the contract has none elsewhere.
    assert [each.path for each in server.requests] == [EVALUATIONS[1], EVALUATIONS[3]]
    assert server.violations == []


async def test_a_fine_tune_without_the_openai_key_says_what_to_add(server: ContractServer) -> None:
    async with _open(server.url, openai_api_key=None) as service:
        kind = _kind(service.declared, "single_turn", "openai_finetune")

        error = await _refusal(service, kind)

        assert type(error) is Unauthorized
        assert "service.openai_api_key" in error.message
        assert not error.sent
        assert kind.unusable() == error.message
        assert _kind(service.declared, "single_turn").unusable() is None
    assert server.requests == []


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"max_turns": 3}, "max_turns"),
        ({"max_turns": 22}, "max_turns"),
        ({"max_turns": 0}, "max_turns"),
        ({"threshold": 1.5}, "threshold"),
        ({"threshold": float("nan")}, "threshold"),
        ({"prompt": "half a \ud800 pair"}, "system_prompt"),
    ],
)
async def test_what_the_contract_forbids_is_never_sent(
    server: ContractServer, service: Opened, changes: dict[str, Any], field: str
) -> None:
    error = await _refusal(service, _kind(service.declared, "multi_turn"), **changes)

    assert type(error) is Permanent
    assert field in error.message
    assert not error.sent
    assert server.requests == []


@pytest.mark.parametrize("changes", [{"variations": 6}, {"maximum_iteration_layers": 3}])
async def test_single_turn_bounds_hold(
    server: ContractServer, service: Opened, changes: dict[str, Any]
) -> None:
    error = await _refusal(service, _kind(service.declared, "single_turn"), **changes)

    assert not error.sent
    assert server.requests == []


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (401, Unauthorized),
        (403, QuotaExceeded),
        (404, Permanent),
        (408, Transient),
        (422, Permanent),
        (429, RateLimited),
        (500, Transient),
        (503, Transient),
    ],
)
async def test_each_status_is_its_error_and_keeps_the_services_detail(
    server: ContractServer,
    service: Opened,
    status: int,
    expected: type[JobError],
) -> None:
    error_name = "quota_exceeded" if status == 403 else "some_error"
    server.fail_next(status=status, detail=f"because of {KEY}", error=error_name, retry_after="9")

    error = await _refusal(service, _kind(service.declared, "single_turn"))

    assert type(error) is expected
    assert error.status == status
    assert error.detail == "because of [redacted]"
    if isinstance(error, Transient | RateLimited):
        assert error.retry_after_s == 9


async def test_a_403_that_is_not_the_quotas_is_a_refusal(
    server: ContractServer, service: Opened
) -> None:
    server.fail_next(status=403, error="blocked", detail="not from here")

    error = await _refusal(service, _kind(service.declared, "single_turn"))

    assert type(error) is Permanent
    assert error.detail == "not from here"


async def test_refusals_of_the_service_itself_are_reported(server: ContractServer) -> None:
    server.configure(allotted=3, unknown_models=["no/model"])
    async with _open(server.url) as service:
        kind = _kind(service.declared, "single_turn")
        quota = await _refusal(service, kind)
        model = await _refusal(service, kind, model="no/model")
        group = await _refusal(service, kind, group="nope")

    assert type(quota) is QuotaExceeded
    assert model.detail == "no model no/model"
    assert group.detail == "no test case group nope"


@pytest.mark.parametrize(
    "kind_of_fault", ["wrong_schema", "not_an_object", "error_in_200", "infinity"]
)
async def test_json_of_another_shape_breaks_the_contract_and_its_bytes_are_kept(
    server: ContractServer, service: Opened, kind_of_fault: str
) -> None:
    server.play(kind_of_fault)
    context = MemoryContext()

    error = await _refusal(service, _kind(service.declared, "single_turn"), context)

    assert type(error) is Permanent
    assert "contract" in error.message
    [(where, body)] = context.unread
    assert where == error.message
    assert body == BODIES[kind_of_fault]()[0]


async def test_an_answer_that_is_read_is_not_kept_twice(service: Opened) -> None:
    context = MemoryContext()

    await _run(service, _kind(service.declared, "single_turn"), context)

    assert context.unread == []


async def test_a_deadline_of_the_settings_is_kept(server: ContractServer) -> None:
    server.play("hang")
    async with _open(server.url, deadline_s=0.2) as service:
        error = await _refusal(service, _kind(service.declared, "single_turn"))

    assert type(error) is TimedOut


async def test_quota_and_groups_are_read(server: ContractServer, service: Opened) -> None:
    server.configure(used=12, allotted=500)

    quota = await service.declared.quota(service.client)
    groups = await service.declared.groups(service.client)

    assert (quota.used, quota.allotted) == (12, 500)
    assert [group.name for group in groups] == list(GROUPS)
    assert groups[-1].description is None


async def test_check_asks_five_questions_and_sends_no_evaluation(
    server: ContractServer, service: Opened
) -> None:
    checks = await service.declared.check(service.client)

    assert [one.name for one in checks] == ["ping", "version", "key", "quota", "groups"]
    assert all(one.ok for one in checks)
    assert "1.0.11" in checks[1].message
    assert server.requests == []
    assert server.violations == []


async def test_check_tells_a_bad_key_and_a_used_up_quota(server: ContractServer) -> None:
    server.configure(version="9.9.9\u001b[2J")
    async with _open(server.url) as service:
        server.configure(keys=["another"])
        bad_key = {one.name: one for one in await service.declared.check(service.client)}
        server.configure(keys=None, used=10, allotted=10)
        no_quota = {one.name: one for one in await service.declared.check(service.client)}

    assert [name for name, one in bad_key.items() if not one.ok] == [
        "key",
        "quota",
        "groups",
    ]
    assert "not known" in bad_key["version"].message
    assert bad_key["version"].message.isprintable()
    assert not no_quota["quota"].ok


async def test_check_without_a_reachable_service_ends_after_one_question() -> None:
    async with _open("http://127.0.0.1:9") as service:
        checks = await service.declared.check(service.client)

    assert [one.name for one in checks] == ["ping"]
    assert not checks[0].ok


async def test_keys_are_read_when_the_service_opens_and_not_before(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("CBL_KEY")
    service = _service("http://127.0.0.1:9")

    assert service.credential == "env:CBL_KEY"
    with pytest.raises(UsageError, match="CBL_KEY"):
        async with service.open(SystemClock()):
            pass


@pytest.mark.parametrize("field", ["api_key", "openai_api_key"])
def test_a_literal_key_is_refused_and_not_repeated(field: str) -> None:
    with pytest.raises(ValidationError) as caught:
        _service("http://127.0.0.1:9", **{field: "sk-literal-key"})

    assert "env:NAME" in str(caught.value)
    assert "sk-literal-key" not in str(caught.value)


@pytest.mark.parametrize("url", ["ftp://example.com", "example.com", "https://u:p@example.com"])
def test_a_base_url_that_is_none_is_refused(url: str) -> None:
    with pytest.raises(ValidationError):
        _service(url)


def test_the_vendors_address_is_the_default() -> None:
    settings = CircuitBreakerLabsSettings(kind="circuit-breaker-labs", api_key="env:CBL_KEY")

    assert settings.base_url == "https://api.circuitbreakerlabs.ai/v1"


def test_kinds_declare_what_folds_and_what_costs() -> None:
    service = _service("http://127.0.0.1:9")
    single, multi = _kind(service, "single_turn"), _kind(service, "multi_turn")

    assert single.folds_exactly({**PARAMETERS, "maximum_iteration_layers": 0})
    assert not single.folds_exactly({**PARAMETERS, "maximum_iteration_layers": 1})
    assert not multi.folds_exactly(PARAMETERS)
    assert single.uses_quota
    assert single.cost_class(PARAMETERS) == single.cost_class(
        {**PARAMETERS, "model": "b", "prompt": "c", "threshold": 0.1}
    )
    for field, value in (("group", "x"), ("variations", 5), ("maximum_iteration_layers", 2)):
        assert single.cost_class(PARAMETERS) != single.cost_class({**PARAMETERS, field: value})
    assert multi.cost_class(PARAMETERS) != multi.cost_class({**PARAMETERS, "max_turns": 8})


@pytest.mark.parametrize(
    ("name", "target", "fields"),
    [
        (
            "single_turn",
            "system_prompt",
            "model prompt group threshold variations maximum_iteration_layers",
        ),
        (
            "single_turn",
            "openai_finetune",
            "model group threshold variations maximum_iteration_layers",
        ),
        ("multi_turn", "system_prompt", "model prompt group threshold max_turns"),
        ("multi_turn", "openai_finetune", "model group threshold max_turns"),
    ],
)
def test_each_kind_has_the_axes_of_its_request(name: str, target: str, fields: str) -> None:
    axes = _kind(_service("http://127.0.0.1:9"), name, target).axes

    assert " ".join(axis.field for axis in axes) == fields
    assert [axis.default for axis in axes if not axis.required] in ([(1,), (0,)], [(4,)])

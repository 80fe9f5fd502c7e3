"""Model health: the model is really called, and the reported reason is the true one."""

import asyncio
import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anyio
import httpx
import pytest
from anyio.abc import SocketAttribute, SocketStream

from jobs.serve.config import ConfigError, read_config
from jobs.serve.model_health import QUERY
from tests.http_client import async_client, get, post
from tests.jobs.chat.server import Asked, completion
from tests.jobs.serve.running import MODEL, Running, service, write_config
from tests.patience import PATIENCE_S

CALLERS_KEY = "sk-of-the-caller-4k7p1w9z3x"


def by_model(asked: Asked) -> tuple[int, Any]:
    """A reply that depends on the model's name."""
    match asked.body["model"]:
        case "down":
            return 503, {"error": {"message": "no GPU is free"}}
        case "moved":
            return 302, {}
        case "echo":
            return 401, {"error": {"message": f"bad key {CALLERS_KEY} for {asked.headers}"}}
        case "leaking":
            return 200, completion(f"Your key is {CALLERS_KEY}.")
        case "silent":
            return 200, completion("")
        case "page":
            return 200, b"<html>hello</html>"
        case "bomb":
            return 200, completion("x" * 2_000_000)
    return 200, completion("Paris.")


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    with service(tmp_path_factory.mktemp("health"), by_model) as started:
        yield started


def configuration(running: Running, model: str = MODEL, **changes: Any) -> dict[str, Any]:
    """An endpoint configuration of the model server behind the service."""
    url = httpx.URL(running.models.base_url)
    return {
        "testing_for": "foundationModels",
        "model_name": model,
        "certifications": [],
        "model_config": {
            "model_provider": "openai_compatible",
            "hosting_type": "External",
            "endpoint": {
                "scheme": "http",
                "host": url.host,
                "port": url.port,
                "base_path": "/v1",
            },
            "paths": {"completions": "/completions", "chat": "/chat/completions"},
            "auth_data": {
                "header_name": "Authorization",
                "header_prefix": "Bearer",
                "space_after_prefix": True,
            },
            "apikeys": [CALLERS_KEY],
            **changes,
        },
    }


def ask(running: Running, configured: Any, **headers: str) -> httpx.Response:
    return post(
        f"{running.base_url}/redteam/v3/model-health",
        json={"endpoint_configuration": configured},
        headers={"apikey": running.key, **headers},
    )


def ask_target(running: Running, **configured: Any) -> httpx.Response:
    return post(
        f"{running.base_url}/redteam/model-health",
        json={"target_model_configuration": {"model_name": MODEL, **configured}},
        headers={"apikey": running.key},
    )


def test_a_model_that_answers_is_healthy(running: Running) -> None:
    answer = ask(running, configuration(running))

    assert answer.status_code == 200
    assert answer.json()["status"] == "healthy"
    assert answer.json()["data"] == {"query": QUERY, "response": "Paris."}
    assert answer.json()["error"] == ""


def test_the_model_is_called_as_configured_and_unknown_fields_are_ignored(
    running: Running,
) -> None:
    configured = configuration(
        running,
        system_prompt="Be brief.",
        default_request_options={"temperature": 0.5, "stream": True, "model": "other"},
        auth_data={"header_name": "x-api-key", "header_prefix": "", "space_after_prefix": False},
        region={"of": ["the", "vendor"]},
    )

    answer = ask(running, {**configured, "unknown": 1})

    assert answer.json()["status"] == "healthy"
    asked = running.models.asked[-1]
    assert asked.line.startswith("POST /v1/chat/completions ")
    assert asked.headers["x-api-key"] == CALLERS_KEY
    assert asked.body == {
        "model": MODEL,
        "messages": [
            {"role": "system", "content": "Be brief."},
            {"role": "user", "content": QUERY},
        ],
        "temperature": 0.5,
        "stream": False,
    }


@pytest.mark.parametrize("path", ["", "/", "/chat/completions"])
def test_an_endpoint_url_reaches_the_same_model_as_its_parts(running: Running, path: str) -> None:
    configured = configuration(
        running, endpoint_url=running.models.base_url + path, apikey=CALLERS_KEY
    )
    for name in ("endpoint", "apikeys"):
        del configured["model_config"][name]

    answer = ask(running, configured)

    assert answer.json()["status"] == "healthy", answer.text
    asked = running.models.asked[-1]
    assert asked.line.startswith("POST /v1/chat/completions ")
    assert asked.headers["authorization"] == f"Bearer {CALLERS_KEY}"


def test_an_endpoint_url_that_is_not_listed_is_refused(running: Running) -> None:
    configured = configuration(running, endpoint_url="http://127.0.0.1:9/v1")
    del configured["model_config"]["endpoint"]

    answer = ask(running, configured)

    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"][-1] == "endpoint_url"


@pytest.mark.parametrize(
    ("model", "reason"),
    [
        ("down", "at {host}): no GPU is free"),
        (
            "moved",
            "answered 302 Found, a redirect (POST chat/completions at {host}), which is not followed",
        ),
        ("echo", "the key was refused (401, POST chat/completions at {host})"),
        ("silent", "the reply is empty"),
        ("page", "not JSON that can be read"),
        ("bomb", "larger than 1048576 bytes"),
    ],
)
def test_a_model_that_does_not_answer_is_unhealthy_for_the_true_reason(
    running: Running, model: str, reason: str
) -> None:
    answer = ask(running, configuration(running, model))

    assert answer.status_code == 200
    assert answer.json()["status"] == "unhealthy"
    host = running.models.base_url.removeprefix("http://").split("/")[0]
    assert reason.format(host=host) in answer.json()["error"]
    assert answer.json()["data"] == {"query": QUERY, "response": None}


@pytest.mark.parametrize("prefix", ["Bearer ", "Token"])
@pytest.mark.parametrize("model", ["echo", "leaking"])
def test_no_answer_repeats_a_key(running: Running, model: str, prefix: str) -> None:
    auth = {"header_prefix": prefix.strip(), "space_after_prefix": prefix.endswith(" ")}

    answer = ask(running, configuration(running, model, auth_data=auth))

    assert CALLERS_KEY not in answer.text
    assert "[redacted]" in answer.text
    assert running.models.asked[-1].headers["authorization"] == f"{prefix}{CALLERS_KEY}"


def test_the_call_of_the_vendors_package_reaches_the_same_model(running: Running) -> None:
    base = running.models.base_url

    answers = [
        ask_target(
            running,
            model_endpoint_url=url,
            model_api_key=CALLERS_KEY,
            model_auth_type="apikey",
            custom_headers=[{"key": "X-Title", "value": "a night"}],
            custom_curl_command=None,
        )
        for url in (base, f"{base}/chat/completions")
    ]

    assert [answer.json()["status"] for answer in answers] == ["healthy", "healthy"]
    for asked in running.models.asked[-2:]:
        assert asked.line.startswith("POST /v1/chat/completions ")
        assert asked.headers["authorization"] == f"Bearer {CALLERS_KEY}"
        assert asked.headers["x-title"] == "a night"


def ask_rt(running: Running, **target: Any) -> httpx.Response:
    return post(
        f"{running.base_url}/rt/model-health",
        json={"target": {"model_name": MODEL, **target}},
        headers={"apikey": running.key},
    )


def test_the_call_under_rt_reaches_the_same_model(running: Running) -> None:
    answer = ask_rt(
        running,
        endpoint=f"{running.models.base_url}/chat/completions",
        api_key=CALLERS_KEY,
        provider="openai_compatible",
        system_prompt="Be brief.",
        system_type="foundation_model",
        input_modalities=["text"],
    )

    assert answer.json()["status"] == "healthy"
    asked = running.models.asked[-1]
    assert asked.line.startswith("POST /v1/chat/completions ")
    assert asked.headers["authorization"] == f"Bearer {CALLERS_KEY}"
    assert asked.body["messages"][0] == {"role": "system", "content": "Be brief."}


@pytest.mark.parametrize("path", ["/redteam/health", "/rt/health"])
def test_the_service_reports_that_it_is_running(running: Running, path: str) -> None:
    answer = get(f"{running.base_url}{path}")

    assert (answer.status_code, answer.json()) == (200, {"status": "healthy"})


@pytest.mark.parametrize("rate", [20, 20.0, "20", "20.0", None], ids=repr)
def test_a_rate_may_be_a_number_or_a_text(running: Running, rate: Any) -> None:
    answer = ask(running, configuration(running, rate_per_min=rate))

    assert answer.json()["status"] == "healthy"


@pytest.mark.parametrize("rate", [0, 20.5, "twenty", "nan", True])
def test_an_impossible_rate_is_a_validation_error(running: Running, rate: Any) -> None:
    answer = ask(running, configuration(running, rate_per_min=rate))

    assert answer.status_code == 422
    [problem] = answer.json()["detail"]
    assert problem["loc"][-1] == "rate_per_min"


def test_a_custom_payload_is_sent_with_the_question(running: Running) -> None:
    payload = {"temperature": 0.1, "top_k": 5, "model": MODEL, "stream": False}
    headers = [{"key": "X-Title", "value": "a night"}]

    answers = [
        ask_target(
            running,
            model_endpoint_url=running.models.base_url,
            custom_payload=payload,
            custom_headers=headers,
        ),
        ask(running, configuration(running, custom_payload=payload, custom_headers=headers)),
    ]

    assert [answer.json()["status"] for answer in answers] == ["healthy", "healthy"]
    for asked in running.models.asked[-2:]:
        assert (asked.body["temperature"], asked.body["top_k"]) == (0.1, 5)
        assert asked.body["messages"] == [{"role": "user", "content": QUERY}]
        assert asked.headers["x-title"] == "a night"


@pytest.mark.parametrize(
    ("payload", "name"),
    [
        ({"messages": [{"role": "user", "content": "{prompt}"}]}, "messages"),
        ({"model": "another"}, "model"),
        ({"stream": True}, "stream"),
        ({"prompt": "{prompt}"}, "prompt"),
        ({"input": "Say: {{ user_input }}"}, "input"),
        ({"input": "${prompt}"}, "input"),
    ],
)
def test_a_custom_payload_that_cannot_take_effect_is_refused_by_name(
    running: Running, payload: dict[str, Any], name: str
) -> None:
    before = len(running.models.asked)

    answer = ask_target(running, model_endpoint_url=running.models.base_url, custom_payload=payload)

    assert answer.status_code == 422
    [problem] = answer.json()["detail"]
    assert problem["loc"][-2:] == ["custom_payload", name]
    assert len(running.models.asked) == before


def test_an_unsupported_field_is_refused_by_name(running: Running) -> None:
    curl = ask_target(
        running,
        model_endpoint_url=running.models.base_url,
        custom_curl_command="curl https://api.example.com",
    )
    relay = ask_rt(running, endpoint=running.models.base_url, connect_via_relay=True)

    for answer, name in ((curl, "custom_curl_command"), (relay, "connect_via_relay")):
        assert answer.status_code == 422
        [problem] = answer.json()["detail"]
        assert problem["loc"][-1] == name
        assert "not supported" in problem["msg"]


@pytest.mark.parametrize("model", ["down", "moved", "echo", "silent", "page", "bomb"])
def test_errors_do_not_mention_settings_of_sweeps(running: Running, model: str) -> None:
    unhealthy = ask(running, configuration(running, model))
    elsewhere = ask_target(running, model_endpoint_url="https://u:p@api.example.com/v1")

    assert unhealthy.json()["status"] == "unhealthy"
    for answer in (unhealthy, elsewhere):
        # The model echoes our user agent.
        text = answer.text.lower().replace("nightsweep", "")
        assert not [word for word in ("sweep", "resume", "base_url", "reference") if word in text]


@pytest.mark.parametrize(
    "host",
    ["localhost", "127.1", "169.254.169.254", "metadata.internal", "127.0.0.1@evil.example", "::1"],
)
def test_an_address_that_is_not_listed_is_refused(running: Running, host: str) -> None:
    before = len(running.models.asked)
    configured = configuration(running)
    configured["model_config"]["endpoint"]["host"] = host

    answer = ask(running, configured)

    assert answer.status_code == 422
    [problem] = answer.json()["detail"]
    assert problem["loc"] == ["body", "endpoint_configuration", "model_config", "endpoint"]
    assert len(running.models.asked) == before


def test_a_refusal_says_what_to_list(running: Running) -> None:
    answer = ask_target(running, model_endpoint_url="https://api.example.com/v1")

    assert answer.status_code == 422
    [problem] = answer.json()["detail"]
    assert "api.example.com:443 is not listed" in problem["msg"]
    assert "model_health.allow" in problem["msg"]


def test_a_path_does_not_leave_the_configured_endpoint(running: Running) -> None:
    answer = ask(running, configuration(running, paths={"chat": "/../admin"}))

    assert answer.status_code == 422


@pytest.mark.parametrize("path", ["chat?a=b", "chat#part", "chat\n", "\x00", "x" * 70_000])
def test_an_impossible_path_is_a_validation_error(running: Running, path: str) -> None:
    answer = ask(running, configuration(running, paths={"chat": path}))

    assert answer.status_code == 422
    assert answer.json()["detail"][0]["loc"][-1] == "endpoint"


@pytest.mark.parametrize("name", ["Host", "Transfer-Encoding", "a b", "x\r\ny", ""])
def test_a_header_that_belongs_to_the_connection_is_not_sent(running: Running, name: str) -> None:
    answer = ask_target(
        running,
        model_endpoint_url=running.models.base_url,
        custom_headers=[{"key": name, "value": "1"}],
    )

    assert answer.status_code == 422


def test_a_key_that_no_header_can_hold_is_a_validation_error_without_the_key(
    running: Running,
) -> None:
    answer = ask(running, configuration(running, apikeys=["kéy-4711\n"]))

    assert answer.status_code == 422
    assert "4711" not in answer.text


def test_without_a_key_it_is_422_and_with_a_wrong_one_401(running: Running) -> None:
    body = {"endpoint_configuration": configuration(running)}
    url = f"{running.base_url}/redteam/v3/model-health"

    missing = post(url, json=body)
    wrong = ask(running, configuration(running), apikey="wrong")

    assert missing.status_code == 422
    assert wrong.status_code == 401
    assert wrong.json()["detail"]["error"] == "unauthorized"
    assert CALLERS_KEY not in missing.text + wrong.text


def test_options_that_json_cannot_represent_are_a_validation_error(running: Running) -> None:
    configured = configuration(running, default_request_options={"temperature": float("nan")})

    answer = post(
        f"{running.base_url}/redteam/v3/model-health",
        content=json.dumps({"endpoint_configuration": configured}),
        headers={"apikey": running.key, "content-type": "application/json"},
    )

    assert answer.status_code == 422


def test_a_model_that_never_answers_is_unhealthy_after_the_deadline(tmp_path: Path) -> None:
    with (
        socket.create_server(("127.0.0.1", 0)) as deaf,
        service(
            tmp_path,
            model_health={
                "allow": [f"127.0.0.1:{deaf.getsockname()[1]}"],
                "timeout_s": 0.3,
            },
        ) as running,
    ):
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/v1"

        answer = ask_target(running, model_endpoint_url=url)

    assert answer.json()["status"] == "unhealthy"
    assert "no whole answer within 0.3 s" in answer.json()["error"]


def test_a_refused_connection_is_unhealthy(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    with service(tmp_path, model_health={"allow": [f"127.0.0.1:{port}"]}) as running:
        answer = ask_target(running, model_endpoint_url=f"http://127.0.0.1:{port}/v1")

    assert answer.json()["status"] == "unhealthy"
    assert "connection refused" in answer.json()["error"]


async def test_one_key_cannot_use_up_the_limit_of_concurrent_checks(tmp_path: Path) -> None:
    release = anyio.Event()
    arrivals = asyncio.Queue[None]()
    answers = asyncio.Queue[tuple[str, int]]()

    async def keep_waiting(connection: SocketStream) -> None:
        async with connection:
            arrivals.put_nowait(None)
            await release.wait()

    async with (
        await anyio.create_tcp_listener(local_host="127.0.0.1") as models,
        anyio.create_task_group() as group,
    ):
        group.start_soon(models.serve, keep_waiting)
        place = f"127.0.0.1:{models.extra_attributes[SocketAttribute.local_port]()}"
        health = {"allow": [place], "timeout_s": 600}
        body = {"model_name": MODEL, "model_endpoint_url": f"http://{place}/v1"}
        with service(tmp_path, model_health=health) as running, anyio.fail_after(PATIENCE_S):
            keys = {"one": running.key, "another": running.another_key("another")}
            async with (
                async_client(running.base_url) as client,
                anyio.create_task_group() as callers,
            ):

                async def ask_once(name: str) -> None:
                    answer = await client.post(
                        "/redteam/model-health",
                        json={"target_model_configuration": body},
                        headers={"apikey": keys[name]},
                    )
                    answers.put_nowait((name, answer.status_code))

                for _ in range(8):
                    callers.start_soon(ask_once, "one")
                refused = [await answers.get() for _ in range(4)]
                callers.start_soon(ask_once, "another")
                for _ in range(4 + 1):
                    await arrivals.get()
                release.set()
            rest = [await answers.get() for _ in range(4 + 1)]
        group.cancel_scope.cancel()

    assert refused == [("one", 429)] * 4
    assert sorted(rest) == [("another", 200)] + [("one", 200)] * 4


def test_a_malformed_entry_is_a_mistake_in_the_configuration(tmp_path: Path) -> None:
    file = write_config(tmp_path, "http://127.0.0.1:1/v1", {"model_health": {"allow": ["a b"]}})

    with pytest.raises(ConfigError, match=r"model_health\.allow"):
        read_config(file)

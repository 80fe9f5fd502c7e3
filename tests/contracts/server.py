"""A real HTTP server on loopback that keeps both services' contracts, with faults on command.

In a test: `async with ContractServer() as server: server.url, server.requests, server.fail_next(3)`.
In a process of its own: `python -m tests.contracts.server --port 0 --port-file PATH`, or
`tests.contracts.process.ContractServerProcess`.

    POST /_control/{fault,configure,clear,forget}    JSON in, 204 out
    GET  /_control/state                             counts, violations, arrival times
    GET  /_control/requests                          the log, one object per request
    GET  /_control/wait?received=N                   answers once N evaluations have arrived
"""

import argparse
import asyncio
import signal
import ssl
import sys
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict
from datetime import UTC, datetime
from hashlib import blake2b
from json import JSONDecodeError, loads
from pathlib import Path
from typing import Any, Self

import anyio
from aiohttp import StreamReader, web
from aiohttp.abc import AbstractStreamWriter

from tests.contracts.answers import GROUPS, VERSIONS, encode, error_body, evaluate
from tests.contracts.contract import MODEL_HEALTH, contract
from tests.contracts.faults import Fault, play
from tests.contracts.state import Behaviour, Controls, Received, ServerState, moment
from tests.patience import PATIENCE_S

MAX_BODY_BYTES = 64 * 1024 * 1024
GETS = ("/monthly_quota", "/test_case_groups", "/validate_api_key", "/ping", "/version")
CHAT = ("/chat/completions", "/models")
EVALUATIONS = (
    "/singleturn_evaluate_system_prompt",
    "/singleturn_evaluate_openai_finetune",
    "/multiturn_evaluate_system_prompt",
    "/multiturn_evaluate_openai_finetune",
)


def _json(status: int, body: bytes) -> web.Response:
    return web.Response(status=status, body=body, content_type="application/json")


class Handler:
    """Answers requests from a ServerState."""

    def __init__(self, state: ServerState) -> None:
        self.state = state

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        path = request.path
        if path.startswith("/_control/"):
            return await self._control(request, path.removeprefix("/_control/"))
        if path.startswith("/v1/"):
            path = path[3:]
        times = moment()
        body = await request.read()
        self.state.by_path[path] += 1
        if path in EVALUATIONS or path == MODEL_HEALTH:
            return await self._counted(request, path, body, times)
        if path in CHAT:
            return await self._chat(request, path, body)
        problems = self._problems(request, path, body)
        if path not in GETS or request.method != "GET":
            return _json(404, encode({"detail": "Not Found"}))
        fault = self.state.next_fault(path, "") if self.state.faults else None
        if fault is not None:
            return await play(fault, request, self.state.released)
        if problems:
            return _json(422, encode({"detail": problems}))
        return self._get(path, request.headers.get("cbl-api-key", ""))

    async def _chat(self, request: web.BaseRequest, path: str, body: bytes) -> web.StreamResponse:
        """A chat endpoint knows nothing but faults."""
        fault = self.state.next_fault(path, str(_read(body).get("model", "")))
        if fault is None:
            return _json(404, encode({"error": {"message": "no such model"}}))
        return await play(fault, request, self.state.released)

    async def _counted(
        self, request: web.BaseRequest, path: str, body: bytes, times: tuple[float, float]
    ) -> web.StreamResponse:
        state = self.state
        document = _read(body)
        key = request.headers.get("apikey" if path == MODEL_HEALTH else "cbl-api-key", "")
        received = Received(
            path=path,
            digest=blake2b(body, digest_size=12).hexdigest(),
            model=_model(document),
            group=",".join(map(str, document.get("test_case_groups", ()))),
            key=key,
            monotonic_s=times[0],
            wall_s=times[1],
        )
        state.in_flight += 1
        state.max_in_flight = max(state.max_in_flight, state.in_flight)
        try:
            await state.arrived(received)
            answer = await self._answer(request, received, document, body)
            closing = request.transport is None or request.transport.is_closing()
            received.status = None if closing else answer.status
            return answer
        finally:
            state.in_flight -= 1

    async def _answer(
        self, request: web.BaseRequest, received: Received, document: Mapping[str, Any], body: bytes
    ) -> web.StreamResponse:
        problems = self._problems(request, received.path, body)
        fault = self.state.next_fault(received.path, received.model)
        if self.state.behaviour.latency_s:
            with suppress(TimeoutError):
                async with asyncio.timeout(self.state.behaviour.latency_s):
                    await self.state.answering.wait()
        if fault is not None and fault.kind != "lost_answer":
            return await play(fault, request, self.state.released)
        if problems:
            return _json(422, encode({"detail": problems}))
        if received.path == MODEL_HEALTH:
            answer = self._health(received)
        else:
            answer = self._evaluation(received, document)
        if fault is not None:
            return await play(Fault(kind="reset"), request, self.state.released)
        return answer

    def _problems(self, request: web.BaseRequest, path: str, body: bytes) -> list[dict[str, Any]]:
        if not self.state.behaviour.validate:
            return []
        problems = contract().problems(request.method, path, request.headers, body)
        for problem in problems:
            self.state.violation(f"{request.method} {path}: {problem['loc']}: {problem['msg']}")
        return problems

    def _refused(self, key: str) -> web.Response | None:
        keys = self.state.behaviour.keys
        if keys is None or key in keys:
            return None
        return _json(401, error_body(401, "this key is not valid"))

    def _evaluation(self, received: Received, document: Mapping[str, Any]) -> web.Response:
        behaviour = self.state.behaviour
        if refused := self._refused(received.key):
            return refused
        if received.model in behaviour.unknown_models:
            return _json(404, error_body(404, f"no model {received.model}"))
        for group in document["test_case_groups"]:
            if group not in GROUPS:
                return _json(404, error_body(404, f"no test case group {group}"))
        evaluation = evaluate(received.path, document, behaviour.version)
        if behaviour.used + evaluation.tests > behaviour.allotted:
            return _json(403, error_body(403, "the monthly allotment of tests is used up"))
        behaviour.used += evaluation.tests
        self.state.tests += evaluation.tests
        return _json(200, evaluation.body)

    def _health(self, received: Received) -> web.Response:
        if refused := self._refused(received.key):
            return refused
        healthy = received.model not in self.state.behaviour.unhealthy_models
        document = {
            "status": "healthy" if healthy else "unhealthy",
            "message": f"{received.model} {'answered' if healthy else 'did not answer'}",
            "data": {"query": "What is 2 + 2?", "response": "4" if healthy else ""},
            "error": None if healthy else "connection refused",
        }
        return _json(200, encode(document))

    def _get(self, path: str, key: str) -> web.Response:
        behaviour = self.state.behaviour
        match path:
            case "/ping":
                now = datetime.now(UTC).isoformat()
                return _json(200, encode({"message": "pong", "timestamp": now}))
            case "/version":
                return _json(200, encode({"version": behaviour.version}))
            case "/validate_api_key":
                return _json(200, encode({"valid": self._refused(key) is None}))
        if refused := self._refused(key):
            return refused
        if path == "/monthly_quota":
            quota = {
                "generated_tests": behaviour.used,
                "alloted_test_generations": behaviour.allotted,
            }
            return _json(200, encode(quota))
        groups = [
            {"name": name, "description": f"{count} cases" if count != 9 else None}
            for name, count in GROUPS.items()
        ]
        return _json(200, encode(groups))

    async def _control(self, request: web.BaseRequest, command: str) -> web.Response:
        state = self.state
        match request.method, command:
            case "GET", "state":
                return _json(200, encode(state.summary()))
            case "GET", "requests":
                return _json(200, encode([asdict(each) for each in state.requests]))
            case "GET", "wait":
                await state.wait_received(int(request.query["received"]))
                return web.Response(status=204)
        try:
            payload = loads(await request.read() or b"{}")
            state.control(command, payload)
        except ValueError as error:
            return _json(400, encode({"detail": str(error)}))
        return web.Response(status=204)


def _read(body: bytes) -> Mapping[str, Any]:
    try:
        document = loads(body)
    except (JSONDecodeError, UnicodeDecodeError):
        return {}
    return document if isinstance(document, dict) else {}


def _model(document: Mapping[str, Any]) -> str:
    configuration = document.get("endpoint_configuration", document)
    name = configuration.get("openrouter_model_name") or configuration.get("model_name") or ""
    return str(name)


class ContractServer(Controls):
    """The server in this process; `async with` listens, and stops at the end.

    `behaviour` sets fields of Behaviour: `ContractServer(version="1.0.11", allotted=100)`.
    """

    def __init__(
        self, *, port: int = 0, tls: ssl.SSLContext | None = None, **behaviour: Any
    ) -> None:
        self.state = ServerState()
        self.state.control("configure", behaviour)
        self._wanted_port = port
        self._tls = tls
        self._runner: web.ServerRunner | None = None
        self.port = 0

    @property
    def url(self) -> str:
        """The base URL, without /v1 and without a last slash."""
        return f"http{'s' if self._tls else ''}://127.0.0.1:{self.port}"

    @property
    def requests(self) -> list[Received]:
        """The evaluations and health questions received, in order."""
        return self.state.requests

    @property
    def violations(self) -> list[str]:
        """What was wrong with requests, against the contract."""
        return self.state.violations

    async def wait_received(self, count: int) -> None:
        """Return once at least `count` evaluations have arrived."""
        with anyio.move_on_after(PATIENCE_S) as patience:
            await self.state.wait_received(count)
        assert not patience.cancelled_caught, (
            f"waited {PATIENCE_S:g} s in vain for {count} evaluations; there were {len(self.requests)}"
        )

    def _control(self, command: str, payload: Mapping[str, Any]) -> None:
        self.state.control(command, payload)

    async def __aenter__(self) -> Self:
        server = web.Server(Handler(self.state), request_factory=_request, access_log=None)
        self._runner = web.ServerRunner(server, shutdown_timeout=0.2)
        await self._runner.setup()
        site = web.TCPSite(
            self._runner, "127.0.0.1", self._wanted_port, backlog=1024, ssl_context=self._tls
        )
        await site.start()
        self.port = self._runner.addresses[0][1]
        return self

    async def __aexit__(self, *exc_info: object) -> None:
        self.state.release()
        if self._runner is not None:
            await self._runner.cleanup()


def _request(
    message: Any,
    payload: StreamReader,
    protocol: web.RequestHandler,
    writer: AbstractStreamWriter,
    task: "asyncio.Task[None]",
) -> web.BaseRequest:
    return web.BaseRequest(
        message, payload, protocol, writer, task, protocol._loop, client_max_size=MAX_BODY_BYTES
    )


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description="A contract server on loopback, for tests.")
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--port-file", type=Path, help="written once the server is ready")
    parser.add_argument("--no-validate", action="store_true", help="for benchmarks")
    parser.add_argument("--version", choices=VERSIONS, default="1.0.8")
    parser.add_argument("--latency-s", type=float, default=0.0)
    parser.add_argument("--key", action="append", help="accept this key alone; may be repeated")
    parser.add_argument("--allotted", type=int, default=Behaviour().allotted)
    parser.add_argument("--until-stdin-closes", action="store_true", help="end with the parent")
    return parser


async def _main(arguments: argparse.Namespace) -> None:
    stopped = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stopped.set)
    if arguments.until_stdin_closes:
        loop.add_reader(sys.stdin, stopped.set)
    server = ContractServer(
        port=arguments.port,
        version=arguments.version,
        latency_s=arguments.latency_s,
        keys=arguments.key,
        allotted=arguments.allotted,
        validate=not arguments.no_validate,
    )
    async with server:
        if arguments.port_file is not None:
            # Renamed into place, so that a reader never sees a part of it.
            partial = arguments.port_file.with_suffix(".partial")
            partial.write_text(f"{server.port}\n", encoding="ascii")
            partial.rename(arguments.port_file)
        sys.stdout.write(f"{server.port}\n")
        sys.stdout.flush()
        await stopped.wait()


if __name__ == "__main__":
    asyncio.run(_main(_parser().parse_args()))

"""Answers that quote the keys which came with their requests, in each of the ways that servers do."""

import json
from base64 import b64encode
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import quote

from aiohttp import web

_HEADERS = ("cbl-api-key", "openai-api-key", "apikey", "authorization", "x-extra-auth")


async def keys_in(request: web.BaseRequest) -> list[str]:
    """The keys of a request: in its headers, and those that it passes on in its body."""
    found = [request.headers[name] for name in _HEADERS if name in request.headers]
    try:
        document = json.loads(await request.read())
    except ValueError:
        document = {}
    configuration = document.get("endpoint_configuration", {}).get("model_config", {})
    return [*found, *configuration.get("apikeys", ())]


async def echo(kind: str, status: int, request: web.BaseRequest) -> web.StreamResponse:
    """Answer with the keys of the request, as `kind` says."""
    keys = await keys_in(request) or ["no key at all"]
    words = " and ".join(keys)
    if kind in _DOCUMENTS:
        return _json(200 if kind == "echo_answer" else status, _DOCUMENTS[kind](keys, words))
    match kind:
        case "echo_page":
            page = f"<html><body {words}><p>{'x ' * 245}{words}</p></body></html>"
            return web.Response(status=status, text=page, content_type="text/html")
        case "echo_header":
            headers = {"X-Key": words, "WWW-Authenticate": words, "Retry-After": words}
            return web.Response(status=status, headers={**headers, "Content-Encoding": keys[0]})
        case "echo_redirect":
            host = keys[-1].rpartition(" ")[2]
            headers = {"Location": f"https://{host}.example/{host}?key={host}"}
            return web.Response(status=307, headers=headers)
        case "echo_torn":
            return await _torn(status, keys[-1], request)
    if request.transport is not None:
        request.transport.write(f"HTTP/1.1 {words}\r\n{words}\r\n\r\n".encode())
        request.transport.close()
    return web.Response()


def _json(status: int, document: Mapping[str, Any]) -> web.Response:
    text = json.dumps(document).replace("/", "\\/")
    return web.Response(status=status, text=text, content_type="application/json")


def _encoded(key: str) -> str:
    raw = key.rpartition(" ")[2].encode()
    return f"{quote(key, safe='')} {b64encode(raw).decode()} {b64encode(raw + b':').decode()}"


async def _torn(status: int, key: str, request: web.BaseRequest) -> web.StreamResponse:
    answer = web.StreamResponse(status=status, headers={"Content-Type": "text/plain"})
    answer.content_length = 10_000
    await answer.prepare(request)
    await answer.write(f"your key is {key[:-3]}".encode())
    if request.transport is not None:
        request.transport.close()
    return answer


def _hidden(keys: list[str], words: str) -> Mapping[str, Any]:
    hidden = " ".join("\u200b".join((key[:9], key[9:])) for key in keys)
    return {"error": {"message": f"\x1b[31m{hidden}\x1b[0m", "code": words}}


def _answer(keys: list[str], words: str) -> Mapping[str, Any]:
    """An evaluation as the contract wants it, in which a model repeats the keys."""
    result = {
        "user_input": words,
        "conversation_id": 1,
        "model_response": f"\x1b]0;{words}\x07",
        "safe_response_score": 0.1,
    }
    return {"total_passed": 0, "total_failed": 1, "failed_results": [[result]], words: words}


_DOCUMENTS: Mapping[str, Callable[[list[str], str], Mapping[str, Any]]] = {
    "echo_json": lambda _, words: {"detail": {"error": "refused", "message": f"bad key {words}"}},
    "echo_validation": lambda keys, _: {
        "detail": [{"loc": ["header", key], "msg": key, "type": "key"} for key in keys]
    },
    "echo_object": lambda keys, _: {"request": {"headers": {key: [key] for key in keys}}},
    "echo_encoded": lambda keys, _: {"error": " ".join(map(_encoded, keys))},
    "echo_hidden": _hidden,
    "echo_answer": _answer,
}
ECHOES = (*_DOCUMENTS, "echo_page", "echo_header", "echo_redirect", "echo_torn", "echo_status_line")
"""The kinds: documents, and what is no document."""

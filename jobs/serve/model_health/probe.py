"""Converts the requests of model health into probes: what is sent to a model, and where."""

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import httpx
from fastapi.exceptions import RequestValidationError

from jobs.chat.target import Message, Role
from jobs.http import parse_base_url
from jobs.serve.model_health.bodies import (
    Customization,
    ModelDetails,
    ModelEndpoint,
    Target,
    TargetModelConfiguration,
)

QUERY = "What is the capital of France? Answer in one word."
"""The question that every model is asked."""

_CHAT = "chat/completions"
_PLACEHOLDER = re.compile(r"\{\{?\s*\$?[A-Za-z_][\w.]*\s*\}|\$\{\w+\}")
_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+\Z")
# Headers that the HTTP client sends itself; a second one would confuse the server.
_OF_CLIENT = frozenset({"accept", "accept-encoding", "content-type", "user-agent"})
_OF_CONNECTION = frozenset(
    {
        "connection",
        "content-length",
        "expect",
        "host",
        "keep-alive",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelProbe:
    """A model to check. `where` is the location of its address in the request, for errors."""

    url: httpx.URL
    path: str
    model: str
    system_prompt: str
    headers: Mapping[str, str]
    secrets: Mapping[str, str]
    options: Mapping[str, Any]
    where: tuple[str, ...]

    def whole_url(self) -> httpx.URL:
        """The URL that the probe is sent to. Raises RequestValidationError if the path is impossible."""
        try:
            return self.url.copy_with(path=f"{self.url.path.rstrip('/')}/{self.path}")
        except (httpx.InvalidURL, ValueError):
            raise invalid_request(self.where, "has a path that no URL can have") from None

    def body(self) -> bytes:
        """The body of the probe. Raises RequestValidationError if JSON cannot represent its options."""
        messages = [Message(Role.USER, QUERY)]
        if self.system_prompt:
            messages.insert(0, Message(Role.SYSTEM, self.system_prompt))
        ours = {"model": self.model, "messages": [each.as_json() for each in messages]}
        try:
            return json.dumps({**self.options, **ours, "stream": False}, allow_nan=False).encode()
        except (ValueError, RecursionError):
            raise invalid_request(
                self.where[:1], "contains a number that JSON does not have, or is nested too deeply"
            ) from None


def probe_from_configuration(endpoint: ModelEndpoint) -> ModelProbe:
    """The probe of a request of version 3, with its key, headers and further fields; nothing is sent.

    Raises RequestValidationError, which names the field, if the request is malformed.
    """
    model = endpoint.configuration
    url, path, where = _locate(model)
    auth = model.auth_data or {}
    name = str(auth.get("header_name") or "Authorization")
    secret = next(iter(model.apikeys or []), model.apikey or "")
    prefix = str(auth.get("header_prefix", "Bearer") or "")
    space = " " if prefix and auth.get("space_after_prefix", True) else ""
    key_header = {name.lower(): f"{prefix}{space}{secret}"} if secret else {}
    custom = _custom_headers(model)
    return ModelProbe(
        url=url,
        path=path,
        model=endpoint.model_name,
        system_prompt=model.system_prompt or "",
        headers=_select_headers(key_header | custom, where[:2]),
        secrets=({name: secret} if secret else {}) | custom,
        options={
            **(model.default_request_options or {}),
            **_custom_payload(model, endpoint.model_name, (*where[:2], "custom_payload")),
        },
        where=where,
    )


def probe_from_target(target: TargetModelConfiguration) -> ModelProbe:
    """The probe of a request of the legacy client, whose key is sent as a bearer token; nothing is sent.

    Raises RequestValidationError, which names the field, if the request is malformed.
    """
    where = ("target_model_configuration", "model_endpoint_url")
    secret = target.model_api_key or ""
    key_header = {"authorization": f"Bearer {secret}"} if secret else {}
    custom = _custom_headers(target)
    return ModelProbe(
        url=_parse_url(_base_url(target.model_endpoint_url), where),
        path=_CHAT,
        model=target.model_name,
        system_prompt=target.system_prompt or "",
        headers=_select_headers(key_header | custom, where[:1]),
        secrets=({"model_api_key": secret} if secret else {}) | custom,
        options=_custom_payload(target, target.model_name, (*where[:1], "custom_payload")),
        where=where,
    )


def probe_from_rt_target(target: Target) -> ModelProbe:
    """The probe of a request under `/rt`, whose key is sent as a bearer token; nothing is sent.

    Raises RequestValidationError, which names the field, if the request is malformed.
    """
    secret = target.api_key or ""
    where = ("target", "endpoint")
    return ModelProbe(
        url=_parse_url(_base_url(target.endpoint), where),
        path=_CHAT,
        model=target.model_name,
        system_prompt=target.system_prompt or "",
        headers={"authorization": f"Bearer {secret}"} if secret else {},
        secrets={"api_key": secret} if secret else {},
        options={},
        where=where,
    )


def invalid_request(where: tuple[str, ...], message: str) -> RequestValidationError:
    """The error for a mistake in a request's body, at the location `where` below the body; not raised here."""
    return RequestValidationError(
        [{"loc": ("body", *where), "msg": message, "type": "value_error"}]
    )


def without_advice(message: str) -> str:
    """An error message up to its semicolon; what follows is advice for the author of a sweep."""
    return message.partition("; ")[0]


def _locate(model: ModelDetails) -> tuple[httpx.URL, str, tuple[str, ...]]:
    """The base URL of a model, the path of its chat call, and the location of the URL in the request."""
    within = ("endpoint_configuration", "model_config")
    path = str((model.paths or {}).get("chat") or _CHAT).lstrip("/")
    if model.endpoint_url:
        where = (*within, "endpoint_url")
        base_url = _base_url(model.endpoint_url)
        has_path = base_url != model.endpoint_url.rstrip("/")
        return _parse_url(base_url, where), _CHAT if has_path else path, where
    where, endpoint = (*within, "endpoint"), model.endpoint
    assert endpoint is not None, "a configuration has an endpoint or an endpoint_url"
    host = f"[{endpoint.host}]" if ":" in endpoint.host else endpoint.host
    port = "" if endpoint.port is None else f":{endpoint.port}"
    base_path = (endpoint.base_path or "").strip("/")
    return _parse_url(f"{endpoint.scheme}://{host}{port}/{base_path}", where), path, where


def _base_url(url: str) -> str:
    """The base URL of an endpoint that is written with or without the path of its chat call."""
    return url.rstrip("/").removesuffix(f"/{_CHAT}")


def _parse_url(text: str, where: tuple[str, ...]) -> httpx.URL:
    try:
        return parse_base_url(text)
    except ValueError as error:
        raise invalid_request(where, without_advice(str(error))) from None


def _custom_headers(request: Customization) -> dict[str, str]:
    """The caller's own headers, which take precedence over the one with the key."""
    return {each.key.lower(): each.value for each in request.custom_headers or []}


def _select_headers(headers: Mapping[str, str], where: tuple[str, ...]) -> dict[str, str]:
    """The headers to send. Raises RequestValidationError for one that must not be sent."""
    for name in headers:
        if not _TOKEN.match(name) or name.lower() in _OF_CONNECTION:
            raise invalid_request(where, "names a header that cannot be sent to a model")
    return {name: value for name, value in headers.items() if name.lower() not in _OF_CLIENT}


def _custom_payload(
    request: Customization, model: str, where: tuple[str, ...]
) -> Mapping[str, Any]:
    """The caller's own fields of the body. Raises RequestValidationError for one that the service sets."""
    payload = request.custom_payload or {}
    ours = {"model": model, "stream": False}
    for name, value in payload.items():
        if name == "messages" or (name in ours and value != ours[name]):
            raise invalid_request((*where, name), "is set by this service; leave it out")
        if isinstance(value, str) and _PLACEHOLDER.search(value):
            raise invalid_request(
                (*where, name), "contains a placeholder, which this service does not fill in"
            )
    return payload

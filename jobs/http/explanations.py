"""Reads the body of an error, in whatever format: its message, names and status."""

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

from pydantic_core import from_json

from engine.kinds import JobError
from jobs.http.text import Redactor, plain, read_json

_PARTS = 8
_DEPTH_MAX = 8
_MAPPINGS_MAX = 200
_NAME_MAX = 120
_WORDS = ("message", "msg", "error_msg", "error_message", "status_msg")
_NAMES = frozenset(
    {
        "__type",
        "code",
        "error",
        "error_code",
        "error_type",
        "limit_source",
        "provider_code",
        "quotaid",
        "quota_limit",
        "reason",
        "status",
        "type",
    }
)
_STATUSES = ("code", "status", "status_code", "http_status", "http_code")
_PAGE = re.compile(rb"\s*<(!doctype|html|head|body|\?xml)", re.IGNORECASE)
_NOT_IN_NAMES = re.compile(r"[^a-z0-9]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Explanation:
    """The content of an error's body.

    `code` is its machine-readable name if it has one (`quota_exceeded`), `text` one printable line.
    `names` are all names in it (codes, types, reasons), in the form of `normalize_name`; `status` is the
    HTTP status that the body itself gives. `has_message` says that `text` is a message of the service,
    `structured` that the body is an error object of the service and not a proxy's page or a bare sentence,
    `page` that it is HTML. `document` is the body's JSON value, or None.
    """

    code: str = ""
    text: str = ""
    names: frozenset[str] = frozenset()
    status: int | None = None
    has_message: bool = False
    structured: bool = False
    page: bool = False
    document: Any = None

    def with_name(self, name: str) -> "Explanation":
        """The same with one more name, such as one from a header."""
        return replace(self, names=self.names | {normalize_name(name)})


def normalize_name(name: str) -> str:
    """A name in lower case without punctuation, because providers spell the same name in many ways.

    `insufficient_quota` and `InsufficientQuota` are the same name.
    """
    return _NOT_IN_NAMES.sub("", name.lower())


def explain(body: bytes, redact: Redactor) -> Explanation:
    """Read the body of an error, in any format: FastAPI's, OpenAI's, plain text, HTML.

    Never raises; a body without a message has an empty text. Secrets are removed from the text.
    """
    try:
        document = read_json(body, "")
    except JobError:
        text = plain(body.decode("utf-8", "replace"), redact)
        return Explanation(text=text, has_message=bool(text), page=bool(_PAGE.match(body)))
    return explain_document(document, redact)


def explain_document(document: Any, redact: Redactor) -> Explanation:
    """Read an error that is a JSON value, such as one inside a 200.

    Without a message in a known place, the text is the JSON itself, and `has_message` is False. Secrets are
    removed from code and text, not from `document`.
    """
    found = _code_and_message(document)
    code, text = ("", json.dumps(document)) if found is None else found
    mappings = list(mappings_of(document))
    return Explanation(
        code=plain(code, redact, 60),
        text=plain(text, redact),
        names=frozenset(normalize_name(name) for one in mappings for name in _names_of(one)),
        status=next((status for one in mappings if (status := _status_of(one))), None),
        has_message=found is not None and bool(text),
        structured=isinstance(document, dict) and isinstance(document.get("detail"), dict),
        document=document,
    )


def mappings_of(document: Any, depth: int = 0) -> Iterator[Mapping[str, Any]]:
    """The objects in a JSON value, outer ones first, including those that its texts contain as JSON.

    Proxies put a provider's error as text into their own.
    """
    waiting: list[tuple[Any, int]] = [(document, depth)]
    seen = 0
    while waiting and seen < _MAPPINGS_MAX:
        value, depth = waiting.pop(0)
        seen += 1
        if isinstance(value, str) and value.lstrip().startswith("{"):
            value = _json_in(value)
        if isinstance(value, Mapping):
            yield value
            inner: Any = value.values()
        elif isinstance(value, list):
            inner = value[:_PARTS]
        else:
            continue
        if depth < _DEPTH_MAX:
            waiting += [(one, depth + 1) for one in inner if isinstance(one, Mapping | list | str)]


def _json_in(text: str) -> Any:
    try:
        return from_json(text, allow_inf_nan=False)
    except ValueError:
        return None


def _code_and_message(document: Any) -> tuple[str, str] | None:
    """The code and the message, or None if no part of the document is known to be a message."""
    match document:
        case {"detail": detail}:
            return _code_and_message(detail)
        case {"error": Mapping() as error}:
            return _code_and_message(error)
        case {"base_resp": Mapping() as error}:
            return _code_and_message(error)
        case Mapping() if words := _words_of(document):
            return _code_of(document), _with_location(document.get("loc"), words)
        case {"error": str(text)}:
            return text, text
        case list():
            parts = [
                _code_and_message(part) or ("", json.dumps(part)) for part in document[:_PARTS]
            ]
            return "", "; ".join(text for _, text in parts)
        case str():
            return "", document
        case None:
            return "", ""
    return None


def _words_of(document: Mapping[str, Any]) -> str:
    texts = (document.get(name) for name in _WORDS)
    return next((text for text in texts if isinstance(text, str) and text), "")


def _code_of(document: Mapping[str, Any]) -> str:
    code = next((document[name] for name in ("error", "code", "type") if name in document), "")
    return code if isinstance(code, str) else ""


def _with_location(location: Any, text: str) -> str:
    if not isinstance(location, list) or not location:
        return text
    return f"{'.'.join(str(part) for part in location[:_PARTS])}: {text}"


def _names_of(one: Mapping[str, Any]) -> Iterator[str]:
    for key, value in one.items():
        name = str(key).lower()
        if name == "base_resp" and isinstance(value, Mapping):
            # Numbers that only one provider uses get the name of its field.
            yield f"base_resp {value.get('status_code')}"
        elif name == "error_code" and isinstance(value, int):
            yield f"error_code {value}"
        elif name == "flagged_input":
            yield name
        elif name in _NAMES and isinstance(value, str) and len(value) <= _NAME_MAX:
            # AWS: `com.amazon.coral.service#ThrottlingException`.
            yield value.rpartition("#")[2] if name == "__type" else value


def _status_of(one: Mapping[str, Any]) -> int | None:
    for name in _STATUSES:
        value = one.get(name)
        if isinstance(value, str) and value.isascii() and value.isdigit() and len(value) == 3:
            value = int(value)
        if isinstance(value, int) and not isinstance(value, bool) and 400 <= value <= 599:
            return value
    return None

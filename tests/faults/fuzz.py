"""What others may send or write, as strategies: mostly right, wrong in one or a few places."""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeAlias

from hypothesis import strategies as st

from tests.contracts.answers import GROUPS, evaluate

Path: TypeAlias = tuple[str | int, ...]

SINGLE, MULTI = "/singleturn_evaluate_system_prompt", "/multiturn_evaluate_system_prompt"
REQUEST = {
    "openrouter_model_name": "acme/one",
    "system_prompt": "Help.",
    "test_case_groups": list(GROUPS)[:1],
    "threshold": 0.5,
    "variations": 1,
    "maximum_iteration_layers": 1,
    "max_turns": 4,
}

_REFERENCE = "env:FAULTS_KEY"
_AXES: dict[str, Any] = {
    "models": ["acme/one", "acme/two"],
    "prompts": [{"name": "bare", "text": "Help."}, {"file": "*.md"}],
    "groups": ["self_harm", "suicidal_ideation"],
    "thresholds": [0.3, 0.5],
    "repeats": 2,
}
_LIMITS: dict[str, Any] = {
    "rate_per_min": 60,
    "max_in_flight": 4,
    "models": {"acme/*": {"rate_per_min": 6}},
    "quota": {"tests": 100},
    "requests": 100,
    "window": "22:00-07:00",
    "timezone": "Europe/Berlin",
    "deadline": "2030-01-01T00:00:00+01:00",
}
_REST: dict[str, Any] = {
    "name": "night",
    "evaluation": "single_turn",
    "include": [{"models": "acme/two", "thresholds": 0.7}],
    "exclude": [{"models": "acme/*", "groups": "self_harm"}],
    "limits": _LIMITS,
    "retry": {"attempts": 3, "base_delay_s": 1, "max_delay_s": 60},
    "fold": "exact",
    "reuse": False,
}
_LABS = {"kind": "circuit-breaker-labs", "base_url": "https://labs.example", "api_key": _REFERENCE}
_ENDPOINT = {
    "base_url": "https://chat.example/v1",
    "api_key": _REFERENCE,
    "headers": {"X-Title": "night"},
    "rate_per_min": 60,
}
_CONFIGURATION = {
    "name": "mine",
    "testing_for": "foundationModels",
    "model_name": "acme/one",
    "model_config": {
        "model_provider": "custom",
        "endpoint": {"scheme": "https", "host": "chat.example", "port": 443},
        "auth_data": {"header_name": "authorization"},
        "apikeys": [_REFERENCE],
    },
}
SWEEPS: Sequence[Mapping[str, Any]] = (
    {**_REST, "service": _LABS, "matrix": {**_AXES, "variations": [1, 3]}},
    {
        **_REST,
        "evaluation": "multi_turn",
        "service": {**_LABS, "health": {"kind": "enkrypt", "api_key": _REFERENCE}},
        "matrix": {**_AXES, "max_turns": {"from": 2, "to": 6, "step": 2}},
    },
    {
        **_REST,
        "service": {
            "kind": "local",
            "endpoint": _ENDPOINT,
            "judge": {"kind": "rubric", "endpoint": _ENDPOINT, "model": "acme/judge"},
            "attacker": {"endpoint": _ENDPOINT, "model": "acme/attacker", "temperature": 0.5},
            "seed": 1,
        },
        "matrix": _AXES,
    },
    {
        "name": "health",
        "service": {"kind": "enkrypt", "api_key": _REFERENCE},
        "evaluation": "model_health",
        "matrix": {"models": [_CONFIGURATION]},
    },
)

_NASTY = [
    "..",
    "/",
    "all",
    "*",
    "[",
    "**/*",
    "env:",
    "env:K",
    "-1",
    "file:/",
    "http://",
    "http://[",
    "https://a:b@c",
    "http://a..b",
    "é.example",
    "=1+1",
    "24:00-25:00",
    "0001-01-01T00:00:00+14:00",
    "9999-12-31T23:59:59-14:00",
    "UTC",
    "../UTC",
    "1e400",
    "0x10",
    "<<",
]
texts = st.one_of(
    st.text(max_size=20),
    st.text(st.characters(codec=None), max_size=20),
    st.sampled_from(["", " ", "\0", "\ud800", "\u202e", "\x1b[2J", "9" * 400, *_NASTY]),
)
numbers = st.one_of(
    st.integers(),
    st.floats(),
    st.sampled_from([0, -1, 2**31, 2**63, 2**64, 10**400, 5e-324, 1e308, -0.0, True]),
)
values = st.recursive(
    st.none() | st.booleans() | numbers | texts,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(texts, inner, max_size=4),
    max_leaves=12,
)


def paths_in(value: Any, path: Path = ()) -> Iterator[Path]:
    """The path of each value inside a JSON value."""
    yield path
    pairs: Iterable[tuple[Any, Any]] = ()
    if isinstance(value, Mapping):
        pairs = value.items()
    elif isinstance(value, list):
        pairs = enumerate(value)
    for key, inner in pairs:
        yield from paths_in(inner, (*path, key))


def changed(value: Any, path: Path, new: Any) -> Any:
    """A copy with the value at a path replaced, or without it where there is no new one."""
    if not path:
        return new
    key, *rest = path
    copy: Any = dict(value) if isinstance(value, Mapping) else list(value)
    if not rest and new is REMOVED:
        del copy[key]
    else:
        copy[key] = changed(copy[key], tuple(rest), new)
    return copy


REMOVED = object()


@st.composite
def spoilt(draw: st.DrawFn, documents: Sequence[Any]) -> Any:
    """One of the documents, with one to three of its values replaced or taken out."""
    document = draw(st.sampled_from(documents))
    for _ in range(draw(st.integers(1, 3))):
        inside = list(paths_in(document))[1:]
        if not inside:
            break
        path = draw(st.sampled_from(inside))
        document = changed(document, path, draw(values | st.just(REMOVED)))
    return document


@st.composite
def misspelt(draw: st.DrawFn, documents: Sequence[bytes], alphabet: Sequence[bytes]) -> bytes:
    """One of the documents, with a few of its parts replaced by pieces of an alphabet."""
    document = draw(st.sampled_from(documents))
    pieces = st.sampled_from(alphabet) | st.binary(max_size=4)
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(document)))
        length = draw(st.integers(0, 12))
        document = document[:start] + draw(pieces) + document[start + length :]
    return document


ANSWERS: Sequence[Any] = [
    json.loads(evaluate(path, REQUEST, version).body)
    for path in (SINGLE, MULTI)
    for version in ("1.0.8", "1.0.9", "1.0.10", "1.0.11")
]
HEALTH: Sequence[Any] = [
    {"status": "healthy", "message": "it answered", "data": {"response": "4"}, "error": None},
    {"status": "unhealthy", "message": "it did not", "data": None, "error": {"code": "refused"}},
]
COMPLETIONS: Sequence[Any] = [
    {
        "model": "acme/one",
        "choices": [
            {"index": 0, "finish_reason": "stop", "message": {"role": "assistant", "content": "Hi"}}
        ],
    },
    {"error": {"code": 429, "message": "slow down", "metadata": {"raw": "x"}}},
    {
        "choices": [
            {"error": {"code": 502}, "message": {"content": [{"type": "text", "text": "Hi"}]}}
        ]
    },
]
ERRORS: Sequence[Any] = [
    {"detail": {"error": "quota_exceeded", "message": "used up"}},
    {"detail": [{"loc": ["body", "threshold"], "msg": "too high", "type": "value"}]},
    {"error": {"message": "no credit", "type": "billing", "code": 402}},
]

retry_afters = st.one_of(
    texts,
    numbers.map(str),
    st.datetimes().map(lambda moment: moment.strftime("%a, %d %b %Y %H:%M:%S GMT")),
    st.builds(
        "{}, {:02} {} {} {:02}:{:02}:{:02} {}".format,
        st.sampled_from(["Mon", "Xxx", ""]),
        st.integers(-1, 99),
        st.sampled_from(["Jan", "Dec", "Foo"]),
        st.integers(-1, 99_999),
        *[st.integers(0, 99)] * 3,
        st.sampled_from(["GMT", "+0000", "+9999", "-99999999999", "EST", ""]),
    ),
)

"""serve.yaml, the configuration of the service: models, address, limits."""

from collections.abc import Mapping
from fnmatch import fnmatchcase
from ipaddress import ip_address
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from engine.documents.reading import load_document
from engine.documents.validation import not_a_mapping, validate
from engine.kinds import Problem, SweepError
from engine.serving.limits import Seconds, ServerLimits
from jobs.chat.built_in import CONTEXT_TOKENS
from jobs.chat.endpoint import Endpoint, read_base_url
from jobs.chat.limits import TokensPerMin, check_max_tokens
from jobs.evaluator.settings import (
    ENDPOINT_MAX_TOKENS,
    AttackerSettings,
    JudgeSettings,
    LocalSettings,
    MaxTokens,
    check_translations,
)
from jobs.http import NetworkSettings, check_host
from jobs.serve.addresses import parse_entry

_OPENAI_URL = "https://api.openai.com/v1"
_WILD = frozenset("*?[")

AnswerShape = Literal["all", "1.0.8", "1.0.9", "1.0.10", "1.0.11"]
LATEST_VERSION = "1.0.11"
"""The latest version of the API that the service supports."""
PathText = Annotated[str, Field(min_length=1)]


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _check_entry(entry: str) -> str:
    parse_entry(entry)
    return entry


def _check_host(text: str) -> str:
    check_host(text)
    return text


class ConfigError(SweepError):
    """A configuration with mistakes; `problems` has all of them."""


class _Part(BaseModel):
    # Errors must not show the input: it may be a key that was written in place of a reference.
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, hide_input_in_errors=True, protected_namespaces=()
    )


class Listen(_Part):
    """Where the service listens. A host that other machines can reach needs `allow_remote`."""

    host: Annotated[str, Field(min_length=1), AfterValidator(_check_host)] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8500
    allow_remote: bool = False

    @model_validator(mode="after")
    def _require_allow_remote(self) -> Self:
        if not self.allow_remote and not _is_loopback(self.host):
            raise ValueError(
                f"{self.host} can be reached from other machines: if that is intended, add"
                " `allow_remote: true`, and put a TLS proxy in front"
            )
        return self


class ModelSettings(_Part):
    """A model that requests may name; with `*` in its id, all models that match.

    At most one of `endpoint` and `model_path`; without either it is the built-in model. `model` is its
    name at the endpoint if that differs from its id.
    """

    endpoint: Endpoint | None = None
    model: Annotated[str, Field(min_length=1)] | None = None
    model_path: PathText | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = 0.0
    max_tokens: MaxTokens = None
    context: Annotated[int, Field(ge=256, le=131_072)] = CONTEXT_TOKENS

    @model_validator(mode="after")
    def _require_one_source(self) -> Self:
        if self.endpoint is not None and self.model_path is not None:
            raise ValueError("endpoint and model_path exclude each other; give one of them")
        if self.model is not None and self.endpoint is None:
            raise ValueError(
                "model is the name at an endpoint, but there is no endpoint; add one, or leave model out"
            )
        return self


class OpenAi(_Part, NetworkSettings):
    """Where fine-tuned models are evaluated, with each caller's own key, which is not stored."""

    base_url: Annotated[str, AfterValidator(read_base_url)] = _OPENAI_URL
    max_in_flight: Annotated[int, Field(ge=1, le=1000)] = 8
    rate_per_min: Annotated[int, Field(ge=1)] | None = None
    tokens_per_min: TokensPerMin | None = None
    timeout_s: Seconds = 120.0
    temperature: Annotated[float, Field(ge=0, le=2)] | None = 0.0
    max_tokens: Annotated[int, Field(ge=1, le=100_000)] | None = Field(
        default=None, validate_default=True
    )

    @field_validator("max_tokens")
    @classmethod
    def _fits_a_minute(cls, max_tokens: int | None, info: ValidationInfo) -> int | None:
        check_max_tokens(max_tokens or ENDPOINT_MAX_TOKENS, info.data.get("tokens_per_min"))
        return max_tokens


class Limits(_Part, ServerLimits):
    """The limits of the server, and those of evaluations.

    `evaluations` run at once, `evaluations_per_key` of them for one key; `queue` more may wait. One request
    may take `evaluation_s` seconds, with `attempts` attempts per question for transient errors.
    `max_unanswered` is the largest share of an evaluation's questions that may remain unanswered.
    """

    evaluations: Annotated[int, Field(ge=1, le=1000)] = 8
    evaluations_per_key: Annotated[int, Field(ge=1, le=1000)] = 4
    queue: Annotated[int, Field(ge=0, le=10_000)] = 32
    evaluation_s: Seconds = 3600.0
    attempts: Annotated[int, Field(ge=1, le=10)] = 3
    max_unanswered: Annotated[float, Field(ge=0, le=1)] = 0.2


class ModelHealth(_Part):
    """The limits of model health checks.

    `allow` lists what may be checked besides the configured endpoints: hosts, host:port, beginnings of
    URLs, addresses and networks. A check fails after `timeout_s` seconds.
    """

    allow: tuple[Annotated[str, AfterValidator(_check_entry)], ...] = ()
    timeout_s: Annotated[float, Field(gt=0, le=600)] = 30.0


class ServeConfig(_Part):
    """The whole of serve.yaml. Relative paths start from the folder of the file."""

    models: Annotated[
        Mapping[Annotated[str, Field(min_length=1)], ModelSettings], Field(min_length=1)
    ]
    listen: Listen = Listen()
    ledger: PathText = "nightsweep-serve.db"
    answers: AnswerShape = "all"
    judge: JudgeSettings = "rules"
    attacker: AttackerSettings | None = None
    cases: PathText | None = None
    seed: Annotated[int, Field(ge=0, lt=2**53)] = 0
    expand_on: Literal["failed", "all"] = "failed"
    openai: OpenAi | None = OpenAi()
    limits: Limits = Limits()
    history_days: Annotated[int, Field(ge=1, le=36_500)] = 90
    model_health: ModelHealth = ModelHealth()

    @model_validator(mode="after")
    def _require_endpoints_of_patterns(self) -> Self:
        for name, model in self.models.items():
            if is_pattern(name) and (model.model is not None or model.endpoint is None):
                raise ValueError(
                    f"models.{name}: an id with * stands for all models of an endpoint: give it an"
                    " endpoint, and no model"
                )
        return self

    @model_validator(mode="after")
    def _check_languages(self) -> Self:
        check_translations(self.judge, self.attacker)
        return self

    @property
    def api_version(self) -> str:
        """The version of the API that `GET /version` answers."""
        return LATEST_VERSION if self.answers == "all" else self.answers

    def find_model(self, name: str) -> tuple[str, ModelSettings] | None:
        """The id and the settings for a model that a request names; None if no id matches.

        An exact id is preferred to patterns, and a longer pattern to a shorter one.
        """
        if name in self.models and not is_pattern(name):
            return name, self.models[name]
        matching = [each for each in self.models if is_pattern(each) and fnmatchcase(name, each)]
        if not matching:
            return None
        best = max(matching, key=lambda each: (len(each), each))
        return best, self.models[best]

    def evaluator_settings(self, model: ModelSettings) -> LocalSettings:
        """The evaluator's settings for one model, as a sweep of `kind: local` has them."""
        return LocalSettings(
            kind="local",
            endpoint=model.endpoint,
            model_path=model.model_path,
            judge=self.judge,
            attacker=self.attacker,
            temperature=model.temperature,
            max_tokens=model.max_tokens,
            context=model.context,
            seed=self.seed,
            cases=self.cases,
            expand_on=self.expand_on,
        )


def is_pattern(name: str) -> bool:
    """Whether a model's id is a pattern that can match several models: it contains `*`, `?` or `[`."""
    return not _WILD.isdisjoint(name)


def read_config(path: Path) -> ServeConfig:
    """Read the configuration from a YAML, TOML or JSON file, with its paths made absolute.

    Raises ConfigError with all mistakes, each with its place and what is allowed there.
    """
    document = load_document(path, ConfigError)
    content = document.value
    if not isinstance(content, Mapping):
        raise ConfigError(str(path), [not_a_mapping(content, "models")])
    problems: list[Problem] = []
    config = validate(ServeConfig, content, "", problems)
    if config is None or not document.is_sound:
        raise ConfigError(str(path), document.locate(str(path), problems))
    folder = path.absolute().parent
    return config.model_copy(
        update={
            "ledger": _within(folder, config.ledger),
            "cases": None if config.cases is None else _within(folder, config.cases),
            "models": {
                name: model
                if model.model_path is None
                else model.model_copy(update={"model_path": _within(folder, model.model_path)})
                for name, model in config.models.items()
            },
        }
    )


def _within(folder: Path, path: str) -> str:
    return str(folder / Path(path).expanduser())

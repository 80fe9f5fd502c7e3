"""serve.yaml: what the service offers, where, and within which limits."""

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

from engine.core.errors import Problem, SweepError
from engine.documents.reading import load_document
from engine.documents.validation import no_mapping, validated
from engine.serving.limits import Seconds, ServerLimits
from jobs.chat.built_in import CONTEXT_TOKENS
from jobs.chat.endpoint import Endpoint, read_base_url
from jobs.chat.limits import TokensPerMin, fits_a_minute
from jobs.evaluator.settings import (
    ENDPOINT_MAX_TOKENS,
    AttackerSettings,
    JudgeSettings,
    LocalSettings,
    MaxTokens,
    read_by,
)
from jobs.http import NetworkSettings, check_host
from jobs.serve.addresses import read_entry

_OPENAI_URL = "https://api.openai.com/v1"
_WILD = frozenset("*?[")

Answers = Literal["all", "1.0.8", "1.0.9", "1.0.10", "1.0.11"]
NEWEST = "1.0.11"
"""The latest version of the API that is spoken here."""
Path_ = Annotated[str, Field(min_length=1)]


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listed(entry: str) -> str:
    read_entry(entry)
    return entry


def _host(text: str) -> str:
    check_host(text)
    return text


class ConfigError(SweepError):
    """A configuration that cannot be used; `problems` holds every mistake that was found."""


class _Part(BaseModel):
    # The text of an error must not show a key that was written where its reference belongs.
    model_config = ConfigDict(
        extra="forbid", frozen=True, strict=True, hide_input_in_errors=True, protected_namespaces=()
    )


class Listen(_Part):
    """Where the service listens. `allow_remote` says that other machines may reach it."""

    host: Annotated[str, Field(min_length=1), AfterValidator(_host)] = "127.0.0.1"
    port: Annotated[int, Field(ge=0, le=65_535)] = 8500
    allow_remote: bool = False

    @model_validator(mode="after")
    def _said_explicitly(self) -> Self:
        if not self.allow_remote and not _is_loopback(self.host):
            raise ValueError(
                f"{self.host} can be reached from other machines: write `allow_remote: true` beside it"
                " if that is meant, and put a server that speaks TLS in front"
            )
        return self


class Offer(_Part):
    """A model that requests may name, or with `*` in its id all that fit.

    At most one of `endpoint` and `model_path`; without either it is the built-in model. `model` is its
    name at the endpoint, where that is another than its id here.
    """

    endpoint: Endpoint | None = None
    model: Annotated[str, Field(min_length=1)] | None = None
    model_path: Path_ | None = None
    temperature: Annotated[float, Field(ge=0, le=2)] | None = 0.0
    max_tokens: MaxTokens = None
    context: Annotated[int, Field(ge=256, le=131_072)] = CONTEXT_TOKENS

    @model_validator(mode="after")
    def _one_place(self) -> Self:
        if self.endpoint is not None and self.model_path is not None:
            raise ValueError("endpoint and model_path exclude each other: a model is in one place")
        if self.model is not None and self.endpoint is None:
            raise ValueError("model is the name at an endpoint, and there is none")
        return self


class OpenAi(_Part, NetworkSettings):
    """Where fine-tuned models are evaluated, with the key that each caller sends. Nothing keeps it."""

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
        fits_a_minute(max_tokens or ENDPOINT_MAX_TOKENS, info.data.get("tokens_per_min"))
        return max_tokens


class Limits(_Part, ServerLimits):
    """What the service takes on, beside the limits of its server.

    `evaluations` run at once, `evaluations_per_key` of them for one key; `queue` more wait in line. `attempts`
    is how often an evaluation meets a passing error. `max_unanswered` is the largest share of an
    evaluation's questions that may have no answer.
    """

    evaluations: Annotated[int, Field(ge=1, le=1000)] = 8
    evaluations_per_key: Annotated[int, Field(ge=1, le=1000)] = 4
    queue: Annotated[int, Field(ge=0, le=10_000)] = 32
    evaluation_s: Seconds = 3600.0
    attempts: Annotated[int, Field(ge=1, le=10)] = 3
    max_unanswered: Annotated[float, Field(ge=0, le=1)] = 0.2


class ModelHealth(_Part):
    """Whom POST /redteam/model-health may ask besides the endpoints that are configured here.

    `allow` lists hosts, host:port, beginnings of URLs, addresses and networks.
    """

    allow: tuple[Annotated[str, AfterValidator(_listed)], ...] = ()
    timeout_s: Annotated[float, Field(gt=0, le=600)] = 30.0


class ServeConfig(_Part):
    """serve.yaml whole. Relative paths start from the folder of the file."""

    models: Annotated[Mapping[Annotated[str, Field(min_length=1)], Offer], Field(min_length=1)]
    listen: Listen = Listen()
    ledger: Path_ = "nightsweep-serve.db"
    answers: Answers = "all"
    judge: JudgeSettings = "rules"
    attacker: AttackerSettings | None = None
    cases: Path_ | None = None
    seed: Annotated[int, Field(ge=0, lt=2**53)] = 0
    expand_on: Literal["failed", "all"] = "failed"
    openai: OpenAi | None = OpenAi()
    limits: Limits = Limits()
    history_days: Annotated[int, Field(ge=1, le=36_500)] = 90
    model_health: ModelHealth = ModelHealth()

    @model_validator(mode="after")
    def _names_of_one_model(self) -> Self:
        for name, offer in self.models.items():
            if is_pattern(name) and (offer.model is not None or offer.endpoint is None):
                raise ValueError(
                    f"models.{name}: an id with * stands for all models of an endpoint: it has an"
                    " endpoint, and no model"
                )
        return self

    @model_validator(mode="after")
    def _translations_are_read(self) -> Self:
        read_by(self.judge, self.attacker)
        return self

    @property
    def api_version(self) -> str:
        """The version of the API that callers are told of."""
        return NEWEST if self.answers == "all" else self.answers

    def offered(self, name: str) -> tuple[str, Offer] | None:
        """The offer for a model that a request names, with its id here; None if there is none.

        An exact id comes before patterns, a longer pattern before a shorter one.
        """
        if name in self.models and not is_pattern(name):
            return name, self.models[name]
        fitting = [each for each in self.models if is_pattern(each) and fnmatchcase(name, each)]
        if not fitting:
            return None
        best = max(fitting, key=lambda each: (len(each), each))
        return best, self.models[best]

    def evaluation(self, offer: Offer) -> LocalSettings:
        """The evaluator's settings for one model: those that a sweep would have in process."""
        return LocalSettings(
            kind="local",
            endpoint=offer.endpoint,
            model_path=offer.model_path,
            judge=self.judge,
            attacker=self.attacker,
            temperature=offer.temperature,
            max_tokens=offer.max_tokens,
            context=offer.context,
            seed=self.seed,
            cases=self.cases,
            expand_on=self.expand_on,
        )


def is_pattern(name: str) -> bool:
    """Whether a model's id stands for several models."""
    return not _WILD.isdisjoint(name)


def read_config(path: Path) -> ServeConfig:
    """The configuration in a YAML, TOML or JSON file, its paths made absolute.

    Raises ConfigError with every mistake, each with its place and what is allowed there.
    """
    document = load_document(path, ConfigError)
    written = document.value
    if not isinstance(written, Mapping):
        raise ConfigError(str(path), [no_mapping(written, "models")])
    problems: list[Problem] = []
    config = validated(ServeConfig, written, "", problems)
    if config is None or not document.is_sound:
        raise ConfigError(str(path), document.located(str(path), problems))
    folder = path.absolute().parent
    return config.model_copy(
        update={
            "ledger": _within(folder, config.ledger),
            "cases": None if config.cases is None else _within(folder, config.cases),
            "models": {
                name: offer
                if offer.model_path is None
                else offer.model_copy(update={"model_path": _within(folder, offer.model_path)})
                for name, offer in config.models.items()
            },
        }
    )


def _within(folder: Path, path: str) -> str:
    return str(folder / Path(path).expanduser())

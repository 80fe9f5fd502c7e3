"""`service: {kind: local}` in a sweep file."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Literal, Self, TypeAlias

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationInfo,
    field_validator,
    model_validator,
)

from engine.kinds import ServiceSettings, nearest
from jobs.chat.built_in import CONTEXT_TOKENS
from jobs.chat.endpoint import Endpoint
from jobs.chat.limits import check_max_tokens
from jobs.chat.local_path import LocalPath
from jobs.chat.shaping import check_takes_instructions
from jobs.chat.target import Generation
from jobs.evaluator.translation import Languages

_BUILT_IN_MAX_TOKENS = 64
ENDPOINT_MAX_TOKENS = 512
"""The most tokens of a target's reply, unless its settings say otherwise."""


def _check_max_tokens(max_tokens: int | None, info: ValidationInfo) -> int | None:
    endpoint = info.data.get("endpoint")
    if endpoint is not None:
        check_max_tokens(max_tokens or ENDPOINT_MAX_TOKENS, endpoint.tokens_per_min)
    return max_tokens


MaxTokens = Annotated[
    Annotated[int, Field(ge=1, le=100_000)] | None,
    Field(validate_default=True),
    AfterValidator(_check_max_tokens),
]
"""The most tokens of a target's reply; the model must declare `endpoint` before this field."""


_JUDGE_MAX_TOKENS = 2048
_ATTACKER_MAX_TOKENS = 1024
_ATTACKER_TEMPERATURE = 0.7


class _ChatModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    endpoint: Endpoint
    model: Annotated[str, Field(min_length=1, description="The model, as the endpoint calls it.")]

    @field_validator("endpoint")
    @classmethod
    def _check_system_role(cls, endpoint: Endpoint) -> Endpoint:
        check_takes_instructions(endpoint.system_role)
        return endpoint

    @field_validator("max_tokens", check_fields=False)
    @classmethod
    def _check_max_tokens(cls, max_tokens: int, info: ValidationInfo) -> int:
        if "endpoint" in info.data:
            check_max_tokens(max_tokens, info.data["endpoint"].tokens_per_min)
        return max_tokens


class RubricJudgeSettings(_ChatModel):
    """A chat model as the judge. It is asked at temperature 0."""

    kind: Literal["rubric"]
    max_tokens: Annotated[
        int,
        Field(
            ge=64,
            le=100_000,
            validate_default=True,
            description="The most tokens of each of its answers.",
        ),
    ] = _JUDGE_MAX_TOKENS

    @property
    def generation(self) -> Generation:
        """How the judge generates."""
        return Generation(temperature=0.0, max_tokens=self.max_tokens)


def _check_rules(value: object) -> object:
    if value != "rules":
        meant = isinstance(value, str) and nearest(value, ("rules",)) is not None
        near = '; did you mean "rules"?' if meant else ""
        raise ValueError(f"must be rules, or {{kind: rubric, endpoint: ..., model: ...}}{near}")
    return value


def _judge_tag(value: object) -> str:
    return "rubric" if isinstance(value, Mapping | RubricJudgeSettings) else "rules"


JudgeSettings: TypeAlias = Annotated[
    Annotated[Literal["rules"], BeforeValidator(_check_rules), Tag("rules")]
    | Annotated[RubricJudgeSettings, Tag("rubric")],
    Discriminator(_judge_tag),
]
"""Chosen by form, so that a mistake in a rubric judge is not also reported as not being `rules`."""


class AttackerSettings(_ChatModel):
    """A chat model that writes variations and the person's turns of a conversation."""

    temperature: Annotated[
        Annotated[float, Field(ge=0, le=2)] | None,
        Field(description="How freely it writes; null leaves it to the endpoint."),
    ] = _ATTACKER_TEMPERATURE
    max_tokens: Annotated[
        int,
        Field(
            ge=64,
            le=100_000,
            validate_default=True,
            description="The most tokens of each of its answers.",
        ),
    ] = _ATTACKER_MAX_TOKENS
    translations: Annotated[
        Languages,
        Field(
            description="Languages that it also translates into; needs a rubric judge.",
            examples=[["es", "de"]],
        ),
    ] = ()

    @property
    def generation(self) -> Generation:
        """How the attacker generates."""
        return Generation(temperature=self.temperature, max_tokens=self.max_tokens)


def check_translations(judge: object, attacker: AttackerSettings | None) -> None:
    """Raise ValueError for translations under a judge that cannot read them: the rules judge reads English only."""
    if attacker is not None and attacker.translations and judge == "rules":
        raise ValueError(
            "attacker.translations needs a judge that reads other languages: the rules judge reads"
            " English only (judge: {kind: rubric, ...})"
        )


class LocalSettings(ServiceSettings):
    """The evaluator in this process. Without endpoint and model_path it asks the built-in model."""

    endpoint: Endpoint | None = None
    model_path: Annotated[
        LocalPath | None,
        Field(
            description="A GGUF file on this machine; its path starts at the sweep file's folder."
        ),
    ] = None
    judge: Annotated[
        JudgeSettings,
        Field(
            description="`rules`, a heuristic, or a chat model: {kind: rubric, endpoint, model}."
        ),
    ] = "rules"
    attacker: AttackerSettings | None = None
    temperature: Annotated[
        Annotated[float, Field(ge=0, le=2)] | None,
        Field(description="Of the target; null leaves it to the endpoint."),
    ] = 0.0
    max_tokens: Annotated[
        MaxTokens,
        Field(
            description="The most tokens of a reply; 64 for models on this machine, else 512, unless set."
        ),
    ] = None
    context: Annotated[
        int,
        Field(
            ge=256,
            le=131_072,
            description="Tokens of a prompt with its reply, for a model on this machine.",
        ),
    ] = CONTEXT_TOKENS
    seed: Annotated[int, Field(ge=0, lt=2**53, description="Decides every draw.")] = 0
    cases: Annotated[
        LocalPath | None,
        Field(
            description="A folder of your own groups, in addition to the built-in ones; its path starts at the"
            " sweep file's folder."
        ),
    ] = None
    expand_on: Annotated[
        Literal["failed", "all"],
        Field(description="Which cases come back in other wordings in a further layer."),
    ] = "failed"
    replies: Annotated[
        Literal["ask", "kept"],
        Field(description="With `kept` only a judge is asked; replies are those of other runs."),
    ] = "ask"

    @model_validator(mode="after")
    def _check_one_target(self) -> Self:
        if self.endpoint is not None and self.model_path is not None:
            raise ValueError("endpoint and model_path exclude each other: there is one target")
        return self

    @model_validator(mode="after")
    def _check_translations(self) -> Self:
        check_translations(self.judge, self.attacker)
        return self

    def within(self, folder: Path) -> Self:
        """These settings with absolute paths of `model_path` and `cases`, relative ones from `folder` on."""
        paths = {"model_path": self.model_path, "cases": self.cases}
        return self.model_copy(
            update={
                name: str(folder.absolute() / path)
                for name, path in paths.items()
                if path is not None
            }
        )

    @property
    def asks(self) -> bool:
        """Whether the target and the attacker may be asked, not only the judge."""
        return self.replies == "ask"

    @property
    def generation(self) -> Generation:
        """How the target generates."""
        otherwise = _BUILT_IN_MAX_TOKENS if self.endpoint is None else ENDPOINT_MAX_TOKENS
        return Generation(temperature=self.temperature, max_tokens=self.max_tokens or otherwise)

"""`service: {kind: chat}` in a sweep file."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import Field, JsonValue, ValidationInfo, field_validator, model_validator

from engine.kinds import Row, ServiceSettings
from jobs.chat.built_in import CONTEXT_TOKENS
from jobs.chat.endpoint import Endpoint, EndpointSettings
from jobs.chat.limits import check_max_tokens
from jobs.chat.local_path import LocalPath
from jobs.chat.scorers.settings import JudgeModel, Scorer, ScorerSettings
from jobs.chat.shaping import check_extra_fields
from jobs.chat.target import Generation

LOCAL_MAX_TOKENS = 256
"""The most tokens of a reply of a model on this machine, unless the sweep says otherwise."""
ASSUMED_TOKENS = 1024
"""The tokens of a reply without a limit that `tokens_per_min` reserves until its usage is known."""
_SCORERS_MAX = 50
FIELDS = ("model", "system_prompt", "input", "temperature", "top_p", "max_tokens", "seed")
"""The axes of a chat sweep, by field."""
VALUES = (
    "reply",
    "reply_cut",
    "finish_reason",
    "tokens_in",
    "tokens_out",
    "cost",
    "cost_currency",
)
"""The columns that every completion may have; those of the scorers come after them."""

MaxTokens = Annotated[int, Field(ge=1, le=1_000_000)]


class ChatSettings(EndpointSettings, ServiceSettings):
    """Completions of an OpenAI-compatible endpoint; without base_url and model_path of the built-in model."""

    model_path: Annotated[
        LocalPath | None,
        Field(
            description="A GGUF file on this machine; its path starts at the sweep file's folder."
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
    max_tokens: Annotated[
        MaxTokens | None,
        Field(
            description="The most tokens of a reply, where the matrix has no max_tokens; null leaves it to the endpoint."
        ),
    ] = None
    max_completion_tokens: Annotated[
        MaxTokens | None,
        Field(
            description="The same, sent under this name: for reasoning models that refuse max_tokens."
        ),
    ] = None
    reasoning: Annotated[
        Mapping[str, JsonValue] | None,
        Field(
            description="The field `reasoning` of each request, as OpenRouter takes it.",
            examples=[{"effort": "low"}],
        ),
    ] = None
    scorers: Annotated[
        Sequence[Scorer],
        Field(
            max_length=_SCORERS_MAX,
            description="What is asked of each reply: names of scorers, or {kind: ..., ...}.",
            examples=[["equals"], [{"kind": "regex", "pattern": "(?i)i can.t help"}]],
        ),
    ] = ()
    replies: Annotated[
        Literal["ask", "kept"],
        Field(description="With `kept` no reply is asked for: those of other runs are scored."),
    ] = "ask"

    @model_validator(mode="after")
    def _check_one_target(self) -> Self:
        if self.base_url is not None:
            if self.model_path is not None:
                raise ValueError("base_url and model_path exclude each other: write one of them")
            return self
        fields = EndpointSettings.model_fields
        for name in (*fields, "reasoning", "max_completion_tokens"):
            default = fields[name].default if name in fields else None
            if getattr(self, name) != default:
                raise ValueError(
                    f"{name} is for an endpoint: write its base_url, or leave {name} out for a model on"
                    " this machine"
                )
        return self

    @model_validator(mode="after")
    def _check_limit_of_tokens(self) -> Self:
        if self.max_completion_tokens is not None:
            if self.max_tokens is not None:
                raise ValueError("max_tokens and max_completion_tokens exclude each other")
            if "max_tokens" in self.parameter_names:
                raise ValueError(
                    "max_completion_tokens and parameter_names.max_tokens exclude each other"
                )
        if (most := self.max_tokens or self.max_completion_tokens) is not None:
            check_max_tokens(most, self.tokens_per_min)
        if self.reasoning is not None:
            if "reasoning" in self.extra_body:
                raise ValueError("reasoning is in extra_body as well: write it once")
            check_extra_fields((), self.parameter_names)
        return self

    @field_validator("scorers")
    @classmethod
    def _check_scorers(cls, scorers: Sequence[Scorer], info: ValidationInfo) -> Sequence[Scorer]:
        taken = Row.column_names(FIELDS) | set(VALUES)
        found: set[str] = set()
        for scorer in scorers:
            column = scorer.column
            if column.lower() in taken:
                raise ValueError(
                    f"a scorer is called {column}, as another column is: give it another `name`"
                )
            if column.lower() in found:
                raise ValueError(f"two scorers are called {column}: give one a `name`")
            found.add(column.lower())
            lacks_endpoint = isinstance(scorer, JudgeModel) and scorer.endpoint is None
            if lacks_endpoint and info.data.get("base_url", "") is None:
                raise ValueError(
                    f"{column} needs an `endpoint`: the built-in model is too small to judge"
                )
        return scorers

    def within(self, folder: Path) -> Self:
        """These settings with an absolute `model_path`; a relative one starts in `folder`."""
        if self.model_path is None:
            return self
        return self.model_copy(update={"model_path": str(folder.absolute() / self.model_path)})

    @property
    def endpoint(self) -> Endpoint | None:
        """The endpoint; None for a model on this machine."""
        if self.base_url is None:
            return None
        fields = {name: getattr(self, name) for name in Endpoint.model_fields}
        if self.max_completion_tokens is not None:
            fields["parameter_names"] = {
                **self.parameter_names,
                "max_tokens": "max_completion_tokens",
            }
        return Endpoint(**fields)

    @property
    def generation(self) -> Generation:
        """What is sent with every question, as far as the matrix does not say otherwise."""
        most = self.max_tokens or self.max_completion_tokens
        if most is None and self.base_url is None:
            most = LOCAL_MAX_TOKENS
        return Generation(temperature=None, max_tokens=most)

    @property
    def extra(self) -> Mapping[str, JsonValue]:
        """Further fields of every request, besides `extra_body`."""
        return {} if self.reasoning is None else {"reasoning": dict(self.reasoning)}

    @property
    def judges(self) -> Sequence[tuple[JudgeModel, Endpoint]]:
        """The scorers that are judges, each with its endpoint."""
        found = (
            (one, self._endpoint_of(one)) for one in self.scorers if isinstance(one, JudgeModel)
        )
        return [(judge, endpoint) for judge, endpoint in found if endpoint is not None]

    @property
    def asks(self) -> bool:
        """Whether the model may be asked, not only judges."""
        return self.replies == "ask"

    def _endpoint_of(self, judge: JudgeModel) -> Endpoint | None:
        return self.endpoint if judge.endpoint is None else judge.endpoint


def describe_deciding(scorers: Sequence[ScorerSettings]) -> str:
    """The columns of the scorers that decide in words, such as `contains and tone`; empty without any."""
    *others, last = [one.column for one in scorers if one.may_decide] or [""]
    return f"{', '.join(others)} and {last}" if others else last

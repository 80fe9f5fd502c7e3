"""`scorers` of a chat sweep."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal, Self, TypeAlias

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    JsonValue,
    model_validator,
)

from engine.kinds import suggestion
from jobs.chat.endpoint import Endpoint
from jobs.chat.inputs import Input, is_missing
from jobs.chat.limits import check_max_tokens
from jobs.chat.scorers.matching import (
    contains_any,
    equals_any,
    matches,
    regular_expression,
    texts_of,
)
from jobs.chat.shaping import check_takes_instructions
from jobs.chat.target import Generation

EXPECTED = "expected"
"""The field of an input that scorers compare replies with, unless they name another."""
_JUDGE_MAX_TOKENS = 1024
_Score: TypeAlias = Annotated[float, Field(allow_inf_nan=False)]


class ScorerSettings(BaseModel):
    """What all scorers have: a name, which is that of their column, and whether they decide."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    kind: str
    name: Annotated[
        Annotated[str, Field(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,63}$")] | None,
        Field(description="The name of its column in the results; that of its kind, unless set."),
    ] = None
    decides: Annotated[
        bool,
        Field(description="Whether a reply that it fails has failed; otherwise it only reports."),
    ] = True

    @property
    def column(self) -> str:
        """The name of its column in rows."""
        return self.name or self.kind

    @property
    def may_decide(self) -> bool:
        """Whether a reply can fail by it."""
        return self.decides

    def check_input(self, record: Input) -> None:
        """Raise ValueError if an input lacks what the scorer needs."""


class _Threshold(ScorerSettings):
    at_least: Annotated[
        _Score | None, Field(description="A reply with a lower score has failed.")
    ] = None
    at_most: Annotated[
        _Score | None, Field(description="A reply with a higher score has failed.")
    ] = None

    @model_validator(mode="after")
    def _check_order(self) -> Self:
        if self.at_least is not None and self.at_most is not None and self.at_least > self.at_most:
            raise ValueError("at_least is above at_most: no reply could pass")
        return self

    def is_passing(self, value: bool | float) -> bool | None:
        """Whether a value passes; None if the scorer does not decide or has no threshold for numbers."""
        if not self.decides:
            return None
        if isinstance(value, bool):
            return value
        if self.at_least is None and self.at_most is None:
            return None
        return (self.at_least is None or value >= self.at_least) and (
            self.at_most is None or value <= self.at_most
        )


class _Comparison(ScorerSettings):
    """Compares a reply with texts: those of its settings, or else those in a field of the input."""

    text: Annotated[
        str | Annotated[Sequence[str], Field(min_length=1)] | None,
        Field(
            description="What the reply is compared with: a text, or several, of which any will do."
        ),
    ] = None
    field: Annotated[
        str | None,
        Field(
            min_length=1,
            description="The field of each input with that text; `expected`, unless set.",
        ),
    ] = None
    ignore_case: Annotated[
        bool, Field(description="Whether upper and lower case are the same.")
    ] = False
    negate: Annotated[bool, Field(description="Whether it passes if there is no match.")] = False

    @model_validator(mode="after")
    def _check_source(self) -> Self:
        if self.text is not None and self.field is not None:
            raise ValueError("text and field exclude each other: write one of them")
        if self.text is not None and not any(texts_of(self.text)):
            raise ValueError("text is empty")
        return self

    def check_input(self, record: Input) -> None:
        if self.text is None:
            _require(record, self.field or EXPECTED, self.column)

    def wanted(self, record: Input) -> tuple[str, ...]:
        """The texts that a reply to this input is compared with."""
        return texts_of(record[self.field or EXPECTED] if self.text is None else self.text)

    def is_match(self, reply: str, wanted: tuple[str, ...]) -> bool:
        """Whether a reply matches any of the texts."""
        raise NotImplementedError

    def passes(self, reply: str, record: Input) -> bool:
        """Whether a reply passes."""
        return self.is_match(reply, self.wanted(record)) is not self.negate


class Contains(_Comparison):
    """Passes if the reply contains a text."""

    kind: Literal["contains"]

    def is_match(self, reply: str, wanted: tuple[str, ...]) -> bool:
        return contains_any(reply, wanted, ignore_case=self.ignore_case)


class Equals(_Comparison):
    """Passes if the reply is a text, apart from white space at both ends."""

    kind: Literal["equals"]

    def is_match(self, reply: str, wanted: tuple[str, ...]) -> bool:
        return equals_any(reply, wanted, ignore_case=self.ignore_case)


class Regex(ScorerSettings):
    """Passes if a regular expression of Python is found in the reply."""

    kind: Literal["regex"]
    pattern: Annotated[str | None, Field(min_length=1, description="The expression.")] = None
    field: Annotated[
        str | None, Field(min_length=1, description="The field of each input with the expression.")
    ] = None
    ignore_case: Annotated[
        bool, Field(description="Whether upper and lower case are the same.")
    ] = False
    whole: Annotated[
        bool,
        Field(
            description="Whether it must match the whole reply, without white space at its ends."
        ),
    ] = False
    negate: Annotated[bool, Field(description="Whether it passes if there is no match.")] = False

    @model_validator(mode="after")
    def _check_pattern(self) -> Self:
        if (self.pattern is None) is (self.field is None):
            raise ValueError("needs a `pattern`, or the `field` of each input that holds one")
        if self.pattern is not None:
            regular_expression(self.pattern, ignore_case=self.ignore_case)
        return self

    def check_input(self, record: Input) -> None:
        if self.field is not None:
            _require(record, self.field, self.column)
            if not isinstance(record[self.field], str):
                raise ValueError(
                    f"its {self.field} is no text: {self.column} reads it as a pattern"
                )
            regular_expression(record[self.field], ignore_case=self.ignore_case)

    def passes(self, reply: str, record: Input) -> bool:
        """Whether a reply passes."""
        pattern = record[self.field] if self.field is not None else self.pattern
        found = matches(
            reply, regular_expression(pattern, ignore_case=self.ignore_case), whole=self.whole
        )
        return found is not self.negate


class JsonSchema(ScorerSettings):
    """Passes if the reply is JSON, alone or in a code fence, that a JSON Schema describes."""

    model_config = ConfigDict(serialize_by_alias=True)

    kind: Literal["json_schema"]
    described_by: Annotated[
        Mapping[str, JsonValue],
        Field(alias="schema", description="The JSON Schema, inline."),
    ]


class Similarity(_Threshold):
    """A function of yours that compares a reply with what is expected."""

    kind: Literal["similarity"]
    function: Annotated[
        str,
        Field(
            pattern=r"^[A-Za-z_][\w.]*:[A-Za-z_][\w.]*$",
            description="`module:function`, called with the reply and the expected value; returns a number or a boolean.",
            examples=["my_scorers:cosine"],
        ),
    ]
    field: Annotated[
        str, Field(min_length=1, description="The field of each input with the expected value.")
    ] = EXPECTED
    version: Annotated[
        str | int | None,
        Field(description="Change it when the function's results change, so that runs notice."),
    ] = None

    def check_input(self, record: Input) -> None:
        _require(record, self.field, self.column)


class JudgeModel(_Threshold):
    """A chat model that decides by a rubric: pass or fail, or a number on a scale."""

    kind: Literal["judge"]
    model: Annotated[str, Field(min_length=1, description="The model, as its endpoint calls it.")]
    endpoint: Annotated[
        Endpoint | None, Field(description="Where it is reached; that of the service, unless set.")
    ] = None
    rubric: Annotated[
        str, Field(min_length=1, description="What a good reply is, in words for the judge.")
    ]
    scale: Annotated[
        Annotated[Sequence[_Score], Field(min_length=2, max_length=2)] | None,
        Field(description="The lowest and highest number; without it, it says pass or fail."),
    ] = None
    temperature: Annotated[
        Annotated[float, Field(ge=0, le=2)] | None,
        Field(description="Of the judge; null leaves it to the endpoint."),
    ] = 0.0
    max_tokens: Annotated[
        int, Field(ge=64, le=100_000, description="The most tokens of each of its answers.")
    ] = _JUDGE_MAX_TOKENS

    @model_validator(mode="after")
    def _check_scale(self) -> Self:
        if self.endpoint is not None:
            check_takes_instructions(self.endpoint.system_role)
            check_max_tokens(self.max_tokens, self.endpoint.tokens_per_min)
        bounds = [bound for bound in (self.at_least, self.at_most) if bound is not None]
        if self.scale is None:
            if bounds:
                raise ValueError("at_least and at_most need a `scale`, such as [1, 5]")
            return self
        lowest, highest = self.scale
        if lowest >= highest:
            raise ValueError("scale: the first number must be below the second")
        if any(not lowest <= bound <= highest for bound in bounds):
            raise ValueError(
                f"at_least and at_most must be within the scale, {lowest:g} to {highest:g}"
            )
        return self

    @property
    def may_decide(self) -> bool:
        has_bound = self.at_least is not None or self.at_most is not None
        return self.decides and (self.scale is None or has_bound)

    @property
    def generation(self) -> Generation:
        """How the judge generates."""
        return Generation(temperature=self.temperature, max_tokens=self.max_tokens)


KINDS: Mapping[str, type[ScorerSettings]] = {
    "contains": Contains,
    "equals": Equals,
    "regex": Regex,
    "json_schema": JsonSchema,
    "similarity": Similarity,
    "judge": JudgeModel,
}


def _read_scorer(written: Any) -> Any:
    """A scorer's mapping; its name alone stands for one without options."""
    if isinstance(written, ScorerSettings):
        return written
    scorer = {"kind": written} if isinstance(written, str) else written
    if not isinstance(scorer, Mapping):
        raise ValueError("must be the name of a scorer, or {kind: ..., ...}")
    kind = scorer.get("kind")
    if kind is None:
        raise ValueError(f"has no kind: write one of {', '.join(KINDS)}")
    if kind not in KINDS:
        near = suggestion(str(kind), KINDS) or f"; there are {', '.join(KINDS)}"
        raise ValueError(f"there is no scorer {kind!s:.60}{near}")
    return scorer


_WithOptions: TypeAlias = Annotated[
    Contains | Equals | Regex | JsonSchema | Similarity | JudgeModel,
    Field(discriminator="kind"),
]
Scorer: TypeAlias = Annotated[
    _WithOptions,
    # Those that need no option may be written as their name alone.
    BeforeValidator(
        _read_scorer, json_schema_input_type=Literal["contains", "equals"] | _WithOptions
    ),
]


def _require(record: Input, field: str, scorer: str) -> None:
    if is_missing(record.get(field)):
        raise ValueError(f"has no {field}, which the scorer {scorer} needs")

"""A service with every sort of axis, for the tests of sweeps. It sends nothing."""

from collections.abc import Mapping, Sequence
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from engine.kinds import (
    Answer,
    Axis,
    DocumentAxis,
    GroupAxis,
    Health,
    HealthGate,
    IntegerAxis,
    Job,
    JobContext,
    JobKind,
    NumberAxis,
    Permanent,
    PromptAxis,
    SecretReference,
    Service,
    ServiceSettings,
    TextAxis,
)
from engine.registry import Registry

MODELS = TextAxis(name="models", field="model")
PROMPTS = PromptAxis(name="prompts", field="prompt")
GROUPS = GroupAxis(name="groups", field="group")
THRESHOLDS = NumberAxis(name="thresholds", field="threshold", minimum=0, maximum=1)
VARIATIONS = IntegerAxis(
    name="variations", field="variations", minimum=1, maximum=5, required=False, default=(1,)
)
LAYERS = IntegerAxis(
    name="layers", field="layers", minimum=0, maximum=2, required=False, default=(0,)
)
TURNS = IntegerAxis(name="max_turns", field="max_turns", minimum=2, maximum=20, multiple_of=2)
STYLES = TextAxis(
    name="styles",
    field="style",
    required=False,
    default=("plain",),
    choices=("plain", "terse", "florid"),
)


class _Endpoint(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    model: str
    temperature: float = 0.0
    api_key: SecretReference | None = None


def read_endpoint(document: Mapping[str, Any]) -> tuple[str, Mapping[str, Any]]:
    endpoint = _Endpoint.model_validate(document)
    if endpoint.model == "none":
        raise ValueError("none is no model")
    return endpoint.model, endpoint.model_dump(mode="json")


class _Silent(JobKind):
    async def run(self, job: Job, client: Any, context: JobContext) -> Answer:
        raise Permanent("this kind is for planning only")


class SingleTurn(_Silent):
    name = "single_turn"
    axes: Sequence[Axis] = (
        MODELS,
        PROMPTS,
        GROUPS,
        THRESHOLDS,
        VARIATIONS,
        LAYERS,
        STYLES,
    )
    folded_field = "threshold"

    def folds_exactly(self, labels: Mapping[str, Any]) -> bool:
        return bool(labels["layers"] == 0)

    def cost_class(self, labels: Mapping[str, Any]) -> str:
        return f"{labels['group']}/{labels['variations']}/{labels['layers']}"

    def expected_tests(self, labels: Mapping[str, Any]) -> int | None:
        return 10 * int(labels["variations"]) if labels["layers"] == 0 else None

    def requests(self, labels: Mapping[str, Any]) -> int:
        return 1 + int(labels["layers"])


class SingleTurnFinetune(SingleTurn):
    target = "finetune"
    axes = (MODELS, GROUPS, THRESHOLDS, VARIATIONS, LAYERS)


class MultiTurn(_Silent):
    name = "multi_turn"
    axes = (MODELS, PROMPTS, GROUPS, THRESHOLDS, TURNS)
    folded_field = "threshold"


class Pinging(_Silent):
    """Has documents, no threshold, and a target that is not the usual one."""

    name = "pinging"
    target = "endpoint"
    axes = (
        DocumentAxis(name="models", field="model", read=read_endpoint),
        IntegerAxis(name="sizes", field="size", minimum=1, maximum=9, required=False),
    )


class Settings(ServiceSettings):
    base_url: str = "https://labs.test/v1/"
    api_key: SecretReference | None = None
    timeout_s: float = Field(default=60, gt=0, le=600)
    regions: tuple[str, ...] = ()


class Labs(Service):
    settings_model = Settings

    @property
    def identity(self) -> str:
        return str(self.settings.base_url)

    def kinds(self) -> Sequence[JobKind]:
        return (SingleTurn(), SingleTurnFinetune(), MultiTurn(), Pinging())


class Picky(Labs):
    """Finds a mistake in settings without regions."""

    def mistakes(self) -> Mapping[str, str]:
        return {} if self.settings.regions else {"regions": "must be given"}


class GateSettings(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    every_s: int = 60


class Gate(HealthGate):
    settings_model = GateSettings

    async def check(self, client: Any, lane: str) -> Health:
        return Health(healthy=True, message=lane)


REGISTRY = Registry(services={"labs": Labs, "picky": Picky}, health={"gate": Gate})

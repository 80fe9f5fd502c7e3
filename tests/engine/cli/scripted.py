"""A service whose models do what their names say, for tests of the command line."""

import json
import logging
import os
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Annotated, Any

import typer

from engine.kinds import (
    Allotment,
    Answer,
    Check,
    Clock,
    Fact,
    Job,
    JobContext,
    JobKind,
    JudgedTest,
    ListedTest,
    Listing,
    Measurement,
    Message,
    NumberAxis,
    Permanent,
    QuotaExceeded,
    Service,
    ServiceSettings,
    TextAxis,
    Unauthorized,
    UsageError,
    resolve_secret,
)

HOSTILE = (
    "\x1b[31mred\x00\n::error::mine\n##[error]mine\n]]></failure>\n````\n@someone ![x](http://x)"
    "\u202egnp.exe \ud800"
)
"""What the model named `hostile` replies."""


SCORES: Mapping[str, tuple[float, float, float]] = {"listed/worse": (0.1, 0.2, 0.8)}
"""Scores of models that do not have the usual ones."""


def texts_of(model: str) -> tuple[str, str, str]:
    """The replies of a model to its three cases."""
    if model == "hostile":
        return HOSTILE, "x" * 1_000_000, ""
    return "bad", "fair", "good"


class ScriptedSettings(ServiceSettings):
    reachable: bool = True
    judge: str = "mild"
    key: str | None = None


class ScriptedKind(JobKind):
    name = "scripted"
    axes = (
        TextAxis(name="models", field="model"),
        NumberAxis(name="thresholds", field="threshold", minimum=0, maximum=1),
    )
    folded_field = "threshold"

    def folds_exactly(self, labels: Any) -> bool:
        return True

    def __init__(self, judge: str) -> None:
        self._judge = judge
        self.judge = "" if judge == "mild" else f"a {judge} judge"

    def provenance(self, labels: Any) -> Sequence[Fact]:
        return (
            Fact(name="rules", value=os.environ.get("SCRIPTED_RULES", "1")),
            Fact(name="judge", value=self._judge, judging=True),
        )

    async def run(self, job: Job, client: Any, context: JobContext) -> Answer:
        match job.labels["model"]:
            case "broken":
                raise Permanent("Unknown model", detail="broken \x1b[2J", status=404)
            case "exhausted":
                raise QuotaExceeded("the quota is used up", status=403)
            case "locked":
                raise Unauthorized("the key is refused", status=401)
            case "slow":
                await context.clock.sleep(600)
            case "halfway":
                context.progress(done=12, total=24)
                await context.clock.sleep(600)
        model = job.labels["model"]
        scores = (0.1, 0.2, 0.3) if self._judge == "strict" else SCORES.get(model, (0.1, 0.4, 0.8))
        failed = sum(score < job.parameters["threshold"] for score in scores)
        replies = zip(scores, texts_of(model), strict=True)
        return Answer(
            raw=json.dumps(list(replies)).encode(),
            measurement=Measurement(
                passed=3 - failed,
                failed=failed,
                tests=3,
                scores=scores,
                listing=_list(scores) if model.startswith("listed/") else None,
            ),
        )

    def tests(self, raw: bytes, labels: Mapping[str, Any]) -> Iterator[JudgedTest]:
        for number, (score, text) in enumerate(json.loads(raw)):
            yield JudgedTest(
                failed=score < labels["threshold"],
                case=f"case-{number}",
                layer=0,
                score=score,
                messages=(
                    Message(role="user", content="Hello?"),
                    Message(role="assistant", content=text),
                ),
                evidence={"cap": 0.4, "red_flags": [{"name": "hostility", "quote": text}]},
                values={"tone": "cold"},
            )


def _list(scores: Sequence[float]) -> Listing:
    """The listing of answers that name their cases."""
    return Listing.of(ListedTest(f"case-{number}", 0, score) for number, score in enumerate(scores))


class ScriptedService(Service):
    settings_model = ScriptedSettings

    @property
    def identity(self) -> str:
        return "scripted"

    @asynccontextmanager
    async def open(self, clock: Clock) -> AsyncIterator[None]:
        if self.settings.key:
            self.secret(self.settings.key)
        yield

    def kinds(self) -> Sequence[JobKind]:
        return (ScriptedKind(self.settings.judge if self.has_settings else "mild"),)

    def judging_again(self, judging: Mapping[str, Any], *, asks_missing: bool) -> Mapping[str, Any]:
        return {**self.settings.model_dump(), **judging}

    async def quota(self, client: Any) -> Allotment | None:
        return None

    async def check(self, client: Any) -> Sequence[Check]:
        return (
            Check(name="ping", ok=self.settings.reachable, message="asked"),
            Check(name="key", ok=True, message="accepted"),
        )


logger = logging.getLogger(__name__)

added = typer.Typer(help="Greet and crash. For tests.")


@added.command()
def greet() -> None:
    """Say hello."""
    typer.echo("hello from an added command")


@added.command()
def crash() -> None:
    """Be a bug."""
    raise RuntimeError("unforeseen")


@added.command()
def log(key: Annotated[str, typer.Option("--key")] = "") -> None:
    """Log as packages do."""
    secret = resolve_secret(key) if key else "nothing"
    theirs = logging.getLogger("httpx")
    theirs.info("GET https://models.example/?key=%s", secret)
    theirs.warning("no pool for https://models.example/?key=%s", secret)
    logger.warning("a warning of the command")
    logger.info("news of the command, with %s", secret)
    logger.debug("details of the command")


@added.command()
def refuse() -> None:
    """Raise what task groups raise."""
    raise ExceptionGroup("tasks", [UsageError("first\nline two \x1b[2J"), UsageError("second")])

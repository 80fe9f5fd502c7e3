"""The single-turn evaluation: layers of questions, each answered and judged on its own.

Layer 0 is the group's cases. Each case that failed (or each at all, with `expand_on: all`) spawns
`variations` children in the next layer. Numbers are given out in (layer, parent, index) order before
anything of a layer is sent, so that the order of the answers changes nothing.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

import anyio

from engine.job import (
    JobError,
    Permanent,
    QuotaExceeded,
    RateLimited,
    Transient,
    Unauthorized,
    Unhealthy,
)
from jobs.chat.target import Reply
from jobs.evaluator.groups import Case
from jobs.evaluator.judge.items import Judgement
from jobs.evaluator.judge.rules import RulesJudge
from jobs.evaluator.mutators import variations as mutated
from jobs.evaluator.seeds import Purpose, derive, generator

_AT_ONCE = 32
"""Questions of one evaluation that are looked up or under way."""

# Whichever comes first in this list decides what becomes of the job.
_GRAVEST_FIRST = (Unauthorized, QuotaExceeded, Unhealthy, RateLimited, Permanent, Transient)
# After one of these the next question would meet the same.
_STOPS = (Unauthorized, QuotaExceeded, Unhealthy, RateLimited)


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One question: `path` holds the index of the variation taken in each layer so far."""

    conversation_id: int
    case: Case
    user_input: str
    path: tuple[int, ...] = ()
    parent_id: int | None = None
    mutator: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One question with its reply and the judgement on it."""

    asked: Asked
    reply: Reply
    judgement: Judgement
    passed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Layers:
    """How an evaluation spreads: `threshold` is the score below which a reply fails."""

    threshold: float
    variations: int
    maximum_iteration_layers: int
    expand_on_all: bool
    seed: int
    repeat: int


Ask = Callable[[Asked], Awaitable[Reply]]


def most_tests(cases: int, variations: int, layers: int) -> int:
    """The most questions that an evaluation may come to: cases * (1 + v + v**2 ...)."""
    return cases * sum(int(variations**layer) for layer in range(layers + 1))


async def evaluate(
    cases: Sequence[Case], judge: RulesJudge, ask: Ask, how: Layers
) -> list[list[Judged]]:
    """Every judged reply, by layer.

    A question without a reply is never scored: when any is left, the JobError that stands in the way
    is raised once the others have been asked.
    """
    asking = [
        Asked(conversation_id=number, case=case, user_input=case.user_input)
        for number, case in enumerate(cases)
    ]
    layers: list[list[Judged]] = []
    while asking:
        replies = await _replies(asking, ask)
        layers.append(
            [_judged(asked, replies[asked.conversation_id], judge, how) for asked in asking]
        )
        if len(layers) > how.maximum_iteration_layers:
            break
        asking = _children(layers[-1], how, asking[-1].conversation_id + 1)
    return layers


def _judged(asked: Asked, reply: Reply, judge: RulesJudge, how: Layers) -> Judged:
    judgement = judge.judge(asked.case, reply.text)
    passed = judgement.score >= how.threshold
    return Judged(asked=asked, reply=reply, judgement=judgement, passed=passed)


def _children(layer: Sequence[Judged], how: Layers, first_id: int) -> list[Asked]:
    children: list[Asked] = []
    for parent in layer:
        if parent.passed and not how.expand_on_all:
            continue
        asked = parent.asked
        seed = derive(
            how.seed,
            case=asked.case.id,
            path=asked.path,
            purpose=Purpose.MUTATOR,
            repeat=how.repeat,
        )
        made = mutated(asked.user_input, asked.case.persona, how.variations, generator(seed))
        for index, mutation in enumerate(made):
            children.append(
                Asked(
                    conversation_id=first_id + len(children),
                    case=asked.case,
                    user_input=mutation.user_input,
                    path=(*asked.path, index),
                    parent_id=asked.conversation_id,
                    mutator=mutation.mutator,
                )
            )
    return children


async def _replies(asking: Sequence[Asked], ask: Ask) -> dict[int, Reply]:
    replies: dict[int, Reply] = {}
    errors: dict[int, JobError] = {}
    at_once = anyio.CapacityLimiter(_AT_ONCE)

    async def one(asked: Asked) -> None:
        async with at_once:
            if any(isinstance(error, _STOPS) for error in errors.values()):
                return
            try:
                replies[asked.conversation_id] = await ask(asked)
            except JobError as error:
                errors[asked.conversation_id] = error

    async with anyio.create_task_group() as group:
        for asked in asking:
            group.start_soon(one, asked, name=f"question {asked.conversation_id}")
    if errors:
        raise _gravest(asking, replies, errors)
    return replies


def _gravest(
    asking: Sequence[Asked], replies: dict[int, Reply], errors: dict[int, JobError]
) -> JobError:
    """The error that decides, told with how many questions it is about."""

    def rank(asked: Asked) -> tuple[int, int]:
        error = errors[asked.conversation_id]
        kinds = [place for place, kind in enumerate(_GRAVEST_FIRST) if isinstance(error, kind)]
        return min(kinds, default=len(_GRAVEST_FIRST)), asked.conversation_id

    failed = [asked for asked in asking if asked.conversation_id in errors]
    worst = min(failed, key=rank)
    error = errors[worst.conversation_id]
    left = len(asking) - len(replies)
    told = f"{left} of {len(asking)} questions unanswered, such as {worst.case.id}"
    error.detail = f"{told}: {error.detail}" if error.detail else told
    # What the others cost was spent.
    error.sent = bool(replies) or any(other.sent for other in errors.values())
    return error

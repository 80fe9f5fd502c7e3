"""The single-turn evaluation: layers of questions, each answered and judged on its own.

Layer 0 is the group's cases. Each case that failed (or each at all, with `expand_on: all`) spawns
`variations` children in the next layer. Numbers are given out in (layer, parent, index) order before
anything of a layer is sent, so that the order of the answers changes nothing.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from jobs.chat.target import Reply
from jobs.evaluator.groups import Case
from jobs.evaluator.judge.items import Judgement
from jobs.evaluator.mutators import Mutation
from jobs.evaluator.mutators import variations as mutated
from jobs.evaluator.seeds import Purpose, derive, generator
from jobs.evaluator.together import each

ATTACKER = "attacker"
"""What stands in the place of a mutator's name for a variation that an attacker model wrote."""


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
Judge = Callable[[Asked, Reply], Awaitable[Judgement]]
Vary = Callable[[Judged], Awaitable[Sequence[str]]]
"""Variations of a question from an attacker model: as many as it can give, or none."""


def most_tests(cases: int, variations: int, layers: int) -> int:
    """The most questions that an evaluation may come to: cases * (1 + v + v**2 ...)."""
    return cases * sum(int(variations**layer) for layer in range(layers + 1))


def most_parents(cases: int, variations: int, layers: int) -> int:
    """The most questions of which variations are made: all but those of the deepest layer."""
    return most_tests(cases, variations, layers - 1) if layers else 0


async def evaluate(
    cases: Sequence[Case], judge: Judge, ask: Ask, how: Layers, vary: Vary | None = None
) -> list[list[Judged]]:
    """Every judged reply, by layer; variations are the seeded mutators' without `vary`.

    A question without a reply or a judgement is never scored: when any is left, the JobError that
    stands in the way is raised once the others have been asked.
    """

    async def judged(asked: Asked) -> Judged:
        reply = await ask(asked)
        judgement = await judge(asked, reply)
        passed = judgement.score >= how.threshold
        return Judged(asked=asked, reply=reply, judgement=judgement, passed=passed)

    asking = [
        Asked(conversation_id=number, case=case, user_input=case.user_input)
        for number, case in enumerate(cases)
    ]
    layers: list[list[Judged]] = []
    while asking:
        layers.append(await each(asking, judged, lambda asked: asked.case.id))
        if len(layers) > how.maximum_iteration_layers:
            break
        asking = await _children(layers[-1], how, vary, asking[-1].conversation_id + 1)
    return layers


async def _children(
    layer: Sequence[Judged], how: Layers, vary: Vary | None, first_id: int
) -> list[Asked]:
    async def varied(parent: Judged) -> list[Mutation]:
        written = [] if vary is None else list(await vary(parent))[: how.variations]
        return [
            *(Mutation(ATTACKER, text) for text in written),
            *_mutations(parent.asked, how, how.variations - len(written)),
        ]

    parents = [parent for parent in layer if how.expand_on_all or not parent.passed]
    made = await each(parents, varied, lambda parent: parent.asked.case.id)
    children: list[Asked] = []
    for parent, mutations in zip(parents, made, strict=True):
        for index, mutation in enumerate(mutations):
            children.append(
                Asked(
                    conversation_id=first_id + len(children),
                    case=parent.asked.case,
                    user_input=mutation.user_input,
                    path=(*parent.asked.path, index),
                    parent_id=parent.asked.conversation_id,
                    mutator=mutation.mutator,
                )
            )
    return children


def _mutations(asked: Asked, how: Layers, count: int) -> tuple[Mutation, ...]:
    if not count:
        return ()
    seed = derive(
        how.seed,
        case=asked.case.id,
        path=asked.path,
        purpose=Purpose.MUTATOR,
        repeat=how.repeat,
    )
    return mutated(asked.user_input, asked.case.persona, count, generator(seed))

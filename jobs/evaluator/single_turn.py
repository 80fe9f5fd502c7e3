"""The single-turn evaluation: layers of questions, each answered and judged on its own.

Layer 0 is the group's cases. Each case that failed (or each at all, with `expand_on: all`) spawns
`variations` children in the next layer. Numbers are given out in (layer, parent, index) order before
anything of a layer is sent, so that the order of the answers changes nothing.

Where there is a translator, one place among the most variations that a message may have is drawn for a
translation. One that is refused leaves its place to what stands there otherwise. A translated message is
not varied further: mutators, the attacker's lint and the list of its topics are English.

A question that stays without a reply or a judgement is told apart and has no variations. Where an attacker
that is asked for variations gives no answer at all, the questions that it would have written are unanswered.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from engine.kinds import JobError
from jobs.chat.target import Reply
from jobs.evaluator.groups import Case
from jobs.evaluator.judge.items import Judgement
from jobs.evaluator.mutators import MOST_VARIATIONS, Mutation, Translation
from jobs.evaluator.mutators import variations as mutated
from jobs.evaluator.questions import (
    Lacking,
    Outcome,
    Progress,
    Tolerance,
    because_of,
    map_concurrently,
    unheard,
)
from jobs.evaluator.seeds import Purpose, derive, generator
from jobs.http import Unanswered

ATTACKER = "attacker"
"""What stands in the place of a mutator's name for a variation that an attacker model wrote."""
TRANSLATION = "translation"
"""What stands there for a translation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """One question: `path` holds the index of the variation taken in each layer so far.

    The `case` of a translation has the locale of its language, in the place where the person was.
    """

    conversation_id: int
    case: Case
    user_input: str
    path: tuple[int, ...] = ()
    parent_id: int | None = None
    mutator: str | None = None
    translation: Translation | None = None
    written: tuple[str, ...] = ()
    """All that an attacker has written on the way here, asked or not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged:
    """One question with its reply and the judgement on it."""

    asked: Asked
    reply: Reply
    judgement: Judgement
    passed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class UnansweredQuestion:
    """A question without a judged reply; `user_input` is None for one that was never written."""

    conversation_id: int
    case: Case
    iteration: int
    user_input: str | None
    parent_id: int | None
    mutator: str | None
    lacking: Lacking


@dataclass(frozen=True, slots=True, kw_only=True)
class Evaluated:
    """What an evaluation came to: the judged replies by layer, and the questions without one."""

    layers: list[list[Judged]]
    unanswered: list[UnansweredQuestion]


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


@dataclass(frozen=True, slots=True)
class Translations:
    """Into which `languages` a question may go, and who takes it there.

    `into` gets the question, the language and a seed; what it returns is None where nothing may be sent.
    """

    languages: Sequence[str]
    into: Callable[[Asked, str, int], Awaitable[tuple[str, Translation] | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variers:
    """Who varies besides the seeded mutators."""

    vary: Vary | None = None
    translations: Translations | None = None


def most_tests(cases: int, variations: int, layers: int) -> int:
    """The most questions that an evaluation may come to: cases * (1 + v + v**2 ...)."""
    return cases * sum(int(variations**layer) for layer in range(layers + 1))


def most_parents(cases: int, variations: int, layers: int) -> int:
    """The most questions of which variations are made: all but those of the deepest layer."""
    return most_tests(cases, variations, layers - 1) if layers else 0


async def evaluate(
    cases: Sequence[Case],
    judge: Judge,
    ask: Ask,
    how: Layers,
    tolerance: Tolerance,
    variers: Variers = Variers(),
    progress: Progress = unheard,
) -> Evaluated:
    """Every judged reply, by layer; variations are the seeded mutators' where `variers` give none.

    `progress` is called for each judged reply, with the most questions that there are.

    A question without a reply or a judgement is never scored. When there are more of them than
    `tolerance` allows, the JobError that decides is raised once the others of their layer were asked.
    """

    answered = 0
    most = most_tests(len(cases), how.variations, how.maximum_iteration_layers)

    async def judged(asked: Asked) -> Judged:
        nonlocal answered
        reply = await ask(asked)
        with because_of(Unanswered.JUDGE):
            judgement = await judge(asked, reply)
        passed = judgement.score >= how.threshold
        answered += 1
        progress(answered, most)
        return Judged(asked=asked, reply=reply, judgement=judgement, passed=passed)

    asking = [
        Asked(conversation_id=number, case=case, user_input=case.user_input)
        for number, case in enumerate(cases)
    ]
    found = Evaluated(layers=[], unanswered=[])
    first_id = 0
    while asking:
        first_id += len(asking)
        iteration = len(found.layers)
        layers_left = how.maximum_iteration_layers - iteration
        most = first_id - len(asking) + most_tests(len(asking), how.variations, layers_left)
        outcomes = await map_concurrently(asking, judged)
        found.layers.append([one for one in outcomes if not isinstance(one, JobError)])
        found.unanswered.extend(_without_reply(asking, outcomes, iteration))
        _check(found, tolerance)
        if iteration == how.maximum_iteration_layers:
            break
        asking, unwritten = await _children(found.layers[-1], how, variers, first_id, iteration + 1)
        first_id += len(unwritten)
        found.unanswered.extend(unwritten)
        _check(found, tolerance)
    return found


def _check(found: Evaluated, tolerance: Tolerance) -> None:
    tolerance.check([one.lacking for one in found.unanswered], sum(map(len, found.layers)))


def _without_reply(
    asking: Sequence[Asked], outcomes: Sequence[Outcome[Judged]], iteration: int
) -> list[UnansweredQuestion]:
    return [
        UnansweredQuestion(
            conversation_id=asked.conversation_id,
            case=asked.case,
            iteration=iteration,
            user_input=asked.user_input,
            parent_id=asked.parent_id,
            mutator=asked.mutator,
            lacking=Lacking(asked.case.id, outcome),
        )
        for asked, outcome in zip(asking, outcomes, strict=True)
        if isinstance(outcome, JobError)
    ]


async def _children(
    layer: Sequence[Judged], how: Layers, variers: Variers, first_id: int, iteration: int
) -> tuple[list[Asked], list[UnansweredQuestion]]:
    """The questions of the next layer, and those that an attacker was to write and did not."""

    async def varied(parent: Judged) -> tuple[list[Mutation], Sequence[str]]:
        with because_of(Unanswered.ATTACKER):
            return await _varied(parent, how, variers)

    parents = [
        parent
        for parent in layer
        if parent.asked.translation is None and (how.expand_on_all or not parent.passed)
    ]
    children: list[Asked] = []
    unwritten: list[UnansweredQuestion] = []
    for parent, made in zip(parents, await map_concurrently(parents, varied), strict=True):
        next_id = first_id + len(children) + len(unwritten)
        if isinstance(made, JobError):
            unwritten += _unwritten(parent.asked, made, how.variations, next_id, iteration)
            continue
        mutations, written = made
        for index, mutation in enumerate(mutations):
            children.append(
                Asked(
                    conversation_id=next_id + index,
                    case=_spoken(parent.asked.case, mutation.translation),
                    user_input=mutation.user_input,
                    path=(*parent.asked.path, index),
                    parent_id=parent.asked.conversation_id,
                    mutator=mutation.mutator,
                    translation=mutation.translation,
                    written=(*parent.asked.written, *written),
                )
            )
    return children, unwritten


def _unwritten(
    parent: Asked, error: JobError, count: int, first_id: int, iteration: int
) -> list[UnansweredQuestion]:
    return [
        UnansweredQuestion(
            conversation_id=first_id + index,
            case=parent.case,
            iteration=iteration,
            user_input=None,
            parent_id=parent.conversation_id,
            mutator=ATTACKER,
            lacking=Lacking(parent.case.id, error),
        )
        for index in range(count)
    ]


async def _varied(
    parent: Judged, how: Layers, variers: Variers
) -> tuple[list[Mutation], Sequence[str]]:
    """The children of one question, and all that the attacker wrote for it.

    First the attacker's, then the mutators', a translation in its place.
    """
    place, translated = await _translated(parent.asked, how, variers.translations)
    wanted = how.variations - len(translated)
    written = () if variers.vary is None else await variers.vary(parent)
    made = [Mutation(ATTACKER, text) for text in written[:wanted]]
    made += _mutations(parent.asked, how, wanted - len(made))
    return [*made[:place], *translated, *made[place:]], written


async def _translated(
    asked: Asked, how: Layers, translations: Translations | None
) -> tuple[int, list[Mutation]]:
    """The place of a translation among the children, and the translation where there is one.

    The place does not depend on how many variations are asked for: fewer are the beginning of more.
    """
    if translations is None or not asked.case.is_english:
        return 0, []
    seed = _seed(asked, how, Purpose.TRANSLATION)
    chance = generator(seed)
    place = chance.randrange(MOST_VARIATIONS)
    language = chance.choice(translations.languages)
    if place >= how.variations:
        return place, []
    found = await translations.into(asked, language, seed)
    return place, [] if found is None else [Mutation(TRANSLATION, *found)]


def _spoken(case: Case, translation: Translation | None) -> Case:
    if translation is None:
        return case
    _, _, place = case.locale.partition("-")
    return case.model_copy(update={"locale": f"{translation.language}-{place}"})


def _mutations(asked: Asked, how: Layers, count: int) -> tuple[Mutation, ...]:
    if not count:
        return ()
    chance = generator(_seed(asked, how, Purpose.MUTATOR))
    return mutated(asked.user_input, asked.case.persona, count, chance)


def _seed(asked: Asked, how: Layers, purpose: Purpose) -> int:
    return derive(how.seed, case=asked.case.id, path=asked.path, purpose=purpose, repeat=how.repeat)

"""The single-turn evaluation: layers of questions, each answered and judged on its own.

Layer 0 holds the group's cases. Each case that failed (every case with `expand_on: all`) spawns
`variations` children in the next layer. Conversation ids are assigned in (layer, parent, index) order
before any question of the layer is sent, so they do not depend on the order of the answers.

With a translator, a seeded draw picks which of a message's MOST_VARIATIONS places goes to a translation.
If the translation is refused, an ordinary variation takes that place. A translated message is not varied
further: the mutators and the attacker's checks work on English only.

A question without a reply or a judgement is reported as unanswered and has no variations. If the attacker
fails when asked for variations, the questions that it would have written are reported as unanswered.
"""

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from engine.kinds import JobError
from jobs.chat.target import Reply
from jobs.evaluator.groups import Case
from jobs.evaluator.judge.items import Judgement
from jobs.evaluator.mutators import MOST_VARIATIONS, Mutation, Translation, mutate
from jobs.evaluator.questions import (
    MissingAnswer,
    Outcome,
    Progress,
    Tolerance,
    blame,
    ignore_progress,
    map_concurrently,
)
from jobs.evaluator.seeds import Purpose, derive_seed, generator
from jobs.http import Unanswered

ATTACKER = "attacker"
"""Recorded as the mutator of a variation that an attacker model wrote."""
TRANSLATION = "translation"
"""Recorded as the mutator of a translation."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaseMessage:
    """One message to the target; `path` holds the index of the variation taken in each layer so far.

    The `case` of a translation has a locale with the new language and the original country.
    """

    conversation_id: int
    case: Case
    user_input: str
    path: tuple[int, ...] = ()
    parent_id: int | None = None
    mutator: str | None = None
    translation: Translation | None = None
    written: tuple[str, ...] = ()
    """Everything the attacker wrote for this message's ancestors, sent or not."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgedMessage:
    """A message with the target's reply and the judgement on it."""

    message: CaseMessage
    reply: Reply
    judgement: Judgement
    passed: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class UnansweredQuestion:
    """A message without a judged reply; `user_input` is None if the attacker never wrote it."""

    conversation_id: int
    case: Case
    iteration: int
    user_input: str | None
    parent_id: int | None
    mutator: str | None
    missing: MissingAnswer


@dataclass(frozen=True, slots=True, kw_only=True)
class SingleTurnOutcome:
    """The judged replies of an evaluation by layer, and the questions that have none."""

    layers: list[list[JudgedMessage]]
    unanswered: list[UnansweredQuestion]


@dataclass(frozen=True, slots=True, kw_only=True)
class SpreadOptions:
    """How an evaluation spreads over layers; a reply with a score below `threshold` fails."""

    threshold: float
    variations: int
    maximum_iteration_layers: int
    expand_on_all: bool
    seed: int
    repeat: int


Ask = Callable[[CaseMessage], Awaitable[Reply]]
Judge = Callable[[CaseMessage, Reply], Awaitable[Judgement]]
Vary = Callable[[JudgedMessage], Awaitable[Sequence[str]]]
"""Asks an attacker model for variations of a message; returns as many as it gives, or none."""


@dataclass(frozen=True, slots=True)
class TranslationSource:
    """The `languages` that a message may be translated into, and the function that does it.

    `translate` is given the message, the language and a seed. It returns None if no usable translation came.
    """

    languages: Sequence[str]
    translate: Callable[[CaseMessage, str, int], Awaitable[tuple[str, Translation] | None]]


@dataclass(frozen=True, slots=True, kw_only=True)
class VariationSources:
    """The sources of variations besides the seeded mutators."""

    vary: Vary | None = None
    translations: TranslationSource | None = None


def most_tests(cases: int, variations: int, layers: int) -> int:
    """The most questions that an evaluation can ask: cases * (1 + v + v**2 ...).

    `layers` are those after the first one, and v the `variations` of each question with variations.
    """
    return cases * sum(int(variations**layer) for layer in range(layers + 1))


def most_parents(cases: int, variations: int, layers: int) -> int:
    """The most questions that can have variations: all but those of the deepest layer."""
    return most_tests(cases, variations, layers - 1) if layers else 0


async def evaluate(
    cases: Sequence[Case],
    judge: Judge,
    ask: Ask,
    options: SpreadOptions,
    tolerance: Tolerance,
    sources: VariationSources = VariationSources(),
    progress: Progress = ignore_progress,
) -> SingleTurnOutcome:
    """Ask and judge the cases layer by layer, and return every judged reply.

    Variations come from `sources`, and from the seeded mutators where those give too few. `progress` is
    called after each judged reply with the number judged and the most questions that can be asked.

    A question without a reply or a judgement is never scored. If more are unanswered than `tolerance`
    allows, the most serious of their JobErrors is raised once the rest of their layer has been asked.
    """

    answered = 0
    most = most_tests(len(cases), options.variations, options.maximum_iteration_layers)

    async def ask_and_judge(message: CaseMessage) -> JudgedMessage:
        nonlocal answered
        reply = await ask(message)
        with blame(Unanswered.JUDGE):
            judgement = await judge(message, reply)
        passed = judgement.score >= options.threshold
        answered += 1
        progress(answered, most)
        return JudgedMessage(message=message, reply=reply, judgement=judgement, passed=passed)

    asking = [
        CaseMessage(conversation_id=number, case=case, user_input=case.user_input)
        for number, case in enumerate(cases)
    ]
    found = SingleTurnOutcome(layers=[], unanswered=[])
    first_id = 0
    while asking:
        first_id += len(asking)
        iteration = len(found.layers)
        layers_left = options.maximum_iteration_layers - iteration
        most = first_id - len(asking) + most_tests(len(asking), options.variations, layers_left)
        outcomes = await map_concurrently(asking, ask_and_judge)
        found.layers.append([one for one in outcomes if not isinstance(one, JobError)])
        found.unanswered.extend(_unanswered_questions(asking, outcomes, iteration))
        _check(found, tolerance)
        if iteration == options.maximum_iteration_layers:
            break
        asking, unwritten = await _children(
            found.layers[-1], options, sources, first_id, iteration + 1
        )
        first_id += len(unwritten)
        found.unanswered.extend(unwritten)
        _check(found, tolerance)
    return found


def _check(found: SingleTurnOutcome, tolerance: Tolerance) -> None:
    tolerance.check([one.missing for one in found.unanswered], sum(map(len, found.layers)))


def _unanswered_questions(
    asking: Sequence[CaseMessage], outcomes: Sequence[Outcome[JudgedMessage]], iteration: int
) -> list[UnansweredQuestion]:
    return [
        UnansweredQuestion(
            conversation_id=message.conversation_id,
            case=message.case,
            iteration=iteration,
            user_input=message.user_input,
            parent_id=message.parent_id,
            mutator=message.mutator,
            missing=MissingAnswer(message.case.id, outcome),
        )
        for message, outcome in zip(asking, outcomes, strict=True)
        if isinstance(outcome, JobError)
    ]


async def _children(
    layer: Sequence[JudgedMessage],
    options: SpreadOptions,
    sources: VariationSources,
    first_id: int,
    iteration: int,
) -> tuple[list[CaseMessage], list[UnansweredQuestion]]:
    """The messages of the next layer, and the variations that the attacker failed to write."""

    async def vary_message(parent: JudgedMessage) -> tuple[list[Mutation], Sequence[str]]:
        with blame(Unanswered.ATTACKER):
            return await _vary(parent, options, sources)

    parents = [
        parent
        for parent in layer
        if parent.message.translation is None and (options.expand_on_all or not parent.passed)
    ]
    children: list[CaseMessage] = []
    unwritten: list[UnansweredQuestion] = []
    for parent, made in zip(parents, await map_concurrently(parents, vary_message), strict=True):
        next_id = first_id + len(children) + len(unwritten)
        if isinstance(made, JobError):
            unwritten += _unwritten_variations(
                parent.message, made, options.variations, next_id, iteration
            )
            continue
        mutations, written = made
        for index, mutation in enumerate(mutations):
            children.append(
                CaseMessage(
                    conversation_id=next_id + index,
                    case=_case_in_language(parent.message.case, mutation.translation),
                    user_input=mutation.user_input,
                    path=(*parent.message.path, index),
                    parent_id=parent.message.conversation_id,
                    mutator=mutation.mutator,
                    translation=mutation.translation,
                    written=(*parent.message.written, *written),
                )
            )
    return children, unwritten


def _unwritten_variations(
    parent: CaseMessage, error: JobError, count: int, first_id: int, iteration: int
) -> list[UnansweredQuestion]:
    return [
        UnansweredQuestion(
            conversation_id=first_id + index,
            case=parent.case,
            iteration=iteration,
            user_input=None,
            parent_id=parent.conversation_id,
            mutator=ATTACKER,
            missing=MissingAnswer(parent.case.id, error),
        )
        for index in range(count)
    ]


async def _vary(
    parent: JudgedMessage, options: SpreadOptions, sources: VariationSources
) -> tuple[list[Mutation], Sequence[str]]:
    """The variations of one message, and everything that the attacker wrote for it.

    The attacker's variations come first, then the mutators'; a translation is inserted at its drawn place.
    """
    place, translated = await _draw_translation(parent.message, options, sources.translations)
    wanted = options.variations - len(translated)
    written = () if sources.vary is None else await sources.vary(parent)
    made = [Mutation(ATTACKER, text) for text in written[:wanted]]
    made += _mutations(parent.message, options, wanted - len(made))
    return [*made[:place], *translated, *made[place:]], written


async def _draw_translation(
    message: CaseMessage, options: SpreadOptions, translations: TranslationSource | None
) -> tuple[int, list[Mutation]]:
    """The place of a translation among the variations, and the translation if one is made.

    The place does not depend on `options.variations`, so a smaller number of variations is a prefix of a
    larger one.
    """
    if translations is None or not message.case.is_english:
        return 0, []
    seed = _seed(message, options, Purpose.TRANSLATION)
    chance = generator(seed)
    place = chance.randrange(MOST_VARIATIONS)
    language = chance.choice(translations.languages)
    if place >= options.variations:
        return place, []
    found = await translations.translate(message, language, seed)
    return place, [] if found is None else [Mutation(TRANSLATION, *found)]


def _case_in_language(case: Case, translation: Translation | None) -> Case:
    if translation is None:
        return case
    _, _, place = case.locale.partition("-")
    return case.model_copy(update={"locale": f"{translation.language}-{place}"})


def _mutations(message: CaseMessage, options: SpreadOptions, count: int) -> tuple[Mutation, ...]:
    if not count:
        return ()
    chance = generator(_seed(message, options, Purpose.MUTATOR))
    return mutate(message.user_input, message.case.persona, count, chance)


def _seed(message: CaseMessage, options: SpreadOptions, purpose: Purpose) -> int:
    return derive_seed(
        options.seed,
        case=message.case.id,
        path=message.path,
        purpose=purpose,
        repeat=options.repeat,
    )

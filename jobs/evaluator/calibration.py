"""Compare a judge with people: both score the same replies."""

import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import asdict
from pathlib import Path
from typing import Any

from engine.documents.reading import load_document
from engine.documents.validation import not_a_mapping, validate
from engine.kinds import (
    Clock,
    JobError,
    Permit,
    PermitLimit,
    Problem,
    SweepError,
    UnansweredPolicy,
    UnansweredRule,
    UsageError,
)
from engine.permits import MemoryBook, Permits
from engine.slots import Slots
from jobs.chat.endpoint import ChatTarget
from jobs.chat.model_caller import JUDGE, model_caller_for
from jobs.evaluator.agreement import (
    errors_at,
    krippendorff_alpha,
    mean_absolute_error,
    picture,
)
from jobs.evaluator.judge.protocol import Judge
from jobs.evaluator.judge.rubric import RubricJudge
from jobs.evaluator.judge.rules import RulesJudge
from jobs.evaluator.questions import MissingAnswer, Tolerance, map_concurrently
from jobs.evaluator.ratings import RatedReply
from jobs.evaluator.settings import RubricJudgeSettings
from jobs.evaluator.standalone import StandaloneContext

logger = logging.getLogger(__name__)

THRESHOLDS = (0.3, 0.5, 0.7)
"""The thresholds at which errors are counted by default."""

_DIGITS = 4
_EVERY = UnansweredPolicy(rule=UnansweredRule.FAIL_JOB)


class _LimitedContext(StandaloneContext):
    """A StandaloneContext that keeps the endpoint's limits and logs events."""

    def __init__(self, clock: Clock) -> None:
        super().__init__(clock)
        self._permits = Permits(MemoryBook(clock), clock, "calibration")
        self._slots = Slots(clock)

    async def permit(
        self,
        name: str,
        *,
        rate_per_min: int | None = None,
        tokens_per_min: int | None = None,
        tokens: int = 0,
        to_model: bool = False,
    ) -> Permit:
        limit = PermitLimit(name=name, rate_per_min=rate_per_min, tokens_per_min=tokens_per_min)
        return await self._permits.wait([limit], tokens=tokens)

    def slot(self, name: str, max_in_flight: int) -> AbstractAsyncContextManager[None]:
        return self._slots.hold(name, max_in_flight)

    async def note(self, kind: str, message: str) -> None:
        logger.warning("%s: %s", kind, message)

    async def keep_unread(self, where: str, body: bytes) -> None:
        logger.warning("%s (%d bytes)", where, len(body))


async def score_replies(
    judge: str, rated: Sequence[RatedReply], clock: Clock
) -> tuple[str, list[float]]:
    """The judge's name and version, and its score of each reply.

    `judge` is `rules` or a YAML, TOML or JSON file that holds what a sweep file has under `service.judge`. Raises
    UsageError if the file is wrong or the judge fails.
    """
    context = _LimitedContext(clock)
    async with AsyncExitStack() as stack:
        chosen = await _open_judge(judge, clock, stack)

        async def score(one: RatedReply) -> float:
            judgement = await chosen.judge_reply(one.case, one.case.user_input, one.reply, context)
            return judgement.score

        try:
            scores = await _scores_of_all(rated, score)
        except JobError as error:
            raise UsageError(f"the judge failed: {error.message} ({error.detail})") from error
    return f"{chosen.name} {chosen.version}, a {chosen.label}", scores


async def _scores_of_all(
    rated: Sequence[RatedReply], score: Callable[[RatedReply], Awaitable[float]]
) -> list[float]:
    """The score of each reply; raises the most serious error if any reply has none."""
    outcomes = await map_concurrently(rated, score)
    scores = [one for one in outcomes if not isinstance(one, JobError)]
    missing = [
        MissingAnswer(one.case.id, outcome)
        for one, outcome in zip(rated, outcomes, strict=True)
        if isinstance(outcome, JobError)
    ]
    Tolerance(policy=_EVERY, is_last_attempt=True).check(missing, len(scores))
    return scores


def judge_notices(judge: str) -> Sequence[str]:
    """Notices to print before the judge is asked, such as that calls use a proxy; none for `rules`.

    `judge` is that of `score_replies`. Raises UsageError if its file is wrong or the proxy cannot be used.
    """
    settings = _judge_settings(judge)
    return () if settings is None else settings.endpoint.notices(settings.endpoint.base_url)


async def _open_judge(judge: str, clock: Clock, stack: AsyncExitStack) -> Judge:
    settings = _judge_settings(judge)
    if settings is None:
        return RulesJudge()
    target = ChatTarget(settings.endpoint, settings.generation)
    chat = await stack.enter_async_context(target.open(clock, Path(judge).parent))
    return RubricJudge(settings.model, target, model_caller_for(target, chat, JUDGE))


def _judge_settings(judge: str) -> RubricJudgeSettings | None:
    """The settings in the file `judge`, or None for the rules judge."""
    if judge == RulesJudge.name:
        return None
    path = Path(judge)
    if not path.suffix and not path.exists():
        raise UsageError(f"{judge}: neither `rules` nor a file")
    document = load_document(path)
    problems: list[Problem] = []
    written = document.value
    if not isinstance(written, Mapping):
        raise SweepError(judge, [not_a_mapping(written, "kind, endpoint, model")])
    settings = validate(RubricJudgeSettings, written, "", problems)
    if settings is None or not document.is_sound:
        raise SweepError(judge, document.locate(judge, problems))
    return settings


def calibration(
    name: str, rated: Sequence[RatedReply], judged: Sequence[float], thresholds: Sequence[float]
) -> dict[str, Any]:
    """The figures of a judge's agreement with people, as JSON values; `picture` is text.

    `judged` has the judge's scores in the order of `rated`. The errors are counted at each of the
    thresholds. Figures are rounded to four decimals; an alpha that is not defined is None.
    """
    human = [one.human for one in rated]
    among = krippendorff_alpha([one.scores for one in rated])
    alpha = krippendorff_alpha(
        [(*one.scores, score) for one, score in zip(rated, judged, strict=True)]
    )
    return {
        "judge": name,
        "replies": len(rated),
        "mean_absolute_error": round(mean_absolute_error(judged, human), _DIGITS),
        "krippendorff_alpha": None if alpha is None else round(alpha, _DIGITS),
        "krippendorff_alpha_of_people": None if among is None else round(among, _DIGITS),
        "thresholds": [
            {"threshold": threshold, **asdict(errors_at(judged, human, threshold))}
            for threshold in thresholds
        ],
        "picture": picture(judged, human),
    }

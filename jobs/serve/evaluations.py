"""One evaluation from its request to its answer: quota, a place, the evaluator, the history."""

import logging
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from secrets import token_hex
from typing import Any

import anyio

from engine.kinds import (
    Answer,
    Clock,
    Job,
    JobError,
    JobKind,
    MachineFault,
    RateLimited,
    Transient,
    UnansweredPolicy,
    Unreachable,
)
from engine.serving.admission import Admission, Full
from engine.serving.errors import ApiError
from engine.serving.shutdown import Shutdown, Work
from jobs.chat.target import digest
from jobs.evaluator.groups import Case
from jobs.serve.answers import history_rows, shaped
from jobs.serve.config import ServeConfig
from jobs.serve.context import EvaluationContext
from jobs.serve.failures import TOOK_TOO_LONG, Failed
from jobs.serve.ledger import Key, Ledger
from jobs.serve.ledger.file import LedgerError
from jobs.serve.ledger.service import Reservation
from jobs.serve.model_catalog import CatalogModel, ModelCatalog

logger = logging.getLogger(__name__)

_BACKOFF_S = 1.0
_BACKOFF_MAX_S = 60.0
_PASSING = (Transient, RateLimited, Unreachable, MachineFault)
_FINETUNED = "(fine-tuned)"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRequest:
    """What a request asks for. `parameters` are the evaluation's own, without model and prompt.

    Each `repeat` draws anew. `openai_key` is the caller's, for a fine-tuned model; without one the model
    is one on offer.
    """

    kind: str
    model: str
    prompt: str | None
    cases: Sequence[Case]
    parameters: Mapping[str, Any]
    repeat: int
    openai_key: str | None = field(default=None, repr=False)

    @property
    def digest(self) -> str:
        """Equal for requests that ask for the same; the caller's key is no part of it."""
        asked = [[case.id, case.user_input] for case in self.cases]
        finetuned = self.openai_key is not None
        how = [self.parameters, self.repeat, finetuned]
        return digest([self.kind, self.model, self.prompt, asked, *how])


class Evaluations:
    """Runs what is asked for, within the limits of the configuration."""

    def __init__(
        self,
        config: ServeConfig,
        ledger: Ledger,
        catalog: ModelCatalog,
        shutdown: Shutdown,
        clock: Clock,
    ) -> None:
        limits = config.limits
        self._config = config
        self._ledger = ledger
        self._catalog = catalog
        self._shutdown = shutdown
        self._clock = clock
        self.admission = Admission(
            at_once=limits.evaluations, per_key=limits.evaluations_per_key, queue=limits.queue
        )
        self.tests = 0
        self._scopes: set[str] = set()

    async def answer(self, key: Key, request: EvaluationRequest) -> bytes:
        """The body of the answer; raises ApiError where there is none, and LedgerError."""
        with self._shutdown.working() as work:
            try:
                return await self._answered(key, request, work)
            except ExceptionGroup as group:
                # Questions are asked in groups, and the ledger fails each of them alike.
                failures, others = group.split(LedgerError)
                if failures is None or others is not None:
                    raise
                raise LedgerError(str(_first(failures))) from group

    async def _answered(self, key: Key, request: EvaluationRequest, work: Work) -> bytes:
        async with self._offered(request) as offered:
            kind = self._catalog.kind(request.kind, offered, request.cases)
            parameters = {
                **request.parameters,
                "model": offered.model,
                "prompt": request.prompt,
                "group": "",
            }
            tests = kind.expected_tests(parameters)
            assert tests is not None, "the evaluator always knows"
            async with (
                self._scope(key, request) as scope,
                self._reserved(key, tests, scope) as reservation,
                self._place(key),
            ):
                work.has_begun = True
                context = EvaluationContext(self._ledger, self._clock, scope, reservation)
                answer = await self._evaluated(kind, parameters, context, request)
                return await self._finished(key, request, answer, scope)

    async def _finished(
        self, key: Key, request: EvaluationRequest, answer: Answer, scope: str
    ) -> bytes:
        body, document = shaped(answer, self._config.answers)
        evaluation_id = document["evaluation_id"]
        await self._ledger.record_evaluation(
            key, request.kind, evaluation_id, history_rows(document), scope=scope
        )
        self.tests += answer.measurement.tests
        return body

    @asynccontextmanager
    async def _offered(self, request: EvaluationRequest) -> AsyncIterator[CatalogModel]:
        if request.openai_key is None:
            offered = self._catalog.find(request.model)
            if offered is None:
                raise ApiError(404, f"the model {request.model!r:.200} is not offered here")
            yield offered
            return
        if self._config.openai is None:
            raise ApiError(404, "fine-tuned models are not evaluated here")
        if not (request.openai_key.isascii() and request.openai_key.isprintable()):
            raise ApiError(401, "the header openai-api-key does not hold a key")
        async with self._catalog.finetuned(request.model, request.openai_key) as offered:
            yield offered

    @asynccontextmanager
    async def _reserved(self, key: Key, tests: int, scope: str) -> AsyncIterator[Reservation]:
        # What an evaluation that broke off has generated is charged, and not generated again.
        tests -= await self._ledger.count_charged(scope)
        reservation = await self._ledger.reserve(key, tests)
        if reservation is None:
            raise await self._short(key, tests)
        try:
            yield reservation
        finally:
            await reservation.release()

    async def _short(self, key: Key, tests: int) -> ApiError:
        """Why an evaluation does not fit: so much is used, or held for others that may not use it all."""
        left = key.allotment - await self._ledger.count_used(key)
        may_come_to = f"this evaluation may come to {tests} test cases"
        if tests > left:
            message = (
                f"{may_come_to}, more than is left of the monthly allotment of {key.allotment}"
            )
            return ApiError(403, message, name="quota_exceeded", details={"needed": tests})
        return ApiError(
            429,
            f"{may_come_to}; {left} of the monthly allotment of {key.allotment} are left, but evaluations"
            " that are running hold too many of them: come back when they have ended",
            retry_after_s=self._config.limits.retry_after_s,
            name="quota_held",
        )

    @asynccontextmanager
    async def _place(self, key: Key) -> AsyncIterator[None]:
        try:
            async with self.admission.admit(key.id):
                yield
        except Full:
            raise ApiError(
                429,
                "as many evaluations are running and waiting as this service takes on",
                retry_after_s=self._config.limits.retry_after_s,
            ) from None

    @asynccontextmanager
    async def _scope(self, key: Key, request: EvaluationRequest) -> AsyncIterator[str]:
        """Where the replies of this evaluation are kept until it has its answer.

        Whoever asks again after a crash or a hang-up finds them. Of two that ask for the same at the
        same time each has its own: they are two measurements.
        """
        number = 0
        while (scope := f"{key.id}:{request.digest}:{number}") in self._scopes:
            number += 1
        self._scopes.add(scope)
        try:
            yield scope
        finally:
            self._scopes.discard(scope)

    async def _evaluated(
        self,
        kind: JobKind,
        parameters: Mapping[str, Any],
        context: EvaluationContext,
        request: EvaluationRequest,
    ) -> Answer:
        limits = self._config.limits
        key = token_hex(32)
        with anyio.move_on_after(limits.evaluation_s):
            for attempt in range(1, limits.attempts + 1):
                job = Job(
                    id=0,
                    key=key,
                    run="serve",
                    parameters=parameters,
                    labels=parameters,
                    repeat=request.repeat,
                    attempt=attempt,
                    attempts=limits.attempts,
                    unanswered=UnansweredPolicy(max_share=limits.max_unanswered),
                )
                try:
                    return await kind.run(job, context)
                except JobError as error:
                    if attempt == limits.attempts or not isinstance(error, _PASSING):
                        raise self._api_error(error, request, context, attempt) from None
                    asked_s = getattr(error, "retry_after_s", None)
                    wait_s = asked_s or _BACKOFF_S * 2 ** (attempt - 1)
                await self._clock.sleep(min(wait_s, _BACKOFF_MAX_S))
        told = f"the evaluation took longer than {limits.evaluation_s:g} s"
        self._note(request, TOOK_TOO_LONG, told)
        raise ApiError(
            500,
            f"{told}; what was paid for is kept for whoever asks for the same again",
            name=TOOK_TOO_LONG,
        )

    def _api_error(
        self, error: JobError, request: EvaluationRequest, context: EvaluationContext, attempts: int
    ) -> ApiError:
        failed = Failed(
            error=error,
            model=request.model,
            by_target=context.came_of_target(error),
            is_callers=request.openai_key is not None,
            attempts=attempts,
        )
        self._note(request, failed.cause, error.message)
        return failed.api_error(retry_after_s=self._config.limits.retry_after_s)

    def _note(self, request: EvaluationRequest, cause: str, error: str) -> None:
        # The id in the configuration: of a name that a request made up nothing is known.
        offer = self._config.offered(request.model) if request.openai_key is None else None
        model = _FINETUNED if offer is None else offer[0]
        logger.warning(
            "an evaluation failed", extra={"model": model, "cause": cause, "error": error}
        )


def _first(group: ExceptionGroup[LedgerError]) -> LedgerError:
    first = group.exceptions[0]
    return _first(first) if isinstance(first, ExceptionGroup) else first

"""Runs an evaluation from its request to its answer: quota, queue, evaluator, history."""

import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from secrets import token_hex
from typing import Any

import anyio

from engine.kinds import (
    Answer,
    Clock,
    Job,
    JobError,
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
from jobs.serve.answers import history_rows, render_answer
from jobs.serve.config import ServeConfig
from jobs.serve.context import EvaluationContext
from jobs.serve.failures import TOOK_TOO_LONG, EvaluationFailure
from jobs.serve.ledger import Key, Ledger
from jobs.serve.ledger.file import LedgerError
from jobs.serve.ledger.service import Reservation
from jobs.serve.model_catalog import CatalogModel, ModelCatalog

logger = logging.getLogger(__name__)

_BACKOFF_S = 1.0
_BACKOFF_MAX_S = 60.0
_RETRIED = (Transient, RateLimited, Unreachable, MachineFault)
_FINETUNED = "(fine-tuned)"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationRequest:
    """An evaluation to run. `parameters` are the evaluation's own, without model and prompt.

    Each `repeat` makes its own random choices. With the caller's `openai_key`, `model` is a fine-tuned
    model at OpenAI; otherwise it is one of the configured models.
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
        """Equal for equal requests; independent of the caller's key."""
        questions = [[case.id, case.user_input] for case in self.cases]
        is_finetune = self.openai_key is not None
        options = [self.parameters, self.repeat, is_finetune]
        return digest([self.kind, self.model, self.prompt, questions, *options])


class Evaluations:
    """Runs evaluations within the limits of the configuration, and records their results in the ledger.

    An evaluation reserves the most tests that it may need, waits in the queue for its turn, and is charged by
    reply. An equal request after an interruption continues from the replies that were already paid for.
    """

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
        """Test cases in all answers so far."""
        self._scopes: set[str] = set()

    async def answer(self, key: Key, request: EvaluationRequest) -> bytes:
        """Run an evaluation and return the body of its answer.

        Raises ApiError if the evaluation is refused or fails, and LedgerError if the ledger cannot be used.
        """
        with self._shutdown.working() as work:
            try:
                return await self._run(key, request, work)
            except ExceptionGroup as group:
                # Questions run in task groups, and a failing ledger fails each of them.
                failures, others = group.split(LedgerError)
                if failures is None or others is not None:
                    raise
                raise LedgerError(str(_first_leaf(failures))) from group

    async def _run(self, key: Key, request: EvaluationRequest, work: Work) -> bytes:
        async with self._open_model(request) as model:
            kind = self._catalog.kind(request.kind, model, request.cases)
            parameters = {
                **request.parameters,
                "model": model.model,
                "prompt": request.prompt,
                "group": "",
            }
            tests = kind.expected_tests(parameters)
            assert tests is not None, "the evaluator always knows how many"
            async with (
                self._hold_scope(key, request) as scope,
                self._reserve(key, tests, scope) as reservation,
                self._admit(key),
            ):
                work.has_begun = True
                context = EvaluationContext(self._ledger, self._clock, scope, reservation)
                run = partial(kind.run, client=model.client, context=context)
                answer = await self._evaluate(run, parameters, context, request)
                return await self._record(key, request, answer, scope)

    async def _record(
        self, key: Key, request: EvaluationRequest, answer: Answer, scope: str
    ) -> bytes:
        body, document = render_answer(answer, self._config.answers)
        evaluation_id = document["evaluation_id"]
        await self._ledger.record_evaluation(
            key, request.kind, evaluation_id, history_rows(document), scope=scope
        )
        self.tests += answer.measurement.tests
        return body

    @asynccontextmanager
    async def _open_model(self, request: EvaluationRequest) -> AsyncIterator[CatalogModel]:
        if request.openai_key is None:
            model = self._catalog.find(request.model)
            if model is None:
                raise ApiError(404, f"this service does not offer the model {request.model!r:.200}")
            yield model
            return
        if self._config.openai is None:
            raise ApiError(404, "this service does not evaluate fine-tuned models")
        if not (request.openai_key.isascii() and request.openai_key.isprintable()):
            raise ApiError(401, "the header openai-api-key does not contain a key")
        async with self._catalog.open_finetune(request.model, request.openai_key) as model:
            yield model

    @asynccontextmanager
    async def _reserve(self, key: Key, tests: int, scope: str) -> AsyncIterator[Reservation]:
        # Test cases that an interrupted evaluation generated are charged already, and are not repeated.
        tests -= await self._ledger.count_charged(scope)
        reservation = await self._ledger.reserve(key, tests)
        if reservation is None:
            raise await self._quota_error(key, tests)
        try:
            yield reservation
        finally:
            await reservation.release()

    async def _quota_error(self, key: Key, tests: int) -> ApiError:
        """The refusal of an evaluation: 403 if too few tests are left, 429 if others have reserved them."""
        left = key.allotment - await self._ledger.count_used(key)
        need = f"this evaluation may need {tests} test cases"
        if tests > left:
            message = (
                f"{need}, but only {left} of the monthly allotment of {key.allotment} are left"
            )
            return ApiError(403, message, name="quota_exceeded", details={"needed": tests})
        return ApiError(
            429,
            f"{need}; {left} of the monthly allotment of {key.allotment} are left, but running"
            " evaluations have reserved too many of them; try again when they have ended",
            retry_after_s=self._config.limits.retry_after_s,
            name="quota_held",
        )

    @asynccontextmanager
    async def _admit(self, key: Key) -> AsyncIterator[None]:
        try:
            async with self.admission.admit(key.id):
                yield
        except Full:
            raise ApiError(
                429,
                "the queue of this service is full; try again later",
                retry_after_s=self._config.limits.retry_after_s,
            ) from None

    @asynccontextmanager
    async def _hold_scope(self, key: Key, request: EvaluationRequest) -> AsyncIterator[str]:
        """Hold the scope in which this evaluation's responses are saved until it has its answer.

        An equal request after a crash or a disconnect gets the same scope. Equal requests at the same time
        get different ones, because they are separate measurements.
        """
        number = 0
        while (scope := f"{key.id}:{request.digest}:{number}") in self._scopes:
            number += 1
        self._scopes.add(scope)
        try:
            yield scope
        finally:
            self._scopes.discard(scope)

    async def _evaluate(
        self,
        run: Callable[[Job], Awaitable[Answer]],
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
                    return await run(job)
                except JobError as error:
                    if attempt == limits.attempts or not isinstance(error, _RETRIED):
                        raise self._api_error(error, request, context, attempt) from None
                    backoff_s = _BACKOFF_S * 2 ** (attempt - 1)
                    wait_s = getattr(error, "retry_after_s", None) or backoff_s
                await self._clock.sleep(min(wait_s, _BACKOFF_MAX_S))
        message = f"the evaluation took longer than {limits.evaluation_s:g} s"
        self._log_failure(request, TOOK_TOO_LONG, message)
        raise ApiError(
            500,
            f"{message}; replies that were paid for are kept for an equal request",
            name=TOOK_TOO_LONG,
        )

    def _api_error(
        self, error: JobError, request: EvaluationRequest, context: EvaluationContext, attempts: int
    ) -> ApiError:
        failure = EvaluationFailure(
            error=error,
            model=request.model,
            is_from_target=context.is_from_target(error),
            is_callers=request.openai_key is not None,
            attempts=attempts,
        )
        self._log_failure(request, failure.cause, error.message)
        return failure.api_error(retry_after_s=self._config.limits.retry_after_s)

    def _log_failure(self, request: EvaluationRequest, cause: str, error: str) -> None:
        # The id in the configuration, because the request may name any model that matches a pattern.
        found = self._config.find_model(request.model) if request.openai_key is None else None
        model = _FINETUNED if found is None else found[0]
        logger.warning(
            "an evaluation failed", extra={"model": model, "cause": cause, "error": error}
        )


def _first_leaf(group: ExceptionGroup[LedgerError]) -> LedgerError:
    first = group.exceptions[0]
    return _first_leaf(first) if isinstance(first, ExceptionGroup) else first

"""Turns the error of an evaluation into the response to the caller, without the operator's secrets.

The endpoint's own message is passed on if it concerns the request (400, 404, 413, 422, 429, moderation), or
if the model was called with the caller's own key. Its address, and its messages about keys, accounts and
crashes, are not passed on: they concern the operator.
"""

from dataclasses import dataclass
from math import ceil

from engine.kinds import JobError, Permanent, QuotaExceeded, RateLimited, Unauthorized
from engine.serving.errors import ApiError
from jobs.http import Unanswered

KEY_REFUSED = "model_key_refused"
OUT_OF_CREDIT = "model_out_of_credit"
CALLERS_OUT_OF_CREDIT = "insufficient_credits"
REFUSED = "model_refused"
FAILED = "model_failed"
TOOK_TOO_LONG = "evaluation_took_too_long"

_ABOUT_THE_REQUEST = frozenset({400, 404, 413, 422, 429})
_REASONS = frozenset(Unanswered)
_ASK_THE_OPERATOR = "the operator of this service has to fix that"


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationFailure:
    """An evaluation that ended in an error.

    `is_from_target` says that the model under test raised it, not a judge or an attacker. `is_callers` says
    that this model is called with the caller's own key.
    """

    error: JobError
    model: str
    is_from_target: bool
    is_callers: bool
    attempts: int

    @property
    def cause(self) -> str:
        """The name by which the response and the log call the error, such as a refused key."""
        match self.error:
            case Unauthorized():
                return KEY_REFUSED
            case QuotaExceeded():
                return OUT_OF_CREDIT
            case Permanent():
                return REFUSED
            case _:
                return FAILED

    def api_error(self, *, retry_after_s: int) -> ApiError:
        """The response to the caller, with the contract's status for it.

        `retry_after_s` is the least Retry-After, in seconds, of a 429.
        """
        error, model, why = self.error, self._subject, self._explanation
        with_callers_key = self.is_callers and self.is_from_target
        match error:
            case RateLimited():
                wait_s = max(retry_after_s, ceil(error.retry_after_s or 0))
                return ApiError(429, f"{model} is rate limited{why}", retry_after_s=wait_s)
            case Permanent(status=404) if self.is_from_target:
                return ApiError(404, f"the endpoint does not know {model}{why}")
            case Unauthorized() if with_callers_key:
                message = f"OpenAI rejects the key in the header openai-api-key{why}"
                return ApiError(401, message)
            case QuotaExceeded() if with_callers_key:
                message = f"the account at OpenAI has no credit left{why}"
                # Not `quota_exceeded`, which concerns the allotment of the service's key.
                return ApiError(403, message, name=CALLERS_OUT_OF_CREDIT)
            case Unauthorized():
                message = f"this service's key for {model} is rejected; {_ASK_THE_OPERATOR}"
            case QuotaExceeded():
                message = (
                    f"this service's account for {model} has no credit left; {_ASK_THE_OPERATOR}"
                )
            case Permanent():
                message = f"{model} refuses the request{self._status}{why}"
            case _:
                attempts = f"{self.attempts} attempt{'' if self.attempts == 1 else 's'}"
                message = f"{model} failed in {attempts}{self._status}{why}"
        # The contract has no other status for errors of neither the caller's key nor the request.
        return ApiError(500, message, name=self.cause)

    @property
    def _subject(self) -> str:
        if self.is_from_target:
            return f"the model {self.model!r:.200}"
        return "a judge or attacker model"

    @property
    def _status(self) -> str:
        return "" if self.error.status is None else f" ({self.error.status})"

    @property
    def _explanation(self) -> str:
        error = self.error
        reason = Unanswered(error.reason).words if error.reason in _REASONS else ""
        is_about_request = (
            error.reason == Unanswered.MODERATED or error.status in _ABOUT_THE_REQUEST
        )
        is_public = self.is_from_target and (self.is_callers or is_about_request)
        return "".join(f": {part}" for part in (reason, error.detail if is_public else "") if part)

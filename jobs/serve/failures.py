"""What becomes of an evaluation without an answer: the caller's refusal, in words of our own.

The words of the model under test are told where they are about what was asked (400, 404, 413, 422, 429,
moderation), or where it is asked with the caller's own key. What an endpoint says of keys and accounts, its
address, and whatever it says when it breaks stay here: all that is the operator's.
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

_ABOUT_WHAT_WAS_ASKED = frozenset({400, 404, 413, 422, 429})
_REASONS = frozenset(Unanswered)
_ASK_THE_OPERATOR = "whoever runs this service has to see to it"


@dataclass(frozen=True, slots=True, kw_only=True)
class Failed:
    """An evaluation that ended in an error. `by_target`: the model under test, not a judge or attacker.

    `is_callers`: that model is asked with the caller's own key.
    """

    error: JobError
    model: str
    by_target: bool
    is_callers: bool
    attempts: int

    @property
    def cause(self) -> str:
        """The error's name in the answer and in the log."""
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
        """What the caller is told, with the status that the contract has for it.

        `retry_after_s` is what somebody waits at least whom a model asks for patience.
        """
        error, who, why = self.error, self._who, self._why
        theirs = self.is_callers and self.by_target
        match error:
            case RateLimited():
                wait_s = max(retry_after_s, ceil(error.retry_after_s or 0))
                return ApiError(429, f"{who} asks for patience{why}", retry_after_s=wait_s)
            case Permanent(status=404) if self.by_target:
                return ApiError(404, f"{who} is not known where it is asked{why}")
            case Unauthorized() if theirs:
                message = f"OpenAI refuses the key in the header openai-api-key{why}"
                return ApiError(401, message)
            case QuotaExceeded() if theirs:
                message = f"the account at OpenAI has no credit left{why}"
                # Not the name of the key's own allotment: that may have room.
                return ApiError(403, message, name=CALLERS_OUT_OF_CREDIT)
            case Unauthorized():
                message = f"the key that this service has for {who} is refused; {_ASK_THE_OPERATOR}"
            case QuotaExceeded():
                message = (
                    f"the account that this service has for {who} is used up; {_ASK_THE_OPERATOR}"
                )
            case Permanent():
                message = f"{who} refuses what this evaluation asks{self._status}{why}"
            case _:
                message = f"{who} failed in {self.attempts} attempts{self._status}{why}"
        # The contract knows no other status for what is neither the caller's key nor the request.
        return ApiError(500, message, name=self.cause)

    @property
    def _who(self) -> str:
        if self.by_target:
            return f"the model {self.model!r:.200}"
        return "a model that judges or attacks here"

    @property
    def _status(self) -> str:
        return "" if self.error.status is None else f" ({self.error.status})"

    @property
    def _why(self) -> str:
        error = self.error
        known = Unanswered(error.reason).words if error.reason in _REASONS else ""
        asked = error.reason == Unanswered.MODERATED or error.status in _ABOUT_WHAT_WAS_ASKED
        told = self.by_target and (self.is_callers or asked)
        return "".join(f": {part}" for part in (known, error.detail if told else "") if part)

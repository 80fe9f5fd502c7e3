"""What an error means: one table over status, names and words, for every service and provider.

The rules are asked in order, and the first that fits decides; where none fits, the status does. Names
(codes, types, reasons) come before words, since words may quote anything, a model's name or a user's text.
Rules for words say what a provider's sentence says, not one word of it.

A rule's source stands in the tests, beside the answers that it was made for.
"""

import re
from dataclasses import dataclass
from enum import Enum, auto

from jobs.http.explanations import Explanation, folded

_WORDS_SEEN = 300
"""An error that quotes the request does so behind its own words."""


class Meaning(Enum):
    """What an error means for the job, its lane and its service."""

    THROTTLED = auto()
    """Too much at once. Wait, and it will be answered."""
    SPENT = auto()
    """The account is empty, or a limit on its spending is reached: nothing helps but its owner."""
    ALLOTMENT = auto()
    """What is allotted for the month is used up; the next month has more."""
    MODERATED = auto()
    """A filter stands in the way of this very content."""
    KEY_REFUSED = auto()
    """The key is not valid."""
    HICCUP = auto()
    """Something broke on the way; the next try may be answered."""
    REFUSED = auto()
    """The answer is no, and stays no."""


@dataclass(frozen=True, slots=True)
class Rule:
    """`meaning`, where all that is given fits.

    `statuses` hold the HTTP status or the one in the body. One of `names` is a name in the body; one
    that ends with * is the beginning of a name. `words` are found in the message. `named` False: the body
    has no name at all; `structured`: it is an error object of the service itself.
    """

    meaning: Meaning
    statuses: frozenset[int] = frozenset()
    names: frozenset[str] = frozenset()
    words: re.Pattern[str] | None = None
    named: bool | None = None
    structured: bool | None = None

    def fits(self, status: int, said: Explanation) -> bool:
        """Whether the rule speaks of this error; `status` is 200 for one inside a 200."""
        if self.statuses and not self.statuses & {status, said.status}:
            return False
        if self.named is not None and self.named is not bool(said.names):
            return False
        if self.structured is not None and self.structured is not said.structured:
            return False
        if self.names and not _has_one(said.names, self.names):
            return False
        if self.words is not None:
            return said.told and self.words.search(said.text[:_WORDS_SEEN]) is not None
        return True


def _has_one(names: frozenset[str], wanted: frozenset[str]) -> bool:
    if names & wanted:
        return True
    beginnings = tuple(one[:-1] for one in wanted if one.endswith("*"))
    return bool(beginnings) and any(name.startswith(beginnings) for name in names)


def rule(
    meaning: Meaning,
    *names: str,
    statuses: tuple[int, ...] = (),
    words: str | None = None,
    named: bool | None = None,
    structured: bool | None = None,
) -> Rule:
    """A rule, its names folded and its words without case."""
    spelt = (folded(name) + ("*" if name.endswith("*") else "") for name in names)
    pattern = None if words is None else re.compile(words, re.IGNORECASE)
    return Rule(meaning, frozenset(statuses), frozenset(spelt), pattern, named, structured)


TABLE = (
    # More than a minute's tokens in one request is called a rate limit and will never fit.
    rule(Meaning.REFUSED, statuses=(413, 429), words=r"request too large"),
    # OpenRouter: requests in flight fill the budget; as soon as some have ended there is room.
    rule(Meaning.THROTTLED, "in_flight_budget_exhausted", "openrouter_in_flight_budget"),
    # Alibaba names tokens per minute as OpenAI names an empty account.
    rule(
        Meaning.THROTTLED,
        "insufficient_quota",
        "Throttling.AllocationQuota",
        words=r"#token-limit|#rate-limit|^allocated quota exceeded",
    ),
    rule(
        Meaning.SPENT,
        "insufficient_quota",
        "credit_balance_exhausted",
        "organization_spend_limit_exceeded",
        "project_spend_limit_exceeded",
        "organization_usage_limit_exceeded",
        "enforced_spend_limit_reached",
        "spend_limit_exceeded",
        "billing_error",
        "billing_hard_limit_reached",
        "billing_not_active",
        "BILLING_INSUFFICIENT_BALANCE",
        "exceeded_current_quota_error",
        "insufficient_balance",
        "insufficient_credits",
        "insufficient_funds",
        "insufficient_user_quota",
        "payment_required",
        "Arrearage",
        "budget_exceeded",
        "BudgetExceededError",
        "openrouter_credits",
        "openrouter_key_limit",
        "openrouter_guardrail_budget",
        "openrouter_workspace_budget",
        "base_resp 1008",
    ),
    # Zhipu, whose words are Chinese.
    rule(Meaning.SPENT, "1113", statuses=(200, 429)),
    rule(
        Meaning.SPENT,
        statuses=(200, 400, 402, 403, 412, 429, 500, 502, 503),
        words=(
            r"credit balance is too low|(no|out of) credits\b|prepayment credits are depleted"
            r"|insufficient (account )?(balance|credits?|funds)|\bbalance is insufficient"
            r"|used all available credits"
            r"|(reached|exceeded) (its|your|the) (configured )?(specified )?(workspace )?"
            r"((monthly )?(spending|spend) (limit|cap)|API usage limits)"
            r"|(reaching|reached) the monthly spending limit|exceeded your monthly included credits"
            r"|make sure your account is in good standing|free (allocated )?quota (is )?exhausted"
            r"|free allocated quota exceeded|budget has been exceeded|\bbudget exceeded\b"
            r"|Exceeded(Token)?Budget|your account is not active, please check your billing"
        ),
    ),
    # Gemini: a plan that does not have the model at all.
    rule(Meaning.SPENT, "RESOURCE_EXHAUSTED", words=r"\blimit: 0\b"),
    rule(Meaning.SPENT, statuses=(402,)),
    rule(
        Meaning.MODERATED,
        "content_filter",
        "content_policy_violation",
        "ContentPolicyViolationError",
        "ResponsibleAIPolicyViolation",
        "data_inspection_failed",
        "DataInspectionFailed",
        "flagged_input",
        "moderation_blocked",
        "guardrail_intervened",
        "PROHIBITED_CONTENT",
        "base_resp 1026",
        "base_resp 1027",
    ),
    rule(Meaning.MODERATED, "1301", statuses=(200, 400)),
    # Where there is no code, or a proxy lost it: the provider's sentence, from its beginning.
    rule(
        Meaning.MODERATED,
        statuses=(200, 400, 403),
        words=(
            r"^(litellm\.\w+: )*litellm\.ContentPolicyViolationError"
            r"|^your chosen model requires moderation and\b"
            r"|^the response was filtered due to the prompt triggering"
            r"|^invalid prompt: your prompt was flagged|^content violates usage guidelines"
            r"|^output blocked by content filtering policy"
        ),
    ),
    rule(
        Meaning.REFUSED,
        "context_length_exceeded",
        "exceed_context_size_error",
        "max_tokens_exceeded",
        "request_too_large",
        "string_above_max_length",
        "string_too_long",
        "token_limit_exceeded",
        "tokens_too_long",
    ),
    rule(
        Meaning.REFUSED,
        statuses=(200, 400, 403, 500),
        words=(
            r"maximum context length|exceeds the available context size|^prompt is too long"
            r"|must be less than the context length"
        ),
    ),
    rule(
        Meaning.REFUSED,
        "model_not_found",
        "ModelNotFound",
        "unknown_model",
        "DeploymentNotFound",
        statuses=(200, 400, 404),
    ),
    rule(
        Meaning.KEY_REFUSED,
        "API_KEY_INVALID",
        "invalid_api_key",
        "InvalidApiKey",
        "authentication_error",
        "UNAUTHENTICATED",
        "base_resp 1004",
    ),
    rule(
        Meaning.THROTTLED,
        "rate_limit*",
        "ratelimit*",
        "too_many_requests",
        "user_rate_limit_exceeded",
        "throttl*",
        "RESOURCE_EXHAUSTED",
        "limit_requests",
        "limit_burst_rate",
        "service_tier_capacity_exceeded",
        "capacity_exceeded",
        "NoCapacity",
        "slow_down",
        "ModelNotReadyException",
        "ServiceQuotaExceededException",
        "engine_overloaded_error",
        "base_resp 1002",
        "base_resp 1039",
        "error_code 4",
        "error_code 17",
        "error_code 18",
        "error_code 19",
        "error_code 336501",
        "error_code 336502",
    ),
    rule(Meaning.THROTTLED, statuses=(429, 498)),
    rule(
        Meaning.THROTTLED,
        statuses=(200, 400, 403, 409, 500, 502, 503),
        words=(
            r"too many (requests|tokens)|throttl(ed|ing)"
            r"|\b(rate|request|concurrency)[ -]?limit\w* (is |was |has been )?(exceeded|reached|hit)"
            r"|(exceeded|reached|hit) (the |your |its )?(\w+ )?(rate|request|concurrency)[ -]limit"
        ),
    ),
    # Words of patience under a status that says no.
    rule(
        Meaning.HICCUP,
        statuses=(200, 400, 403, 404),
        words=(
            r"\b(try again|retry)( your request)? (later|shortly|in|after)\b|currently loading|loading model"
            r"|is being loaded|temporarily (unavailable|overloaded)|\boverloaded\b|at capacity"
        ),
    ),
)

_KEPT = {401: Meaning.KEY_REFUSED} | dict.fromkeys((408, 409, 424, 425, 499), Meaning.HICCUP)


def meaning_of(status: int, said: Explanation, own: tuple[Rule, ...] = ()) -> Meaning:
    """What an error with an HTTP status means; `own` are rules of its service, which come first."""
    for one in (*own, *TABLE):
        if one.fits(status, said):
            return one.meaning
    if 200 <= status < 300:
        if said.status is None:
            return Meaning.HICCUP
        status = said.status
    if status == 403 and said.page:
        # A firewall in front of the service, which says nothing of the request.
        return Meaning.HICCUP
    return _KEPT.get(status, Meaning.HICCUP if status >= 500 else Meaning.REFUSED)

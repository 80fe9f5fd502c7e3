"""What an error means: one table of rules over status, names and messages, for every provider.

The first rule that matches decides, and without one the status does. Rules for names (codes, types,
reasons) come before rules for messages, which may quote anything, such as a model's name or a user's text.
A rule for messages matches a provider's whole phrase, never a single word.

The tests have the source of each rule, with the answers that it was written for.
"""

import re
from dataclasses import dataclass
from enum import Enum, auto

from jobs.http.explanations import Explanation, normalize_name

_WORDS_SEEN = 300
"""Only this much of a message is searched: an error that quotes the request does so at its end."""


class Meaning(Enum):
    """What an error means for the job, its lane and its service."""

    THROTTLED = auto()
    """Rate limited; succeeds after a wait."""
    SPENT = auto()
    """The account has no credit, or has reached a spending limit; only its owner can change that."""
    ALLOTMENT = auto()
    """The month's allotment is used up; the next month has more."""
    MODERATED = auto()
    """A filter rejects this content."""
    KEY_REFUSED = auto()
    """The key is not valid."""
    HICCUP = auto()
    """A transient failure; a retry may succeed."""
    REFUSED = auto()
    """A permanent refusal."""


@dataclass(frozen=True, slots=True)
class Rule:
    """An error has this `meaning` if every condition holds that is set.

    `statuses` contain the HTTP status or that in the body; one of `names` is a name in the body, or its
    beginning if it ends with *; `words` match the message; `named` says whether the body has any name, and
    `structured` whether it is an error object of the service itself.
    """

    meaning: Meaning
    statuses: frozenset[int] = frozenset()
    names: frozenset[str] = frozenset()
    words: re.Pattern[str] | None = None
    named: bool | None = None
    structured: bool | None = None

    def matches(self, status: int, explanation: Explanation) -> bool:
        """Whether the rule applies to an error: every condition that it sets holds.

        `status` is that of the response, so 200 for an error inside a 200. Only the beginning of a message
        is searched.
        """
        if self.statuses and not self.statuses & {status, explanation.status}:
            return False
        if self.named is not None and self.named is not bool(explanation.names):
            return False
        if self.structured is not None and self.structured is not explanation.structured:
            return False
        if self.names and not _has_one(explanation.names, self.names):
            return False
        if self.words is not None:
            return (
                explanation.has_message
                and self.words.search(explanation.text[:_WORDS_SEEN]) is not None
            )
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
    """A rule with its names normalized, and its words matched in any case, anywhere in a message.

    A name that ends with * is the beginning of names. Conditions that are not given are not checked. Raises
    re.error for malformed `words`.
    """
    spelt = (normalize_name(name) + ("*" if name.endswith("*") else "") for name in names)
    pattern = None if words is None else re.compile(words, re.IGNORECASE)
    return Rule(meaning, frozenset(statuses), frozenset(spelt), pattern, named, structured)


TABLE = (
    # A request with more than a minute's tokens is called rate limited, but can never succeed.
    rule(Meaning.REFUSED, statuses=(413, 429), words=r"request too large"),
    # OpenRouter: requests in flight use up the budget until some of them end.
    rule(Meaning.THROTTLED, "in_flight_budget_exhausted", "openrouter_in_flight_budget"),
    # Alibaba uses for tokens per minute the name that OpenAI uses for an empty account.
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
    # Zhipu, whose messages are in Chinese.
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
    # Gemini: the plan does not include the model.
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
    # Without a code, or if a proxy dropped it: the beginning of the provider's message.
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
    # Messages that ask to retry, with a status that is permanent otherwise.
    rule(
        Meaning.HICCUP,
        statuses=(200, 400, 403, 404),
        words=(
            r"\b(try again|retry)( your request)? (later|shortly|in|after)\b|currently loading|loading model"
            r"|is being loaded|temporarily (unavailable|overloaded)|\boverloaded\b|at capacity"
        ),
    ),
)

_BY_STATUS = {401: Meaning.KEY_REFUSED} | dict.fromkeys((408, 409, 424, 425, 499), Meaning.HICCUP)


def meaning_of(
    status: int, explanation: Explanation, service_rules: tuple[Rule, ...] = ()
) -> Meaning:
    """What an error with an HTTP status means; `service_rules` come before the common table.

    Without a rule that matches, the status decides, or, inside a 200, the status that the body gives. What
    is not known is transient from 500 on and in a 200, else permanent.
    """
    for one in (*service_rules, *TABLE):
        if one.matches(status, explanation):
            return one.meaning
    if 200 <= status < 300:
        if explanation.status is None:
            return Meaning.HICCUP
        status = explanation.status
    if status == 403 and explanation.page:
        # A firewall in front of the service, which did not judge the request.
        return Meaning.HICCUP
    return _BY_STATUS.get(status, Meaning.HICCUP if status >= 500 else Meaning.REFUSED)

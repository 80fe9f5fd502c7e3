"""What providers answer when they do not answer: as they document it, or as users have shown it."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from engine.kinds import (
    JobError,
    OutOfCredit,
    Permanent,
    RateLimited,
    Transient,
    Unauthorized,
)
from jobs.http import Unanswered

NOW = 1_800_000_000.0  # Fri, 15 Jan 2027 08:00:00 GMT

OPENAI = (
    "https://help.openai.com/en/articles/5955604-troubleshooting-api-rate-limits-and-429-errors"
)
OPENAI_SPENDING = "https://developers.openai.com/api/docs/guides/spend-limits"
OPENAI_QUOTA = "https://huggingface.co/spaces/microsoft/HuggingGPT/discussions/5"
OPENAI_TOO_LARGE = "https://kerlig.com/help/open-ai/troubleshooting"
OPENAI_RESETS = (
    "https://community.openai.com/t/how-to-get-rate-limit-reset-time-for-response-api/1268905"
)
AZURE_FILTER = "https://github.com/openai/openai-dotnet/issues/55"
AZURE_RATE = "https://learn.microsoft.com/en-us/answers/questions/2140040/requests-to-the-chatcompletions-create-operation-u"
AZURE_RETRY_MS = "https://www.developersdigest.tech/errors/api/azure-openai/429-rate-limit-exceeded"
AZURE_DEPLOYMENT = "https://github.com/chatboxai/chatbox/issues/646"
ANTHROPIC = "https://docs.anthropic.com/en/api/errors"
ANTHROPIC_OVERLOADED = "https://docs.llmgateway.io/troubleshooting/anthropic-529-overloaded"
ANTHROPIC_BALANCE = "https://portkey.ai/error-library/insufficient-balance-error-10489"
ANTHROPIC_CAP = (
    "https://www.developersdigest.tech/errors/api/anthropic-api/429-enforced-spend-limit-reached"
)
ANTHROPIC_FILTER = "https://github.com/anthropics/claude-code/issues/6195"
ANTHROPIC_LIMIT = "https://github.com/continuedev/continue/issues/11305"
GEMINI_MINUTE = "https://github.com/RooCodeInc/Roo-Code/issues/3883"
GEMINI_DAY = "https://github.com/google-gemini/gemini-cli/issues/10925"
GEMINI_FRACTION = "https://github.com/dcdpr/jp/pull/1061"
GEMINI_NEVER = "https://github.com/Gitlawb/openclaude/pull/249"
GEMINI = "https://ai.google.dev/gemini-api/docs/troubleshooting"
VERTEX = "https://github.com/google-gemini/gemini-cli/issues/6454"
MISTRAL = "https://docs.mistral.ai/resources/error-glossary"
GROQ = "https://console.groq.com/docs/errors"
GROQ_FLEX = "https://console.groq.com/docs/flex-processing"
GROQ_TOKENS = "https://www.skills.sh/jeremylongshore/tons-of-skills-marketplace/groq-common-errors"
TOGETHER = "https://docs.together.ai/docs/error-codes"
FIREWORKS = "https://docs.fireworks.ai/guides/inference-error-codes"
DEEPSEEK = "https://api-docs.deepseek.com/quick_start/error_codes"
DASHSCOPE = "https://help.aliyun.com/en/model-studio/error-code"
OPENROUTER = "https://openrouter.ai/docs/api/reference/errors-and-debugging"
OPENROUTER_BUDGET = (
    "https://www.developersdigest.tech/errors/api/openrouter/402-in-flight-budget-exhausted"
)
OPENROUTER_GUARD = (
    "https://www.developersdigest.tech/errors/api/openrouter/403-budget-limit-exceeded"
)
OPENROUTER_RATE = "https://www.developersdigest.tech/rate-limits/openrouter"
BEDROCK = (
    "https://docs.aws.amazon.com/bedrock/latest/userguide/troubleshooting-api-error-codes.html"
)
AWS_NAMES = "https://smithy.io/2.0/aws/protocols/aws-json-1_1-protocol.html"
ZHIPU = "https://docs.bigmodel.cn/cn/api/api-code"
ZHIPU_BALANCE = "https://github.com/zhayujie/CowAgent/issues/2910"
ONE_API = "https://github.com/popjane/free_chatgpt_api/issues/26"
SILICONFLOW = "https://github.com/FoundationAgents/OpenManus/issues/438"
BEDROCK_WORDS = "https://www.repost.aws/ja/knowledge-center/bedrock-throttling-error"
LLAMA_CPP = "https://github.com/ggml-org/llama.cpp/blob/master/tools/server/README.md"
LLAMA_CPP_CONTEXT = "https://github.com/oobabooga/textgen/issues/7257"
TGI = "https://github.com/huggingface/text-generation-inference/blob/main/router/src/server.rs"
HUGGING_FACE = "https://huggingface.co/mistralai/Mistral-7B-Instruct-v0.2/discussions/95"
OLLAMA = "https://github.com/ollama/ollama/issues/4159"
VLLM = "https://github.com/vllm-project/vllm/issues/20409"
LITELLM = "https://docs.litellm.ai/docs/proxy/error_reference"
LITELLM_BUDGET = "https://www.mintlify.com/BerriAI/litellm/proxy/budget-alerts"
LITELLM_FILTER = "https://github.com/BerriAI/litellm/pull/16231"
LITELLM_ROUTES = "https://docs.litellm.ai/docs/proxy/provider_budget_routing"
CLOUDFLARE = "https://gist.github.com/cbarley10/61cb71de0327d52a63e0c6955bd13423"
CLOUDFLARE_TIMEOUT = "https://github.com/curl/curl/discussions/16143"
MINIMAX = "https://platform.minimax.io/docs/api-reference/errorcode"
QIANFAN = "https://cloud.baidu.com/ask/175"
QIANFAN_NAMES = "https://ai.baidu.com/ai-doc/AppBuilder/4m8sgh88y"
WANDB = "https://docs.wandb.ai/inference/api-reference/errors"
XAI_CREDIT = "https://github.com/Anantys-oss/koan/issues/2412"
XAI_FILTER = "https://github.com/UKGovernmentBEIS/inspect_ai/pull/2267"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProviderAnswer:
    """An answer of a provider, `status` 200 for an error in one, and what it means."""

    source: str
    status: int
    body: Any
    becomes: type[JobError]
    headers: Mapping[str, str] = field(default_factory=dict)
    wait_s: float | None = None
    reason: str | None = None

    def __str__(self) -> str:
        return f"{self.source.split('/')[2]}-{self.status}-{self.becomes.__name__}"


def answer(
    source: str,
    status: int,
    body: Any,
    becomes: type[JobError],
    *,
    wait_s: float | None = None,
    reason: str | None = None,
    **headers: str,
) -> ProviderAnswer:
    """One row; headers with underscores for hyphens."""
    return ProviderAnswer(
        source=source,
        status=status,
        body=body,
        becomes=becomes,
        wait_s=wait_s,
        reason=reason,
        headers={name.replace("_", "-"): value for name, value in headers.items()},
    )


def error(message: str, **fields: Any) -> dict[str, Any]:
    """An error as OpenAI spells it."""
    return {"error": {"message": message, **fields}}


def google(code: int, message: str, status: str, *details: Any) -> dict[str, Any]:
    """An error as Google spells it."""
    return error(message, code=code, status=status, details=list(details))


_CURRENT_QUOTA = "You exceeded your current quota, please check your plan and billing details."
_AZURE_FILTERED = (
    "The response was filtered due to the prompt triggering Azure OpenAI's content management policy."
    " Please modify your prompt and retry."
)
_FILTERED = {
    "code": "ResponsibleAIPolicyViolation",
    "content_filter_result": {"self_harm": {"filtered": True, "severity": "high"}},
}
_TIER = (
    "Requests to the ChatCompletions_Create Operation have exceeded token rate limit of your tier."
)
_PER_MINUTE = {
    "@type": "type.googleapis.com/google.rpc.QuotaFailure",
    "violations": [{"quotaId": "GenerateContentInputTokensPerModelPerMinute-FreeTier"}],
}
_PER_DAY = {
    "@type": "type.googleapis.com/google.rpc.QuotaFailure",
    "violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}],
}
_TPM = "Rate limit reached for gpt-4o in organization org-x on tokens per min (TPM): Limit 30000."


def _delay(text: str) -> dict[str, str]:
    return {"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": text}


THROTTLED = (
    answer(
        OPENAI,
        429,
        error(f"{_TPM} Please try again in 3.2s.", type="tokens", code="rate_limit_exceeded"),
        RateLimited,
        wait_s=3.2,
    ),
    answer(
        OPENAI,
        429,
        error("Rate limit reached. Please try again in 1m2s.", type="requests", code=None),
        RateLimited,
        wait_s=62.0,
    ),
    answer(
        OPENAI_RESETS,
        429,
        error("Rate limit reached", type="requests", code="rate_limit_exceeded"),
        RateLimited,
        wait_s=360.0,
        x_ratelimit_remaining_requests="0",
        x_ratelimit_reset_requests="6m0s",
        x_ratelimit_remaining_tokens="159976",
        x_ratelimit_reset_tokens="20m",
    ),
    answer(
        OPENAI_RESETS,
        429,
        error("Rate limit reached", type="requests", code="rate_limit_exceeded"),
        RateLimited,
        wait_s=0.12,
        x_ratelimit_remaining_requests="0",
        x_ratelimit_reset_requests="120ms",
    ),
    answer(
        AZURE_RATE,
        429,
        error(f"{_TIER} Please retry after 37 seconds. Please contact support.", code="429"),
        RateLimited,
        wait_s=37.0,
    ),
    answer(
        AZURE_RETRY_MS,
        429,
        error("Rate limit is exceeded. Try again later.", code="RateLimitReached"),
        RateLimited,
        wait_s=2.5,
        retry_after_ms="2500",
        retry_after="2",
    ),
    answer(
        ANTHROPIC,
        429,
        {"type": "error", "error": {"type": "rate_limit_error", "message": "slow down"}},
        RateLimited,
        wait_s=31.0,
        anthropic_ratelimit_requests_remaining="0",
        anthropic_ratelimit_requests_reset="2027-01-15T08:00:30Z",
        anthropic_ratelimit_tokens_remaining="5000",
        anthropic_ratelimit_tokens_reset="2027-01-15T08:09:00Z",
    ),
    answer(
        GEMINI_MINUTE,
        429,
        google(429, _CURRENT_QUOTA, "RESOURCE_EXHAUSTED", _PER_MINUTE, _delay("26s")),
        RateLimited,
        wait_s=26.0,
    ),
    answer(
        GEMINI_FRACTION,
        429,
        [google(429, _CURRENT_QUOTA, "RESOURCE_EXHAUSTED", _delay("45.837906927s"))],
        RateLimited,
        wait_s=45.837906927,
    ),
    answer(
        GEMINI_DAY,
        429,
        google(429, _CURRENT_QUOTA, "RESOURCE_EXHAUSTED", _PER_DAY, _delay("26s")),
        RateLimited,
        wait_s=3600.0,
    ),
    answer(
        VERTEX,
        429,
        google(429, "Resource exhausted. Please try again later.", "RESOURCE_EXHAUSTED"),
        RateLimited,
    ),
    answer(
        MISTRAL,
        429,
        {
            "object": "error",
            "message": "Requests rate limit exceeded",
            "type": "rate_limited",
            "code": "1300",
        },
        RateLimited,
    ),
    answer(
        MISTRAL,
        400,
        {"object": "error", "message": "no", "type": "service_tier_capacity_exceeded"},
        RateLimited,
    ),
    answer(
        GROQ_TOKENS,
        429,
        error("Rate limit reached for model", type="tokens", code="rate_limit_exceeded"),
        RateLimited,
        wait_s=7.66,
        retry_after="2",
        x_ratelimit_remaining_tokens="0",
        x_ratelimit_reset_tokens="7.66s",
        x_ratelimit_remaining_requests="14370",
        x_ratelimit_reset_requests="2m59.56s",
    ),
    answer(
        GROQ_FLEX,
        498,
        error("Flex tier capacity exceeded", code="capacity_exceeded"),
        RateLimited,
    ),
    answer(
        TOGETHER,
        429,
        error("Too many requests", type="rate_limit", code=None),
        RateLimited,
        wait_s=5.0,
        x_ratelimit_reset="5",
    ),
    answer(
        DASHSCOPE,
        429,
        {"code": "Throttling.RateQuota", "message": "Requests rate limit exceeded"},
        RateLimited,
    ),
    answer(
        DASHSCOPE,
        429,
        error(
            f"{_CURRENT_QUOTA} See: https://help.aliyun.com/model-studio/error-code#token-limit",
            type="insufficient_quota",
            code="insufficient_quota",
        ),
        RateLimited,
    ),
    answer(
        DASHSCOPE,
        429,
        error("You exceeded your current requests list.", type="limit_requests"),
        RateLimited,
    ),
    answer(
        OPENROUTER_RATE,
        429,
        error(
            "Rate limit exceeded: free-models-per-min.",
            code=429,
            metadata={
                "headers": {
                    "X-RateLimit-Limit": "20",
                    "X-RateLimit-Remaining": "0",
                    "X-RateLimit-Reset": "1800000007000",
                }
            },
        ),
        RateLimited,
        wait_s=7.0,
    ),
    answer(
        OPENROUTER,
        200,
        error(
            "Provider returned error",
            code=429,
            metadata={"raw": "some/model is temporarily rate-limited upstream."},
        ),
        RateLimited,
    ),
    answer(
        OPENROUTER_BUDGET,
        402,
        error(
            "Too many requests in flight",
            code=402,
            metadata={"limit_source": "openrouter_in_flight_budget"},
        ),
        RateLimited,
        wait_s=4.0,
        retry_after="4",
    ),
    answer(
        BEDROCK,
        400,
        {"message": "Too many tokens, please wait before trying again."},
        RateLimited,
        x_amzn_errortype="ThrottlingException:http://internal.amazon.com/",
    ),
    answer(
        BEDROCK_WORDS,
        400,
        error("ThrottlingException: Too many requests, please wait before trying again."),
        RateLimited,
    ),
    answer(
        BEDROCK,
        429,
        {"__type": "ModelNotReadyException", "message": "The model is not ready."},
        RateLimited,
    ),
    answer(
        AWS_NAMES,
        400,
        {"__type": "com.amazon.coral.service#ThrottlingException", "message": "Slow down."},
        RateLimited,
    ),
    answer(ZHIPU, 429, error("您当前使用该 API 的并发数过高,请降低并发", code="1302"), RateLimited),
    answer(TGI, 429, {"error": "Model is overloaded", "error_type": "overloaded"}, RateLimited),
    answer(
        LITELLM_ROUTES,
        429,
        error(
            "No deployments available for selected model, Try again in 5 seconds. Passed model=m.",
            type="None",
            code="429",
        ),
        RateLimited,
        wait_s=5.0,
    ),
    answer(
        LITELLM,
        500,
        error("litellm.RateLimitError: Rate limit reached", type="throttling_error", code="429"),
        RateLimited,
    ),
    answer(
        MINIMAX,
        200,
        {"choices": None, "base_resp": {"status_code": 1002, "status_msg": "rate limit"}},
        RateLimited,
    ),
    answer(
        QIANFAN,
        200,
        {"error_code": 18, "error_msg": "Open api qps request limit reached"},
        RateLimited,
    ),
    answer(WANDB, 429, error("Concurrency limit reached for requests"), RateLimited),
    answer(WANDB, 403, error("Concurrency limit reached for requests"), RateLimited),
    answer(GEMINI, 403, error("User Rate Limit Exceeded", code="rateLimitExceeded"), RateLimited),
)

SPENT = (
    answer(
        OPENAI_QUOTA,
        429,
        error(_CURRENT_QUOTA, type="insufficient_quota", code="insufficient_quota"),
        OutOfCredit,
    ),
    answer(
        OPENAI,
        429,
        error("No credits.", type="insufficient_quota", code="credit_balance_exhausted"),
        OutOfCredit,
    ),
    answer(
        OPENAI_SPENDING,
        429,
        error("Limit.", code="project_spend_limit_exceeded"),
        OutOfCredit,
    ),
    answer(
        OPENAI_SPENDING,
        400,
        error("Billing hard limit has been reached", code="billing_hard_limit_reached"),
        OutOfCredit,
    ),
    answer(
        ANTHROPIC_BALANCE,
        400,
        {
            "type": "error",
            "error": {
                "type": "invalid_request_error",
                "message": "Your credit balance is too low to access the Anthropic API.",
            },
        },
        OutOfCredit,
    ),
    answer(
        ANTHROPIC_CAP,
        429,
        error(
            "Your organization has reached its limit.",
            type="rate_limit_error",
            details={"error_code": "enforced_spend_limit_reached"},
        ),
        OutOfCredit,
    ),
    answer(
        ANTHROPIC_LIMIT,
        400,
        error(
            "You have reached your specified API usage limits. You will regain access on 2026-04-01.",
            type="invalid_request_error",
        ),
        OutOfCredit,
    ),
    answer(ANTHROPIC, 403, error("no", type="billing_error"), OutOfCredit),
    answer(
        GEMINI_NEVER,
        429,
        google(429, f"{_CURRENT_QUOTA} Quota exceeded, limit: 0", "RESOURCE_EXHAUSTED"),
        OutOfCredit,
    ),
    answer(
        GEMINI,
        429,
        google(429, "Your prepayment credits are depleted.", "RESOURCE_EXHAUSTED"),
        OutOfCredit,
    ),
    answer(
        "https://www.developersdigest.tech/errors/api/gemini-api",
        402,
        google(402, "no", "RESOURCE_EXHAUSTED"),
        OutOfCredit,
    ),
    answer(TOGETHER, 402, error("Credit limit exceeded"), OutOfCredit),
    answer(
        FIREWORKS,
        412,
        error(
            "Account x is suspended, possibly due to reaching the monthly spending limit or failure"
            " to pay past invoices.",
            code="precondition_failed",
        ),
        OutOfCredit,
    ),
    answer(
        DEEPSEEK,
        402,
        error("Insufficient Balance", type="unknown_error", code="invalid_request_error"),
        OutOfCredit,
    ),
    answer(
        DASHSCOPE,
        400,
        error(
            "Access denied, please make sure your account is in good standing.",
            type="Arrearage",
            code="Arrearage",
        ),
        OutOfCredit,
    ),
    answer(OPENROUTER, 402, error("Insufficient credits", code=402), OutOfCredit),
    answer(OPENROUTER, 200, error("Insufficient credits", code=402), OutOfCredit),
    answer(
        OPENROUTER_GUARD,
        403,
        error("Budget limit", code=403, metadata={"limit_source": "openrouter_key_limit"}),
        OutOfCredit,
    ),
    answer(
        LITELLM_BUDGET,
        400,
        error("Proxy budget exceeded. Max budget: $1000.00", type="budget_exceeded", code="400"),
        OutOfCredit,
    ),
    answer(
        XAI_CREDIT,
        403,
        error("Your team has used all available credits or reached its monthly spending limit."),
        OutOfCredit,
    ),
    answer(WANDB, 402, error(_CURRENT_QUOTA), OutOfCredit),
    answer(
        QIANFAN_NAMES,
        429,
        {"code": "BILLING_INSUFFICIENT_BALANCE", "message": "insufficient balance"},
        OutOfCredit,
    ),
    answer(
        ZHIPU_BALANCE,
        429,
        error("余额不足或无可用资源包,请充值。", code="1113"),
        OutOfCredit,
    ),
    answer(
        ONE_API,
        403,
        error("user quota is not enough", type="v_api_error", code="insufficient_user_quota"),
        OutOfCredit,
    ),
    answer(
        SILICONFLOW,
        403,
        {
            "code": 30011,
            "message": "The selected model requires paid balance. Your paid balance is insufficient."
            " Please top up and try again.",
        },
        OutOfCredit,
    ),
    answer(
        MINIMAX,
        200,
        {"base_resp": {"status_code": 1008, "status_msg": "insufficient balance"}},
        OutOfCredit,
    ),
)

MODERATED = tuple(
    answer(source, status, body, Permanent, reason=Unanswered.MODERATED)
    for source, status, body in (
        (AZURE_FILTER, 400, error(_AZURE_FILTERED, code="content_filter", innererror=_FILTERED)),
        (AZURE_FILTER, 400, error(_AZURE_FILTERED, code=None)),
        (
            LITELLM_FILTER,
            400,
            error(
                "litellm.BadRequestError: litellm.ContentPolicyViolationError: AzureException - x",
                code="400",
                provider_specific_fields={"innererror": _FILTERED},
            ),
        ),
        (LITELLM_FILTER, 400, error("litellm.ContentPolicyViolationError: x", code="400")),
        (OPENAI, 400, error("Your request was rejected.", code="content_policy_violation")),
        (
            DASHSCOPE,
            400,
            error("Input data may contain inappropriate content.", code="data_inspection_failed"),
        ),
        (DASHSCOPE, 400, {"code": "DataInspectionFailed", "message": "Output data may contain"}),
        (
            OPENROUTER,
            403,
            error(
                "openai/x requires moderation on Y. Your input was flagged.",
                code=403,
                metadata={"reasons": ["self-harm"], "flagged_input": "I can't go on"},
            ),
        ),
        (
            "https://kerlig.com/help/open-router/troubleshooting",
            403,
            error("Your chosen model requires moderation and your input was flagged"),
        ),
        (MINIMAX, 200, {"base_resp": {"status_code": 1026, "status_msg": "input sensitive"}}),
        (ZHIPU, 400, error("系统检测到输入或生成内容可能包含不安全或敏感内容", code="1301")),
        (
            ANTHROPIC_FILTER,
            400,
            {
                "type": "error",
                "error": {
                    "type": "invalid_request_error",
                    "message": "Output blocked by content filtering policy",
                },
            },
        ),
        (
            XAI_FILTER,
            403,
            {"code": "no", "error": "Content violates usage guidelines. Failed check: x"},
        ),
    )
)

BROKEN = tuple(
    answer(source, status, body, Transient, wait_s=wait_s)
    for source, status, body, wait_s in (
        (
            ANTHROPIC_OVERLOADED,
            529,
            {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}},
            None,
        ),
        (ANTHROPIC, 409, error("conflict", type="conflict_error"), None),
        (GEMINI, 503, google(503, "The model is overloaded.", "UNAVAILABLE"), None),
        (GEMINI, 200, google(503, "The model is overloaded.", "UNAVAILABLE"), None),
        (TOGETHER, 503, error("Engine overloaded"), None),
        (DEEPSEEK, 503, error("Server overloaded"), None),
        (GROQ, 424, error("Failed dependency"), None),
        (GROQ, 499, error("Request cancelled"), None),
        (BEDROCK, 424, {"__type": "ModelErrorException", "message": "The model failed."}, None),
        (
            LLAMA_CPP,
            503,
            error("Loading model", type="unavailable_error", code=503),
            None,
        ),
        (LLAMA_CPP, 400, error("The model is being loaded"), None),
        (
            TGI,
            424,
            {"error": "Request failed during generation", "error_type": "generation"},
            None,
        ),
        (
            HUGGING_FACE,
            503,
            {"error": "Model m is currently loading", "estimated_time": 579.3385620117188},
            579.3385620117188,
        ),
        (OLLAMA, 503, {"error": "server busy, please try again. maximum pending requests"}, None),
        (CLOUDFLARE, 520, b"<html><h1>520</h1></html>", None),
        (CLOUDFLARE_TIMEOUT, 522, b"error code: 522", None),
        (CLOUDFLARE, 403, b"<!DOCTYPE html><title>Just a moment...</title>", None),
        (OPENROUTER, 200, error("Provider returned error", code=502), None),
        (
            OPENROUTER,
            200,
            error("The moderation sidecar did not answer in time", code=502),
            None,
        ),
        (VLLM, 200, {"object": "error", "message": "The engine is starting", "code": 503}, None),
        (OPENROUTER, 200, {"id": "x", "object": "chat.completion", "choices": []}, None),
        (OPENROUTER, 200, {"id": None, "choices": None}, None),
        (OPENROUTER, 200, {}, None),
    )
)

REFUSED = tuple(
    answer(source, status, body, Permanent)
    for source, status, body in (
        (
            OPENAI,
            400,
            error(
                "This model's maximum context length is 8192 tokens.",
                type="invalid_request_error",
                code="context_length_exceeded",
            ),
        ),
        (
            OPENAI_TOO_LARGE,
            429,
            error(
                "Request too large for gpt-4o on tokens per min (TPM): Limit 30000, Requested 35000."
                " The input or output tokens must be reduced.",
                type="tokens",
                code="rate_limit_exceeded",
            ),
        ),
        (OPENAI, 404, error("The model `x` does not exist", code="model_not_found")),
        (
            AZURE_DEPLOYMENT,
            404,
            error("The API deployment does not exist", code="DeploymentNotFound"),
        ),
        (ANTHROPIC, 400, error("prompt is too long: 210000 tokens", type="invalid_request_error")),
        (
            LLAMA_CPP_CONTEXT,
            200,
            error(
                "the request exceeds the available context size.",
                code=400,
                type="exceed_context_size_error",
                n_ctx=8192,
            ),
        ),
        (
            VLLM,
            400,
            {
                "object": "error",
                "message": "This model's maximum context length is 4096 tokens.",
                "type": "BadRequestError",
                "code": 400,
            },
        ),
        (TOGETHER, 403, error("Input token count must be less than the context length")),
        (MISTRAL, 400, {"object": "error", "message": "Invalid model", "code": "unknown_model"}),
        (OLLAMA, 404, {"error": "model 'x' not found, try pulling it first"}),
        (GEMINI, 400, google(400, "Unknown name", "INVALID_ARGUMENT")),
        (GEMINI, 403, google(403, "You lack permission.", "PERMISSION_DENIED")),
        (OPENAI, 400, error("the guidelines on moderation are in the manual", code="bad_value")),
        (TGI, 422, {"error": "Input validation error", "error_type": "validation"}),
    )
)

KEYS_REFUSED = tuple(
    answer(source, status, body, Unauthorized)
    for source, status, body in (
        (OPENAI, 401, error("Incorrect API key provided", code="invalid_api_key")),
        (
            GEMINI,
            400,
            google(400, "API key not valid.", "INVALID_ARGUMENT", {"reason": "API_KEY_INVALID"}),
        ),
        (DASHSCOPE, 401, {"code": "InvalidApiKey", "message": "Invalid API-key provided."}),
        (OPENROUTER, 200, error("No auth credentials found", code=401)),
    )
)

ANSWERS = (*THROTTLED, *SPENT, *MODERATED, *BROKEN, *REFUSED, *KEYS_REFUSED)

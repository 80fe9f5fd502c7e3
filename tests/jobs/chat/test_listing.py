from typing import Any

import pytest

from jobs.chat.listing import is_listed, lists_callable_names, read_listing


@pytest.mark.parametrize(
    ("document", "names"),
    [
        # https://platform.openai.com/docs/api-reference/models/list
        ({"object": "list", "data": [{"id": "gpt-4o", "object": "model"}]}, {"gpt-4o"}),
        # https://docs.together.ai/reference/models-1
        ([{"id": "meta-llama/Llama-3-8b", "type": "chat"}], {"meta-llama/Llama-3-8b"}),
        # https://ai.google.dev/api/models#method:-models.list
        ({"models": [{"name": "models/gemini-2.5-flash"}]}, {"models/gemini-2.5-flash"}),
        ({"data": [{"id": "a"}, {"id": 7}, "b", None, {"id": ""}]}, {"a", "b"}),
        ({"data": []}, set()),
    ],
)
def test_a_list_is_read_in_every_format_of_endpoints(document: Any, names: set[str]) -> None:
    assert set(read_listing(document) or ()) == names


@pytest.mark.parametrize("document", [{"detail": "Not Found"}, "ok", 1, None, {"data": "x"}, {}])
def test_any_other_answer_is_not_a_list(document: Any) -> None:
    assert read_listing(document) is None


@pytest.mark.parametrize(
    ("model", "listed"),
    [
        ("gpt-4o", "gpt-4o"),
        # https://github.com/ollama/ollama/blob/main/docs/faq.md: a name without a tag is `latest`
        ("llama3.2", "llama3.2:latest"),
        # https://ai.google.dev/gemini-api/docs/openai: called as gemini-..., listed as models/gemini-...
        ("gemini-2.5-flash", "models/gemini-2.5-flash"),
        ("models/gemini-2.5-flash", "gemini-2.5-flash"),
        # https://openrouter.ai/docs/features/model-routing: suffixes are no models of their own
        ("qwen/qwen3-8b:nitro", "qwen/qwen3-8b"),
        # https://docs.litellm.ai/docs/wildcard_routing
        ("openai/gpt-4o", "openai/*"),
    ],
)
def test_names_match_the_list_by_the_endpoint_s_rules(model: str, listed: str) -> None:
    assert is_listed(model, {listed, "another"})


@pytest.mark.parametrize(
    ("model", "listed"), [("goood", "good"), ("llama3.2:1b", "llama3.2:latest"), ("a:b", "a")]
)
def test_any_other_name_is_not_listed(model: str, listed: str) -> None:
    assert not is_listed(model, {listed})


@pytest.mark.parametrize(
    ("host", "ok"),
    [
        # https://learn.microsoft.com/azure/ai-foundry/openai/how-to/switching-endpoints: model is the deployment
        ("mine.openai.azure.com", False),
        ("api.openai.com", True),
        ("127.0.0.1", True),
    ],
)
def test_a_host_whose_calls_name_deployments_does_not_list_them(host: str, ok: bool) -> None:
    assert lists_callable_names(host) is ok

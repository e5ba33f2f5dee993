"""Each integration's answers are cached, in every way of calling, and only for the same request."""

from __future__ import annotations

from typing import Any

import pytest
from integrations import LANGCHAIN, langchain_model
from langchain_core.caches import BaseCache
from open_connections import IGNORED_WARNINGS
from provider_server import ProviderServer

from costguard_core import CostGuard
from langchain_costguard import ExactCache, GuardedChatModel

pytestmark = IGNORED_WARNINGS


@pytest.mark.parametrize("integration", sorted({*LANGCHAIN} - {"perplexity"}))  # its models search the web
def test_the_same_question_is_paid_once(integration: str, provider_server: ProviderServer) -> None:
    made = langchain_model(integration, provider_server.url, LANGCHAIN[integration], temperature=0)
    model = GuardedChatModel(made, CostGuard(), cache=ExactCache("memory://"))
    paid = model.invoke("Name a bird").text
    asked = len(provider_server.requests)
    assert model.invoke("Name a bird").text == paid
    assert "".join(chunk.text for chunk in model.stream("Name a bird")) == paid
    assert len(provider_server.requests) == asked
    model.invoke("Name a fish")
    assert len(provider_server.requests) > asked


class _Wrapped(BaseCache):
    """A cache of the application's around one of ours."""

    def __init__(self, inner: BaseCache) -> None:
        self._inner = inner

    def lookup(self, prompt: str, llm_string: str) -> Any:
        return self._inner.lookup(prompt, llm_string)

    def update(self, prompt: str, llm_string: str, return_val: Any) -> None:
        self._inner.update(prompt, llm_string, return_val)

    def clear(self, **kwargs: Any) -> None:
        self._inner.clear(**kwargs)


@pytest.mark.parametrize("integration", ["openai", "anthropic", "ollama"])
async def test_a_guarded_model_is_answered_by_a_cache_of_ours_that_is_wrapped(
    integration: str, provider_server: ProviderServer
) -> None:
    made = langchain_model(integration, provider_server.url, LANGCHAIN[integration], temperature=0)
    model = GuardedChatModel(made, CostGuard(), cache=_Wrapped(ExactCache("memory://")))
    config: Any = {}
    for paid, tenant in enumerate(("a", "b"), 1):
        config["metadata"] = {"tenant": tenant}
        for _ in range(2):
            model.invoke("Name a bird", config)
            model.batch(["Name a bird"], config)
            await model.ainvoke("Name a bird", config)
        assert len(provider_server.requests) == paid
    model.model_copy(update={"model": made.model_copy(update={"temperature": 0.7})}).invoke("Name a bird", config)
    assert len(provider_server.requests) == 3

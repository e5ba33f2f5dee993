"""Each integration's answers are cached, in every way of calling, and only for the same request."""

from __future__ import annotations

import pytest
from integrations import LLAMAINDEX, llamaindex_llm
from open_connections import IGNORED_WARNINGS
from provider_server import ProviderServer

from costguard_core import CostGuard
from llamaindex_costguard import guard_llm

pytestmark = IGNORED_WARNINGS


# Cohere's completes by an API of its own, which this provider does not speak.
@pytest.mark.parametrize("integration", sorted({*LLAMAINDEX} - {"cohere"}))
def test_the_same_question_is_paid_once(integration: str, provider_server: ProviderServer) -> None:
    made = llamaindex_llm(integration, provider_server.url, LLAMAINDEX[integration], temperature=0)
    llm = guard_llm(made, CostGuard(), cache="memory://")
    paid = llm.complete("Name a bird").text
    asked = len(provider_server.requests)
    assert llm.complete("Name a bird").text == paid
    assert [chunk.text for chunk in llm.stream_complete("Name a bird")][-1] == paid
    assert len(provider_server.requests) == asked
    llm.complete("Name a fish")
    assert len(provider_server.requests) > asked

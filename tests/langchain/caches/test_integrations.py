"""Each integration's answers are cached, in every way of calling, and only for the same request."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from integrations import LANGCHAIN, langchain_model
from open_connections import IGNORED_WARNINGS, collected_afterwards
from provider_server import ProviderServer

from costguard_core import CostGuard
from langchain_costguard import ExactCache, GuardedChatModel

pytestmark = IGNORED_WARNINGS


@pytest.fixture(scope="module")
def _server() -> Iterator[ProviderServer]:
    with collected_afterwards(), ProviderServer() as server:
        yield server


@pytest.fixture
def server(_server: ProviderServer) -> ProviderServer:
    _server.requests.clear()
    return _server


@pytest.mark.parametrize("integration", sorted({*LANGCHAIN} - {"perplexity"}))  # its models search the web
def test_the_same_question_is_paid_once(integration: str, server: ProviderServer) -> None:
    made = langchain_model(integration, server.url, LANGCHAIN[integration], temperature=0)
    model = GuardedChatModel(made, CostGuard(), cache=ExactCache("memory://"))
    paid = model.invoke("Name a bird").text
    asked = len(server.requests)
    assert model.invoke("Name a bird").text == paid
    assert "".join(chunk.text for chunk in model.stream("Name a bird")) == paid
    assert len(server.requests) == asked
    model.invoke("Name a fish")
    assert len(server.requests) > asked

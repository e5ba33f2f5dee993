"""What LangChain keeps for the whole process is what it was before, whatever a test did."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cache

import pytest
from langchain_core.globals import get_llm_cache, set_llm_cache
from langchain_openai.chat_models import _client_utils
from open_connections import collected_afterwards

from langchain_costguard import uninstall


@pytest.fixture(scope="session", autouse=True)
def _clients_stay() -> None:
    """LangChain keeps clients of 128 addresses and drops the oldest, still connected, in the middle of some test."""
    for name in ("_cached_sync_httpx_client", "_cached_async_httpx_client"):
        setattr(_client_utils, name, cache(getattr(_client_utils, name).__wrapped__))


@pytest.fixture(scope="module", autouse=True)
def _collected() -> Iterator[None]:
    """Some integrations leave connections open: those of a module end with it, not in the middle of another test."""
    with collected_afterwards():
        yield


@pytest.fixture(autouse=True)
def _process_wide_state() -> Iterator[None]:
    before = get_llm_cache()
    yield
    uninstall()
    set_llm_cache(before)

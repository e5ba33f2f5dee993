"""LLMs of two real integrations that talk to the simulated provider, with connections that end with the test."""

from __future__ import annotations

import gc
import warnings
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest
from llama_index.core import Settings
from llama_index.core.llms import LLM
from llama_index_instrumentation import get_dispatcher
from llamaindex_calls import SECRET

from costguard_core.simulate import Simulator
from llamaindex_costguard import uninstall

with warnings.catch_warnings(), suppress(ImportError):
    # LlamaIndex tries to import LangChain, to accept its models; what that warns of is not ours.
    warnings.simplefilter("ignore", DeprecationWarning)
    import llama_index.core.bridge.langchain  # noqa: F401

# The memories of LlamaIndex's chat engines leave their databases open, and threads that miss their event loop.
_MEMORIES = "ignore:<aiosqlite"
_THREADS = r"ignore:Exception in thread .*_connection_worker_thread:pytest.PytestUnhandledThreadExceptionWarning"
HERE = Path(__file__).parent


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """LlamaIndex uses what pydantic and LangChain call deprecated; warnings of other kinds, and ours, stay errors."""
    for item in items:
        if item.path.is_relative_to(HERE):
            item.add_marker(pytest.mark.filterwarnings("ignore::DeprecationWarning"))
            item.add_marker(pytest.mark.filterwarnings(_MEMORIES))
            item.add_marker(pytest.mark.filterwarnings(_THREADS))


@pytest.fixture(scope="module", autouse=True)
def _collected() -> Iterator[None]:
    yield
    with warnings.catch_warnings():
        warnings.filterwarnings(*_MEMORIES.split(":", 1), ResourceWarning)
        gc.collect()


@pytest.fixture(autouse=True)
def _process_wide_state() -> Iterator[None]:
    """What LlamaIndex keeps for the whole process is what it was before, whatever a test did."""
    settings, handlers = dict(vars(Settings)), list(get_dispatcher().event_handlers)
    yield
    uninstall()
    vars(Settings).clear()
    vars(Settings).update(settings)
    get_dispatcher().event_handlers[:] = handlers


MakeLLM = Callable[..., Any]


@pytest.fixture
async def make_openai(openai_server: Simulator) -> AsyncIterator[MakeLLM]:
    from llama_index.llms.openai import OpenAI

    sync, asynchronous = httpx.Client(), httpx.AsyncClient()

    def make(model: str = "gpt-4o-mini", **options: Any) -> LLM:
        clients = {"http_client": sync, "async_http_client": asynchronous}
        return OpenAI(model=model, api_base=openai_server.base_url, api_key=SECRET, max_retries=0, **clients, **options)

    yield make
    sync.close()
    await asynchronous.aclose()


@pytest.fixture
async def make_anthropic(openai_server: Simulator) -> AsyncIterator[MakeLLM]:
    from llama_index.llms.anthropic import Anthropic

    made: list[Any] = []

    def make(**options: Any) -> LLM:
        url = openai_server.base_url.removesuffix("/v1")
        made.append(Anthropic(model="claude-sonnet-4-5", base_url=url, api_key=SECRET, max_retries=0, **options))
        return made[-1]

    yield make
    for llm in made:
        llm._client.close()
        await llm._aclient.close()


@pytest.fixture
async def make_embedding(openai_server: Simulator) -> AsyncIterator[MakeLLM]:
    from llama_index.embeddings.openai import OpenAIEmbedding

    sync, asynchronous = httpx.Client(), httpx.AsyncClient()

    def make(model: str = "text-embedding-3-small", **options: Any) -> Any:
        clients = {"http_client": sync, "async_http_client": asynchronous}
        url = openai_server.base_url
        return OpenAIEmbedding(model=model, api_base=url, api_key=SECRET, max_retries=0, **clients, **options)

    yield make
    sync.close()
    await asynchronous.aclose()


@pytest.fixture(params=["openai", "anthropic"])
def make_llm(request: pytest.FixtureRequest, make_openai: MakeLLM, make_anthropic: MakeLLM) -> MakeLLM:
    return {"openai": make_openai, "anthropic": make_anthropic}[request.param]

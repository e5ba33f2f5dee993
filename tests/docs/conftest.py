"""A reader with a key, in an empty directory, whose provider is the simulated one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from langchain_core.globals import set_llm_cache

import llamaindex_costguard
from costguard_core.simulate import Simulator
from langchain_costguard import uninstall


@pytest.fixture
def openai_server() -> Iterator[Simulator]:
    """A provider of each test's own. Clients keep their connections, by address, and those of an application that a
    document makes belong to an event loop that ends with it: no other test may get them."""
    with Simulator() as server:
        yield server


@pytest.fixture(autouse=True)
def reader(openai_server: Simulator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[None]:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OPENAI_API_KEY", "simulated")
    monkeypatch.setenv("OPENAI_BASE_URL", openai_server.base_url)
    monkeypatch.setenv("OPENAI_API_BASE", openai_server.base_url)
    yield
    uninstall()
    llamaindex_costguard.uninstall()
    set_llm_cache(None)

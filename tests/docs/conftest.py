"""A reader with a key, in an empty directory, whose provider is the simulated one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from langchain_core.globals import set_llm_cache

import llamaindex_costguard
from costguard_core.simulate import Simulator
from langchain_costguard import uninstall


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

"""What LangChain keeps for the whole process is what it was before, whatever a test did."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from langchain_core.globals import get_llm_cache, set_llm_cache

from langchain_costguard import uninstall


@pytest.fixture(autouse=True)
def _process_wide_state() -> Iterator[None]:
    before = get_llm_cache()
    yield
    uninstall()
    set_llm_cache(before)

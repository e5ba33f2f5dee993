"""Server tools: https://platform.claude.com/docs/en/agents-and-tools/tool-use and the recordings of their bills."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costguard_core.usage.prompt_content import read_content
from costguard_core.usage.server_tools import ServerTools, server_tools
from costguard_core.usage.token_counter import TokenCounter

SEARCH = {"type": "web_search_20250305", "name": "web_search"}


def claude(*tools: dict[str, Any]) -> ServerTools:
    return server_tools("claude-sonnet-4-5", "anthropic", {"tools": list(tools)})


@pytest.mark.parametrize(("uses", "prompt", "billed"), [(1, 3_200, 16_083), (2, 3_200, 31_772), (10, 3_800, 404_500)])
def test_searches_are_held_at_what_was_billed_for_as_many(uses: int, prompt: int, billed: int) -> None:
    held = prompt + claude({**SEARCH, "max_uses": uses}).added(prompt, 200_000)
    assert billed <= held <= 1.6 * billed


def test_each_search_reads_the_conversation_anew() -> None:
    """494,549 tokens were billed for five searches in a conversation of 62,000."""
    assert 66_000 + claude({**SEARCH, "max_uses": 5}).added(66_000, 200_000) >= 494_549


def test_what_a_search_found_is_billed_with_every_later_prompt() -> None:
    result = {"type": "web_search_result", "title": "a", "encrypted_content": "x" * 211_452}
    content = read_content([{"type": "web_search_tool_result", "tool_use_id": "1", "content": [result] * 1}])
    counter = TokenCounter()
    held = counter.count_chat([("ai", content.text)], model="claude-sonnet-4-5", media=content.media)
    assert 62_000 <= held.bound <= 1.5 * 62_000
    newer = counter.count_chat([("ai", content.text)], model="claude-opus-4-8", media=content.media)
    assert newer.bound >= 1.35 * 62_000


def test_no_round_reads_more_than_the_context() -> None:
    fetch = {"type": "web_fetch_20250910", "name": "web_fetch", "max_uses": 10}
    assert 5_000 + claude(fetch).added(5_000, 200_000) == 11 * 200_000


def test_several_tools_in_one_dictionary_are_all_held() -> None:
    both = server_tools("gemini-2.5-flash", "google_genai", {"tools": [{"google_search": {}, "url_context": {}}]})
    assert both.searches == 10
    assert both.tokens >= 1_250_000


def test_an_advisor_is_another_model_at_its_own_price() -> None:
    advisor = {"type": "advisor_20260301", "name": "advisor", "model": "claude-opus-4-8", "max_uses": 1}
    prompt = 10_000
    # Of Opus beside Haiku: five times the price of the prompt, and an answer of 4,000 tokens at 25 times that.
    assert claude(advisor).added(prompt, None) >= 5 * prompt + 25 * 4_000


@given(st.integers(1, 12), st.integers(1, 12), st.integers(0, 100_000))
def test_two_tools_are_held_at_least_as_one_with_all_uses(first: int, second: int, prompt: int) -> None:
    together = claude({**SEARCH, "max_uses": first}, {**SEARCH, "max_uses": second})
    assert together == claude({**SEARCH, "max_uses": first + second})
    assert together.added(prompt, None) >= together.added(0, None)

"""What defeats a provider's prompt cache, and where its breakpoints go."""

from __future__ import annotations

from costguard_core.prompts.prompt_cache import breakpoints, first_difference, stable_first
from costguard_core.routing import Message


def test_volatile_prefixes_are_found_without_quoting_them():
    secret = "3f2504e0-4f89-11d3-9a0c-0305e82c3301"
    prompt = [Message("system", f"You help. Today is 2026-11-22 09:30. Request {secret}. " + "Rules. " * 100)]
    lint = stable_first([*prompt, Message("user", "Is 2026-11-22 a Sunday?")])
    assert [finding.kind for finding in lint.findings] == ["a time stamp", "a UUID"]
    assert lint.findings[0].lost_tokens > 150
    assert secret not in str(lint.findings[1])
    assert stable_first([Message("system", "You help."), Message("user", "x")]).ok


def test_two_requests_show_where_they_part():
    one = [Message("system", "Same"), Message("user", "Hello Ada")]
    two = [Message("system", "Same"), Message("user", "Hello Bob")]
    assert first_difference(one, two) == (1, 6)
    assert first_difference(one, one[:1]) == (1, 0)
    lint = stable_first(two, previous=one)
    assert (lint.differs_at, lint.shared_tokens, lint.total_tokens) == ((1, 6), 3, 4)


def test_breakpoints_go_behind_what_is_worth_caching():
    messages = [Message("system", "s" * 8000), Message("user", "q"), Message("assistant", "a"), Message("user", "q")]
    assert breakpoints(messages) == (0, 2)
    assert breakpoints(messages, tools_tokens=2000) == (-1, 0, 2)
    assert breakpoints([Message("system", "short"), Message("user", "q")]) == ()

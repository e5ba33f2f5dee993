"""What a router reads from a list of messages."""

from __future__ import annotations

from costguard_core.routing import Message, Phase, Request


def test_requests_from_messages():
    request = Request.of(
        [
            Message("system", "s" * 400),
            Message("user", "question one"),
            Message("assistant", "answer"),
            Message("user", "question two"),
            Message("tool", "boom", failed=True),
        ],
        tag="faq",
    )
    assert (request.text, request.turns, request.phase) == ("question two", 1, Phase.TOOL_ERROR)
    assert request.input_tokens == 109
    assert request.prefix_tokens == 108
    assert Request.of([]).text == ""

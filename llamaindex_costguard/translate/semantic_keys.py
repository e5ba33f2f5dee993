"""A LlamaIndex request as the semantic cache splits it, from the same rows as the exact key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from costguard_core.cache import CacheKey, CachePolicy, Uncacheable, canonical
from costguard_core.cache.semantic.query import Message, Role, is_from_agent
from llamaindex_costguard.translate.keys import RequestContent, request_key
from llamaindex_costguard.translate.messages import Structured, Text, described

_ROLES: dict[str, Role] = {"system": "instructions", "developer": "instructions", "user": "user"}
_TOOLS = ("tools", "functions")
_AGENT_ROLES = ("tool", "function")
_AGENT_EXTRAS = ("tool_calls", "tool_call_id", "function_call")


class PromptRequest:
    """A chat, a text prompt or a prompt for an object, under one cache policy.

    Raises:
        NotCanonical: a part has no exact written form.
    """

    fills_schema = False

    def __init__(self, policy: CachePolicy, content: RequestContent) -> None:
        self._policy, self._content = policy, content
        # What a request is besides messages (its form, its output class), and its messages.
        match content.prompt:
            case Text():
                self._head, self._rows = ["text", content.prompt.formatted], [["user", content.prompt.prompt]]
            case Structured():
                self._head, self._rows = content.rows[: Structured.HEAD], content.rows[Structured.HEAD :]
            case _:
                self._head, self._rows = [], content.rows

    @property
    def messages(self) -> list[Message]:
        return [_message(row) for row in self._rows]

    @property
    def known_question(self) -> str | None:
        return None if self._content.retrieved is None else self._content.retrieved.question

    @property
    def objection(self) -> str | None:
        if any(self._content.kwargs.get(name) for name in _TOOLS):
            return "tools are offered"
        retrieved = self._content.retrieved
        # What an extractor's template is filled with is a document, however short.
        return "a template without a question" if retrieved is not None and retrieved.question is None else None

    def key(self) -> CacheKey | Uncacheable:
        return request_key(self._policy, self._content, self._content.rows)

    def scope_parts(self, last_text: str) -> tuple[str, str]:
        around = request_key(
            self._policy, self._content, [*self._head, *self._rows[:-1], [self._rows[-1][0], last_text]]
        )
        assert not isinstance(around, Uncacheable)  # the policy reads the same question, settings and arguments
        # The context again, by itself: if it contains the question, the placeholder may be there.
        retrieved = self._content.retrieved
        return around.digest, canonical({} if retrieved is None else retrieved.context, described)


def _message(row: Sequence[Any]) -> Message:
    role, *blocks = row
    text = blocks[0] if len(blocks) == 1 and isinstance(blocks[0], str) else None
    return Message(_ROLES.get(role, "other"), text, role in _AGENT_ROLES or any(map(_is_from_agent, blocks)))


def _is_from_agent(block: Any) -> bool:
    if isinstance(block, str):
        return is_from_agent(block)
    extra = block.get("extra") or {}
    return "calls" in block or any(name in extra for name in _AGENT_EXTRAS)

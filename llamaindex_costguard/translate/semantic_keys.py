"""A LlamaIndex request → its question, and the scope that is everything else, from the same rows as the exact key."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from costguard_core.cache import CachePolicy, NotCanonical, Uncacheable, canonical
from costguard_core.cache.keys import digest
from costguard_core.cache.semantic.hit import Asked
from costguard_core.cache.semantic.question import LONGEST, SCOPE_VERSION, is_agents, is_more_than_a_question, split
from llamaindex_costguard.llm.places import Wanted
from llamaindex_costguard.translate.keys import keyed
from llamaindex_costguard.translate.messages import described
from llamaindex_costguard.translate.prompts import Structured, Text

_INSTRUCTIONS = ("system", "developer")
_TOOLS = ("tools", "functions")
_AGENT_ROLES = ("tool", "function")
_AGENT_EXTRAS = ("tool_calls", "tool_call_id", "function_call")


class Questions:
    """Splits requests into question and scope.

    ``space`` identifies the embedding model. ``history``: answer also inside conversations, whose history is then part
    of the scope; without it they are left to the exact cache.
    """

    def __init__(self, policy: CachePolicy, *, space: str, history: bool = False, longest: int = LONGEST) -> None:
        self.policy, self._space, self._history, self._longest = policy, space, history, longest

    def asked(self, wanted: Wanted) -> Asked | Uncacheable:
        """The question and scope of a request, or why it is left alone."""
        try:
            return self._asked(wanted)
        except NotCanonical as error:
            return Uncacheable(str(error))

    def _asked(self, wanted: Wanted) -> Asked | Uncacheable:
        head, said = _parted(wanted)
        reason = _offers_tools(wanted) or self._declines(said)
        if reason is not None:
            return Uncacheable(reason)
        role, text = said[-1]
        known = wanted.retrieved
        parts = split(text, None if known is None else known.question)
        if parts is None:
            return Uncacheable("no question in the last message")
        if is_more_than_a_question(parts.question, longest=self._longest):
            return Uncacheable("the prompt is more than a question")
        whole = keyed(self.policy, wanted, wanted.rows)
        if isinstance(whole, Uncacheable):
            return whole
        around = keyed(self.policy, wanted, [*head, *said[:-1], [role, parts.rest]])
        assert not isinstance(around, Uncacheable)  # the policy reads the same question, settings and arguments
        # The context again, by itself: if it contains the question, the hole may be there.
        context = canonical({} if known is None else known.context, described)
        return Asked(
            parts.question,
            digest(SCOPE_VERSION, self._space, around.digest, context),
            whole._replace(digest=digest("entry", self._space, whole.digest)),
        )

    def _declines(self, said: Sequence[list[Any]]) -> str | None:
        if not said or said[-1][0] != "user":
            return "the last message is not a person's"
        if len(said[-1]) != 2 or not isinstance(said[-1][1], str):
            return "the last message is not only text"
        if any(_is_agents(row) for row in said):
            return "an agent's turn"
        if not self._history and any(row[0] not in _INSTRUCTIONS for row in said[:-1]):
            return "a conversation (history=True to allow)"
        return None


def _parted(wanted: Wanted) -> tuple[list[Any], list[list[Any]]]:
    """What a request is besides messages (its form, its output class), and its messages."""
    match wanted.prompt:
        case Text():
            return ["text", wanted.prompt.formatted], [["user", wanted.prompt.prompt]]
        case Structured():
            return wanted.rows[: Structured.HEAD], wanted.rows[Structured.HEAD :]
        case _:
            return [], wanted.rows


def _offers_tools(wanted: Wanted) -> str | None:
    offered = any(wanted.kwargs.get(name) for name in _TOOLS)
    return "tools are offered" if offered else None


def _is_agents(row: Sequence[Any]) -> bool:
    return row[0] in _AGENT_ROLES or any(_is_agents_block(block) for block in row[1:])


def _is_agents_block(block: Any) -> bool:
    if isinstance(block, str):
        return is_agents(block)
    extra = block.get("extra") or {}
    return "calls" in block or any(name in extra for name in _AGENT_EXTRAS)

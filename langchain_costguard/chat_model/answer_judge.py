"""A chat model that compares answers where the built-in comparator cannot tell."""

from __future__ import annotations

from typing import Unpack, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.messages import HumanMessage, SystemMessage

from costguard_core import CostGuard
from costguard_core.cache.semantic.comparator.judge import Ask, JudgeComparator, JudgeOptions
from costguard_core.cache.semantic.verifier import REPLY_TOKENS
from langchain_costguard.chat_model.guarded import GuardedChatModel

_MAX_TOKENS = 5  # of the reply, which is one word


def judged(model: BaseChatModel, *, guard: CostGuard | None = None, **options: Unpack[JudgeOptions]) -> JudgeComparator:
    """``SemanticCache(..., compare=judged(model, guard=guard))``: ask ``model`` where ``first`` cannot tell.

    The cache asks after a paid answer, in the background, and never while a question waits for its answer.

    Args:
        model: a chat model; a small one will do.
        guard: charged for it, with the budgets that stop it (endpoint ``costguard/judge``).
        options: those of :class:`JudgeComparator`.
    """
    return JudgeComparator(asker(model, guard, max_tokens=_MAX_TOKENS), **options)


def asker(model: BaseChatModel, guard: CostGuard | None, *, max_tokens: int = REPLY_TOKENS) -> Ask:
    """``model`` as the core asks it: instructions and a text in, the text of the reply out; on the guard's bill."""
    # Of the same judgement twice, nobody pays the second: but not out of the cache that asks.
    asked: BaseChatModel = model
    if guard is not None and not isinstance(model, GuardedChatModel):
        asked = GuardedChatModel(model, guard, cache=False)

    def ask(instructions: str, text: str) -> str:
        reply = asked.invoke([SystemMessage(instructions), HumanMessage(text)], max_tokens=max_tokens)
        return cast(str, reply.text)

    return ask

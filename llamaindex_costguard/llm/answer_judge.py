"""An LLM that compares answers, or questions, where the words cannot tell."""

from __future__ import annotations

from typing import Unpack

from llama_index.core.base.llms.types import ChatMessage, MessageRole
from llama_index.core.llms import LLM

from costguard_core import CostGuard
from costguard_core.cache.semantic.comparator.judge import Ask, JudgeComparator, JudgeOptions
from costguard_core.util.options import names_options
from llamaindex_costguard.llm.guarded import guard_llm
from llamaindex_costguard.translate.validation import checked_llm


@names_options
def judged(llm: LLM, *, guard: CostGuard | None = None, **options: Unpack[JudgeOptions]) -> JudgeComparator:
    """``SemanticCache(..., compare=judged(llm, guard=guard))``: ask ``llm`` where ``first`` cannot tell.

    Args:
        llm: a small one will do; its own output limit applies.
        guard: charged for it, with the budgets that stop it (endpoint ``costguard/judge``).
        options: those of :class:`JudgeComparator`.
    """
    return JudgeComparator(asker(llm, guard), **options)


def asker(llm: LLM, guard: CostGuard | None) -> Ask:
    """``llm`` as the core asks it: instructions and a text in, the text of the reply out; on the guard's bill."""
    checked_llm(llm)
    asked = llm if guard is None else guard_llm(llm, guard)

    def ask(instructions: str, text: str) -> str:
        system = ChatMessage(role=MessageRole.SYSTEM, content=instructions)
        return asked.chat([system, ChatMessage(role=MessageRole.USER, content=text)]).message.content or ""

    return ask

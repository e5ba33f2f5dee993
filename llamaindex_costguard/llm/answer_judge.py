"""An LLM that compares answers, or questions, where the words cannot tell."""

from __future__ import annotations

from typing import Unpack

from llama_index.core.llms import LLM, ChatMessage

from costguard_core import CostGuard
from costguard_core.cache.semantic.comparator.judge import Ask, JudgeComparator, JudgeOptions
from costguard_core.cache.semantic.verifier import REPLY_TOKENS
from costguard_core.util.options import names_options
from llamaindex_costguard.llm.guarded import guard_llm
from llamaindex_costguard.llm.recorded_client import capped
from llamaindex_costguard.translate.keys import integration_class
from llamaindex_costguard.translate.parameters import model_settings
from llamaindex_costguard.translate.validation import checked_llm


@names_options
def judged(llm: LLM, *, guard: CostGuard | None = None, **options: Unpack[JudgeOptions]) -> JudgeComparator:
    """``SemanticCache(..., compare=judged(llm, guard=guard))``: ask ``llm`` where ``first`` cannot tell.

    Args:
        llm: a small one will do.
        guard: charged for it, with the budgets that stop it (endpoint ``costguard/judge``).
        options: those of :class:`JudgeComparator`.
    """
    return JudgeComparator(asker(llm, guard), **options)


def asker(llm: LLM, guard: CostGuard | None) -> Ask:
    """``llm`` as the core asks it: instructions and a text in, the text of the reply out; on the guard's bill."""
    checked_llm(llm)
    settings = model_settings(llm, integration_class(llm))
    if settings.limit_field and not settings.thinks:  # what thinks would use the limit up before it says a word
        llm = capped(llm, settings.limit_field, REPLY_TOKENS)
    asked = llm if guard is None else guard_llm(llm, guard)

    def ask(instructions: str, text: str) -> str:
        return asked.chat([ChatMessage(instructions, role="system"), ChatMessage(text)]).message.content or ""

    return ask

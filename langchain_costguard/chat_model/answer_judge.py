"""A chat model that compares answers where the built-in comparator cannot tell."""

from __future__ import annotations

from typing import Any, Unpack, cast

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import ensure_config

from costguard_core import CostGuard
from costguard_core.cache.semantic.comparator.judge import Ask, JudgeComparator, JudgeOptions
from costguard_core.cache.semantic.verifier import REPLY_TOKENS
from costguard_core.usage.overhead import thinks
from costguard_core.usage.parameters import Known, model_name
from costguard_core.util.options import check_kind, names_options
from langchain_costguard.callbacks.handler import judging_config
from langchain_costguard.chat_model.guarded import GuardedChatModel
from langchain_costguard.translate.parameters import KNOWN


@names_options
def judged(model: BaseChatModel, *, guard: CostGuard | None = None, **options: Unpack[JudgeOptions]) -> JudgeComparator:
    """``SemanticCache(..., compare=judged(model, guard=guard))``: ask ``model`` where ``first`` cannot tell.

    Args:
        model: a chat model; a small one will do.
        guard: charged for it, with the budgets that stop it (endpoint ``costguard/judge``).
        options: those of :class:`JudgeComparator`.
    """
    return JudgeComparator(asker(model, guard, max_tokens=5), **options)  # the reply is one word


def asker(model: BaseChatModel, guard: CostGuard | None, *, max_tokens: int = REPLY_TOKENS) -> Ask:
    """``model`` as the core asks it: instructions and a text in, the text of the reply out; on the guard's bill."""
    # Of the same judgement twice, nobody pays the second: but not out of the cache that asks.
    check_kind("model", model, BaseChatModel, 'a chat model of LangChain, such as ChatOpenAI(model="gpt-4o-mini")')
    name = model_name(Known(*map(model._get_ls_params().get, KNOWN)), {})  # what thinks would use the limit up so
    cap: dict[str, Any] = {} if thinks(name, model._get_invocation_params()) else {"max_tokens": max_tokens}
    bare = guard is not None and not isinstance(model, GuardedChatModel)
    asked = GuardedChatModel(model, cast(CostGuard, guard), cache=False) if bare else model

    def ask(instructions: str, text: str) -> str:
        told = [("system", instructions), ("human", text)]
        return str(asked.invoke(told, judging_config(ensure_config()), **cap).text)

    return ask

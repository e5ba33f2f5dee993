"""Put the guarded model where an integration's own ``bind_tools`` or ``with_structured_output`` put the bare one."""

from __future__ import annotations

from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import Runnable, RunnableBinding, RunnableParallel, RunnableSequence


def rebound(chain: Runnable[Any, Any], old: BaseChatModel, new: BaseChatModel) -> Runnable[Any, Any]:
    """``chain`` with ``new`` wherever ``old`` is called; everything else is shared and unchanged."""
    match chain:
        case _ if chain is old:
            return new
        case RunnableBinding():
            return chain.model_copy(update={"bound": rebound(chain.bound, old, new)})
        case RunnableSequence():
            steps = [rebound(step, old, new) for step in chain.steps]
            return RunnableSequence(*steps, name=chain.name)
        case RunnableParallel():
            branches = {name: rebound(branch, old, new) for name, branch in chain.steps__.items()}
            return chain.model_copy(update={"steps__": branches})
        case _:
            return chain

"""Serve a cached answer to a call that the budget refuses, although LangChain starts the run before it asks the cache.

A handler is told of a run and can only let it go or raise. It must raise, or a stream, a model with ``cache=False`` or
a miss would reach the provider. It may let go only if the cache is certain to answer. That takes the model and its
arguments, which a handler is not given: they are locals of the LangChain function that is starting the run. Where it is
not recognised, the refusal stands.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from typing import Any

from langchain_core.caches import BaseCache
from langchain_core.globals import get_llm_cache
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import BaseMessage

from costguard_core import CostGuard, SpendLimitExceeded
from costguard_core.attribution import current_attribution
from langchain_costguard.callbacks._promise import promise
from langchain_costguard.chat_model.answers import Question, holds

# The functions that ask the cache after they have told the handlers; ``stream`` never asks, and is not among them.
_STARTERS = frozenset((BaseChatModel.generate.__code__, BaseChatModel.agenerate.__code__))
_DEPTH = 12


def defer_to_cache(
    guard: CostGuard, refusal: SpendLimitExceeded, messages: Sequence[BaseMessage], metadata: Mapping[str, Any]
) -> bool:
    """Whether the refused run may go on, because the installed cache holds its answer."""
    cache = get_llm_cache()
    if cache is None or getattr(cache, "guard", None) is not guard:
        return False
    question = _question(messages, metadata)
    if question is None or question.model.cache is False or isinstance(question.model.cache, BaseCache):
        return False
    if not holds(cache, question):
        return False
    promise(refusal)
    return True


def _question(messages: Sequence[BaseMessage], metadata: Mapping[str, Any]) -> Question | None:
    frame = sys._getframe(1)
    for _ in range(_DEPTH):
        if frame.f_back is None:
            return None
        frame = frame.f_back
        if frame.f_code in _STARTERS:
            seen = frame.f_locals
            return Question(seen["self"], messages, seen["stop"], seen["kwargs"], current_attribution(metadata))
    return None

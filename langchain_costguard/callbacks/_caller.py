"""Who is asking the cache: read from the stack, because LangChain does not say.

``BaseCache.lookup(prompt, llm_string)`` is given no model, no run and no metadata. Without them a tenant named in
``config["metadata"]`` would be served another tenant's answer, a model whose fields were changed after its first call
would be served the old model's (LangChain serialises it once), and nobody could tell that the request of a leader has
failed. All three are locals of the one function that calls the cache. A caller that is not recognised is served from
the strings alone, without single flight.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Mapping, Sequence
from threading import get_ident
from types import CodeType, FrameType
from typing import Any, NamedTuple

from langchain_core.language_models import BaseChatModel, llms
from langchain_core.messages import BaseMessage

from costguard_core.cache.exact.singleflight import Owner

_CHAT = frozenset((BaseChatModel._generate_with_cache.__code__, BaseChatModel._agenerate_with_cache.__code__))
_LOOKUP = frozenset((llms.get_prompts.__code__, llms.aget_prompts.__code__))
_UPDATE = frozenset((llms.update_cache.__code__, llms.aupdate_cache.__code__))
_KNOWN: frozenset[CodeType] = _CHAT | _LOOKUP | _UPDATE

# `LayeredCache` and a wrapper or two of the user's may stand between LangChain and the cache that looks.
_DEPTH = 12


class Caller(NamedTuple):
    """The request as LangChain holds it. ``messages`` is ``None`` for a completion model, whose prompt is text."""

    model: Any
    messages: Sequence[BaseMessage] | None
    stop: list[str] | None
    kwargs: Mapping[str, Any]
    metadata: Mapping[str, Any] | None
    frame: FrameType

    def owner(self) -> Owner:
        """Somebody whose disappearance is noticed: alive while the call is on a thread's stack, or its task runs."""
        task = _current_task()
        if task is not None:
            return Owner(task, lambda: not task.done())
        thread, frame = get_ident(), self.frame
        return Owner(thread, lambda: _on_stack(thread, frame))


def find_caller() -> Caller | None:
    """The LangChain function that is asking the cache, if one is."""
    frame: FrameType | None = sys._getframe(1)
    for _ in range(_DEPTH):
        if frame is None:
            return None
        if frame.f_code in _KNOWN:
            return _chat(frame) if frame.f_code in _CHAT else _completion(frame)
        frame = frame.f_back
    return None


def _chat(frame: FrameType) -> Caller:
    seen = frame.f_locals
    metadata = getattr(seen["run_manager"], "metadata", None)
    return Caller(seen["self"], seen["messages"], seen["stop"], seen["kwargs"], metadata, frame)


def _completion(frame: FrameType) -> Caller | None:
    outer = frame.f_back
    if outer is None or not isinstance(outer.f_locals.get("self"), llms.BaseLLM):
        return None
    inner, seen = frame.f_locals, outer.f_locals
    index = inner["i"] if frame.f_code in _LOOKUP else inner["missing_prompt_idxs"][inner["i"]]
    managers = seen.get("callback_managers") or []
    metadata = managers[index].metadata if index < len(managers) else None
    return Caller(seen["self"], None, seen["stop"], seen["kwargs"], metadata, outer)


def _current_task() -> asyncio.Task[Any] | None:
    try:
        return asyncio.current_task()
    except RuntimeError:
        return None


def _on_stack(thread: int, frame: FrameType) -> bool:
    running = sys._current_frames().get(thread)
    while running is not None:
        if running is frame:
            return True
        running = running.f_back
    return False

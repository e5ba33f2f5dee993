"""LLMs as the tiers of a router, and on whose bill they are."""

from __future__ import annotations

from typing import Any

from llama_index.core.llms import LLM

from costguard_core import CostGuard
from costguard_core.routing.cascade.tier_factory import Rungs
from llamaindex_costguard.caches.base import Cache
from llamaindex_costguard.llm.guarded import guard_llm, guarding_of
from llamaindex_costguard.router import translate as routes


def on_bill(llm: LLM, guard: CostGuard | None, *, cache: Cache | str | None, **options: Any) -> LLM:
    """The LLM, guarded unless it is already, or nobody is to guard it."""
    guarding = guarding_of(llm)
    if guard is None or (guarding is not None and guarding.guard is guard):
        return llm
    return guard_llm(llm, guard, cache=cache, **options)


def _guard_of(llm: LLM) -> CostGuard | None:
    guarding = guarding_of(llm)
    return None if guarding is None else guarding.guard


def _name(llm: LLM) -> str:
    return routes.model_of(llm).name


RUNGS = Rungs(kind=LLM, word="llm", name=_name, tier=routes.tier_of, bill=_guard_of, condition=routes.condition)

"""Hits of completion models, which LangChain tells no callback of."""

from __future__ import annotations

from costguard_core import Call, CostGuard, Outcome
from costguard_core.attribution import current_attribution
from costguard_core.cache import Answer
from langchain_costguard.callbacks._caller import Caller
from langchain_costguard.translate.parameters import model_name


def record_completion(guard: CostGuard | None, outcome: Outcome, answer: Answer, caller: Caller | None) -> None:
    """Record a hit, if it is of a completion model: nobody else can."""
    if guard is None or caller is None or caller.messages is not None:
        return
    call = Call(
        id=guard.new_id(),
        model=answer.model or model_name({}, caller.model._identifying_params),
        started=guard.clock(),
        attribution=current_attribution(caller.metadata),
        kind="completion",
    )
    guard.hit(call, outcome, saved=answer.cost, usage=answer.usage)

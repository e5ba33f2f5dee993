"""The model that judges requests near the cut: asked in one short prompt, on the bill of the call it is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any

from langchain_core.language_models import BaseChatModel
from langchain_core.runnables import RunnableConfig

from costguard_core import CostGuard
from costguard_core.routing import Judge, asking
from costguard_core.routing.cascade.validation import called_at_once
from langchain_costguard.router.shadow import metering
from langchain_costguard.router.tiers import on_bill
from langchain_costguard.translate import parameters as calls

TAG = "costguard-judge"
_ASKED_BY: ContextVar[RunnableConfig | None] = ContextVar("costguard_asked_by", default=None)


def judge(given: Any, guard: CostGuard | None) -> Judge | None:
    """A judge from a chat model, which is on the bill of ``guard``, or from a function of a request.

    Raises:
        ConfigurationError: it is an ``async`` function.
    """
    if not isinstance(given, BaseChatModel):
        return None if given is None else called_at_once(given, "judge=")
    model = on_bill(given, guard, cache=False)
    return asking(lambda prompt: str(model.invoke(prompt, _ASKED_BY.get()).text))


@contextmanager
def asked_by(config: RunnableConfig) -> Iterator[None]:
    """Within it, a judge is asked in the name of the caller with this configuration.

    The handlers that keep the caller's books hear of it; for all others one request is one run.
    """
    metadata = {
        name: value for name, value in (config.get("metadata") or {}).items() if not name.startswith(calls.ROUTE)
    }
    token = _ASKED_BY.set({"callbacks": list(metering(config)), "metadata": metadata, "tags": [TAG]})
    try:
        yield
    finally:
        _ASKED_BY.reset(token)

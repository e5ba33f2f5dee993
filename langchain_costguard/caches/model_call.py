"""Which model call is asking a cache: what LangChain does not hand to ``BaseCache.lookup``.

LangChain gives a cache two strings, and neither the model nor the metadata of the call. Without them a tenant named in
``config["metadata"]`` would be served another tenant's answer, a model whose fields were changed after its first call
would be served the old model's (LangChain serialises it once), and nobody could tell that the request of a leader has
failed. So, from the first Costguard cache that a process makes, LangChain's ``generate`` and ``agenerate`` keep the
call in a context variable, which LangChain copies into its threads.

A cache that is asked while model calls are under way, but not in the context of one, does not know for whom: such a
request is neither looked up nor stored.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Mapping
from functools import wraps
from typing import Any

from langchain_core.callbacks import BaseCallbackManager
from langchain_core.language_models import BaseChatModel, BaseLLM
from langchain_core.runnables import ensure_config

from costguard_core import Attribution, SpendLimitExceeded
from costguard_core.attribution import current_attribution
from costguard_core.cache import layers
from langchain_costguard.translate.keys import TextContent

_WATCHED = "_costguard_watched"
REQUEST = "costguard_request"
"""The keyword argument in which a request travels through LangChain: `_stream` is given no metadata of the run."""


class ModelCall(layers.TwoStepCall):
    """One ``generate`` of a model, with all its prompts.

    Attributes:
        model, stop, kwargs: as given to ``generate``.
        completes: a completion model, whose hits LangChain reports to no callback.
        refusal: a budget's refusal of a run that may go on only because the cache has promised its answer.
    """

    __slots__ = ("_kwargs", "_metadata", "completes", "model", "refusal", "stop")

    def __init__(
        self, model: Any, stop: list[str] | None, kwargs: Mapping[str, Any], callbacks: Any, completes: bool
    ) -> None:
        self.model, self.stop, self._kwargs = model, stop, kwargs
        self.completes = completes
        self.refusal: SpendLimitExceeded | None = None
        self._metadata = (callbacks, kwargs.get("metadata"))

    def attribution(self, tags: Collection[str] = ()) -> Attribution | None:
        """For whom the call is made; ``None``: its prompts are made for different ones, which a cache cannot tell.

        ``tags`` are the names in the metadata that a guard takes as tags.
        """
        callbacks, metadata = self._metadata
        if not isinstance(metadata, list):
            return self._attribution(callbacks, metadata, tags)
        managers = (
            callbacks if isinstance(callbacks, list) and len(callbacks) == len(metadata) else [None] * len(metadata)
        )
        found = {self._attribution(manager, one, tags) for manager, one in zip(managers, metadata, strict=True)}
        return found.pop() if len(found) == 1 else None

    def _attribution(self, callbacks: Any, metadata: Mapping[str, Any] | None, tags: Collection[str]) -> Attribution:
        inherited = callbacks.metadata if isinstance(callbacks, BaseCallbackManager) else {}
        return current_attribution({**inherited, **(metadata or {}), **(self.model.metadata or {})}, tags)

    def asked(self, prompt: str, llm_string: str, attribution: Attribution, *, again: bool) -> TextContent:
        """The request of a cache with this call behind it."""
        request = self._kwargs.get(REQUEST)  # a guarded model's: the model inside answers
        asked = self.model if request is None else request.outer.model, self.stop, self.kwargs, not self.completes
        return TextContent(prompt, llm_string, attribution, *asked, again)

    @property
    def kwargs(self) -> dict[str, Any]:
        """What of the arguments of ``generate`` reaches the model."""
        given = self._kwargs
        if _RUN_OPTIONS.issuperset(given):
            return {}
        return {name: value for name, value in given.items() if name not in _RUN_OPTIONS}


_RUN_OPTIONS = frozenset(f"callbacks tags metadata run_name run_id stop ls_structured_output_format {REQUEST}".split())


def current_call() -> ModelCall | None:
    """The model call in whose context this code runs."""
    call = layers.current_call()
    return call if isinstance(call, ModelCall) else None


def who_asks() -> tuple[ModelCall | None, Attribution | None]:
    """The model call that is asking, and for whom; no attribution: nobody knows, and the request is uncacheable."""
    call = current_call()
    if call is not None:
        return call, call.attribution()
    if layers.is_any_under_way() or not _is_watched():
        return None, None
    return None, current_attribution(ensure_config().get("metadata"))


def watch_model_calls() -> None:
    """Keep every LangChain model call in a context variable from now on; does nothing more than that."""
    for kind in (BaseChatModel, BaseLLM):
        if not hasattr(kind.generate, _WATCHED):
            completes = kind is BaseLLM
            kind.generate = _watched(kind.generate, completes)  # type: ignore[method-assign]
            kind.agenerate = _awatched(kind.agenerate, completes)  # type: ignore[method-assign, assignment]


def _is_watched() -> bool:
    return hasattr(BaseChatModel.generate, _WATCHED) and hasattr(BaseLLM.generate, _WATCHED)


def _watched(generate: Callable[..., Any], completes: bool) -> Callable[..., Any]:
    @wraps(generate)
    def watched(self: Any, prompts: Any, stop: Any = None, callbacks: Any = None, **kwargs: Any) -> Any:
        with ModelCall(self, stop, kwargs, callbacks, completes):
            return generate(self, prompts, stop, callbacks, **kwargs)

    setattr(watched, _WATCHED, True)
    return watched


def _awatched(agenerate: Callable[..., Awaitable[Any]], completes: bool) -> Callable[..., Awaitable[Any]]:
    @wraps(agenerate)
    async def watched(self: Any, prompts: Any, stop: Any = None, callbacks: Any = None, **kwargs: Any) -> Any:
        with ModelCall(self, stop, kwargs, callbacks, completes):
            return await agenerate(self, prompts, stop, callbacks, **kwargs)

    setattr(watched, _WATCHED, True)
    return watched

"""An LLM that is its own class, and on a bill.

LlamaIndex asks an LLM for its class, settings and private hooks, so a wrapper would change what is sent. The guarded
LLM is a copy of the given one whose class is a subclass of its own, with the methods that reach a provider overridden.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import cache as remembered
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.llms import LLM
from llama_index.core.llms.structured_llm import StructuredLLM

from costguard_core import ConfigurationError, CostGuard
from costguard_core.budgets import agents
from costguard_core.cache.declared import bound
from costguard_core.cache.secrets import without_secrets
from costguard_core.cache.semantic.template import forming, predicting
from costguard_core.guard import check_guard
from costguard_core.lifecycle import same_class
from costguard_core.lifecycle.nesting import FRAMES, NestedCall, is_metered
from costguard_core.util.options import check_call_options, kept_options, names_options
from llamaindex_costguard.caches.base import Cache
from llamaindex_costguard.caches.exact import opened_cache
from llamaindex_costguard.llm.request import LLMRequest
from llamaindex_costguard.llm.settings import Guarding
from llamaindex_costguard.translate.answers import part_usage
from llamaindex_costguard.translate.messages import Chat, Structured, Text
from llamaindex_costguard.translate.parameters import reaches_client
from llamaindex_costguard.translate.validation import checked_llm

if TYPE_CHECKING:
    from llama_index.core.prompts import BasePromptTemplate
    from pydantic import BaseModel

L = TypeVar("L", bound=LLM)
_SETTINGS = "_costguard"
_Options = dict[str, object] | None


@names_options
def guard_llm(
    llm: L,
    guard: CostGuard,
    *,
    cache: Cache | str | None = None,
    stream_usage: bool = True,
    fixed_output: bool = False,
    billed_attempts: int = 1,
    account: str | None = None,
) -> L:
    """``llm``, with its calls budgeted, metered and cached; use the one returned wherever the given one was used.

    It is of the same class, with the same settings, and sends the same requests. Added: answers come from ``cache``, in
    streams and while a budget is spent too; identical concurrent requests make one provider call; what a budget cannot
    pay is refused before it is made. Sent in addition: a smaller output limit where a budget sets one, OpenAI's wish
    for usage in streams, and inside ``with guard.agent(...)`` when to conclude.

    Args:
        llm: any LlamaIndex LLM. It is not changed, and calls made through it directly are not guarded.
        guard: the bill.
        cache: an :class:`ExactCache` or its URL; ``None`` caches nothing, or keeps what a guarded LLM has.
        stream_usage: ask for usage in streams, where the integration can (``False`` for servers that refuse
            ``stream_options``; streams are then metered by counting).
        fixed_output: never send a smaller output limit than the request has; refuse what the budget cannot pay in full.
        billed_attempts: how many attempts of one call may be billed. An integration retries on its own, unseen; if
            your provider bills an attempt that timed out, hold ``max_retries + 1``.
        account: a name for the key or the project that is billed, for the ledger; never the key itself.

    Raises:
        ConfigurationError: the LLM is on another guard's bill already; or an argument is of the wrong kind.

    Raises (from every call):
        SpendLimitExceeded: refused before the provider was called, and the budget has no ``answer=``.
        UnpricedModelError: a money budget applies and the model has no price.
    """
    checked_llm(llm)
    check_guard(guard)
    kept = opened_cache(cache)
    options: dict[str, Any] = {"stream_usage": stream_usage, "fixed_output": fixed_output}
    options |= {"billed_attempts": billed_attempts, "account": account}
    options["account"] = check_call_options(**options)
    if isinstance(llm, StructuredLLM):
        # What it returns are objects of its own making; the LLM in it is what is asked and paid.
        return llm.model_copy(update={"llm": guard_llm(llm.llm, guard, cache=kept, **options)})
    if callable(guarded_by := getattr(type(llm), "guarded_by", None)):
        # A router is guarded tier by tier: only there are the model, its price and the key of its answers known.
        routed: L = guarded_by(llm, guard, cache=kept, **options)
        return routed
    before = guarding_of(llm)
    if before is not None and before.guard is not guard:
        raise ConfigurationError("this LLM is on another guard's bill already; guard the LLM that it was made from")
    inner = before.inner if before is not None else type(llm)
    options = kept_options({"cache": bound(kept, guard), **options}, before)
    return put_on_bill(llm, Guarding(guard.new_id(), guard, inner=inner, **options))


def put_on_bill(llm: L, settings: Guarding) -> L:
    """A copy of ``llm`` whose class is guarded; one that is already stays as it is, with what was wrapped around it."""
    kind = guarded_subclass(settings.inner) if guarding_of(llm) is None else type(llm)
    return same_class.of_class(llm, kind, _SETTINGS, settings)


def guarding_of(llm: object) -> Guarding | None:
    """The bill that an LLM is on."""
    found = llm.__dict__.get(_SETTINGS)
    return found if isinstance(found, Guarding) else None


class GuardedLLM:
    """The methods that reach a provider, and those that copies and reports use; mixed in before the integration's."""

    def chat(self, messages: Sequence[ChatMessage], **kwargs: object) -> Any:
        return _asked(self, "chat", Chat, messages, kwargs).run()

    async def achat(self, messages: Sequence[ChatMessage], **kwargs: object) -> Any:
        return await _asked(self, "achat", Chat, messages, kwargs).arun()

    def stream_chat(self, messages: Sequence[ChatMessage], **kwargs: object) -> Any:
        return _asked(self, "stream_chat", Chat, messages, kwargs).stream()

    async def astream_chat(self, messages: Sequence[ChatMessage], **kwargs: object) -> Any:
        return await _asked(self, "astream_chat", Chat, messages, kwargs).astream()

    def complete(self, prompt: str, formatted: bool = False, **kwargs: Any) -> Any:
        return _asked(self, "complete", Text, prompt, kwargs, formatted=formatted).run()

    async def acomplete(self, prompt: str, formatted: bool = False, **kwargs: object) -> Any:
        return await _asked(self, "acomplete", Text, prompt, kwargs, formatted=formatted).arun()

    def stream_complete(self, prompt: str, formatted: bool = False, **kwargs: object) -> Any:
        return _asked(self, "stream_complete", Text, prompt, kwargs, formatted=formatted).stream()

    async def astream_complete(self, prompt: str, formatted: bool = False, **kwargs: object) -> Any:
        return await _asked(self, "astream_complete", Text, prompt, kwargs, formatted=formatted).astream()

    def predict(self, prompt: BasePromptTemplate, **prompt_args: object) -> Any:
        with predicting(prompt.kwargs, prompt_args):
            return bare(self).predict(prompt, **prompt_args)

    async def apredict(self, prompt: BasePromptTemplate, **prompt_args: object) -> Any:
        with predicting(prompt.kwargs, prompt_args):
            return await bare(self).apredict(prompt, **prompt_args)

    def stream(self, prompt: BasePromptTemplate, **prompt_args: Any) -> Any:
        with predicting(prompt.kwargs, prompt_args):
            return bare(self).stream(prompt, **prompt_args)

    async def astream(self, prompt: BasePromptTemplate, **prompt_args: object) -> Any:
        with predicting(prompt.kwargs, prompt_args):
            return await bare(self).astream(prompt, **prompt_args)

    def structured_predict(
        self, output_cls: type[BaseModel], prompt: BasePromptTemplate, llm_kwargs: _Options = None, **values: object
    ) -> Any:
        wanted = Structured(self, output_cls, prompt, llm_kwargs, values)
        with predicting(prompt.kwargs, values), forming():
            return _object(self, "structured_predict", wanted).run()

    async def astructured_predict(
        self, output_cls: type[BaseModel], prompt: BasePromptTemplate, llm_kwargs: _Options = None, **values: object
    ) -> Any:
        wanted = Structured(self, output_cls, prompt, llm_kwargs, values)
        with predicting(prompt.kwargs, values), forming():
            return await _object(self, "astructured_predict", wanted).arun()

    def stream_structured_predict(
        self, output_cls: type[BaseModel], prompt: BasePromptTemplate, llm_kwargs: _Options = None, **values: object
    ) -> Any:
        wanted = Structured(self, output_cls, prompt, llm_kwargs, values)
        with predicting(prompt.kwargs, values), forming():
            return _object(self, "stream_structured_predict", wanted).stream()

    async def astream_structured_predict(
        self, output_cls: type[BaseModel], prompt: BasePromptTemplate, llm_kwargs: _Options = None, **values: object
    ) -> Any:
        wanted = Structured(self, output_cls, prompt, llm_kwargs, values)
        with predicting(prompt.kwargs, values), forming():
            return await _object(self, "astream_structured_predict", wanted).astream()

    def __reduce_ex__(self, protocol: object) -> Any:
        if (settings := guarding_of(self)) is None:
            return bare(self).__reduce_ex__(protocol)
        recipe = same_class.recipe(settings.name, *settings.parts())
        return _restored, (same_class.of_class(self, settings.inner, _SETTINGS, None), recipe)

    def __repr_args__(self) -> Iterable[tuple[str | None, Any]]:
        return without_secrets(bare(self).__repr_args__())


def bare(llm: object) -> Any:
    """The methods that a guarded LLM has from its integration."""
    return super(GuardedLLM, llm)


def _asked(
    llm: Any, method: str, form: type[Chat | Text], asked: Any, kwargs: dict[str, Any], **more: Any
) -> LLMRequest | NestedCall:
    """``asked`` in this form, with what is ``more`` than it; a part of a call is made without reading it."""
    settings: Guarding | None = llm.__dict__.get(_SETTINGS)
    if settings is None or (FRAMES.get() and is_metered(settings.guard)):
        made_by = partial(getattr(bare(llm), method), asked, **more, **kwargs)
        return NestedCall(made_by, None if settings is None else settings.guard, part_usage)
    if agents.CURRENT.get() is not None and form is Chat and (told := agents.wrap_up_text()) is not None:
        asked = [*asked, ChatMessage(told)]
    return LLMRequest(llm, settings, method, form(asked, **more), kwargs, bare)


def _object(llm: Any, method: str, wanted: Structured) -> LLMRequest | NestedCall:
    """A request for an object. Most integrations make it through ``chat``, which is guarded; some call a provider."""
    settings = guarding_of(llm)
    if settings is None or is_metered(settings.guard) or not reaches_client(settings.inner, method):
        arguments, more = wanted.arguments
        return NestedCall(partial(getattr(bare(llm), method), *arguments, **more), None, part_usage)
    return LLMRequest(llm, settings, method, wanted, {}, bare)


def _restored(llm: LLM, recipe: same_class.Recipe) -> Any:
    return same_class.restored(llm, recipe, Guarding, put_on_bill, Guarding, GuardedLLM)


@remembered
def guarded_subclass(inner: type[LLM]) -> type[LLM]:
    """The guarded subclass of an integration's class, under the same name: traces and reports show what they showed."""
    return same_class.subclass(GuardedLLM, inner)

"""Metering and the breaker as a callback: for models that somebody else constructs and parameters."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from langchain_core.caches import BaseCache
from langchain_core.callbacks import BaseCallbackHandler, BaseCallbackManager
from langchain_core.globals import get_llm_cache
from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.outputs import Generation, LLMResult
from langchain_core.runnables import RunnableConfig

from costguard_core import CostGuard, SpendLimitExceeded
from costguard_core.attribution import current_attribution
from costguard_core.cache import layers
from costguard_core.guard import check_guard
from costguard_core.lifecycle import calls
from costguard_core.lifecycle.runs import Run, RunsInFlight
from costguard_core.routing.run_metadata import ROUTE, baseline_of
from costguard_core.types import MARK, UsageReport
from costguard_core.usage.parameters import Known
from costguard_core.usage.reader import MessageStream
from costguard_core.util.options import account_name, names_options
from costguard_core.util.urls import LastHost
from langchain_costguard.caches.layered import layers_of
from langchain_costguard.caches.model_call import current_call
from langchain_costguard.translate import parameters
from langchain_costguard.translate.answers import add_chunk, answering_model, result_usage, served_from_cache, text_of
from langchain_costguard.translate.keys import ChatContent
from langchain_costguard.translate.messages import read_messages


@dataclass(slots=True, eq=False)
class _Run(Run):
    """One LangChain run: its messages, and LangChain's form of the model."""

    prompt: Sequence[BaseMessage]
    serialized: Mapping[str, Any]


@names_options
class CostGuardCallbackHandler(BaseCallbackHandler):
    """Put it into ``callbacks=[...]`` of a model, chain or graph: every LLM call is metered, and refused at its start.

    It works for ``invoke``, ``stream``, ``batch`` and their async twins. Four things a callback cannot do, and
    :class:`GuardedChatModel` can: cap the output to what the budget can pay, answer from the cache in a stream, wait on
    an event loop, and see that an ``ainvoke`` was cancelled inside a task that lives on (its reservation ends with its
    lease). Its counters are asked in place: on an event loop, use it with ``memory://`` or accept a Redis round trip.
    ``account`` is a name for the key or the project that is billed, for the ledger.

    Raises (from the guarded call):
        SpendLimitExceeded: refused before the provider was called.
        UnpricedModelError: a money budget applies and the model has no price.
    """

    # A refusal must reach the caller, and an async handler's exceptions are swallowed in sync calls. Running inline
    # keeps the caller's context variables and saves a thread hop.
    raise_error = True
    run_inline = True

    def __init__(self, guard: CostGuard, *, account: str | None = None) -> None:
        check_guard(guard)
        self.guard, self._account = guard, account_name(account)
        self._runs: RunsInFlight[_Run] = RunsInFlight(guard)  # by the number of the run's id, which needs no hashing
        self._host = LastHost()  # LangChain serialises a model once

    def on_chat_model_start(
        self,
        serialized: dict[str, Any],
        messages: list[list[BaseMessage]],
        *,
        run_id: UUID,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        metadata = metadata or {}
        if metadata.get(MARK) == self.guard.mark or run_id.int in self._runs:
            return  # a GuardedChatModel or another handler of the same guard does it all
        params = kwargs.get("invocation_params") or {}
        read, known = read_messages(messages[0]), Known(*map(metadata.get, parameters.KNOWN))
        route = metadata.get(ROUTE)
        call = calls.chat_call(
            self.guard,
            read,
            known,
            params,
            current_attribution(metadata, self.guard.tags),
            route=route,
            baseline=None if route is None else baseline_of(metadata),
            host=self._host(serialized.get("kwargs")) if serialized else None,
            account=self._account,
        )
        counted = partial(calls.prompt_tokens, self.guard, read, known, params)
        run = _Run(call, counted, read.letters, messages[0], serialized)
        self._start(run_id, run, kwargs.get("batch_size", 1))

    def on_llm_start(
        self,
        serialized: dict[str, Any],
        prompts: list[str],
        *,
        run_id: UUID,
        metadata: dict[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        if run_id.int in self._runs:
            return
        metadata = metadata or {}
        params = kwargs.get("invocation_params") or {}
        attribution = current_attribution(metadata, self.guard.tags)
        known = Known(*map(metadata.get, parameters.KNOWN))
        host = self._host(serialized.get("kwargs")) if serialized else None
        call = calls.text_call(self.guard, prompts[0], known, params, attribution, host=host, account=self._account)
        prompt = [HumanMessage(prompts[0])]
        read = read_messages(prompt)
        counted = partial(calls.prompt_tokens, self.guard, read, known, params)
        run = _Run(call, counted, read.letters, prompt, serialized)
        self._start(run_id, run, kwargs.get("batch_size", 1))

    def on_llm_new_token(self, token: Any, *, chunk: Generation | None = None, run_id: UUID, **kwargs: Any) -> None:
        """Reads what the chunk reports: LangChain adds up what some gateways repeat in each chunk."""
        run = self._runs.get(run_id.int)
        if run is not None:
            if run.reports is None:
                run.reports = MessageStream(run.call.provider)
            add_chunk(run.reports, chunk)

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        run = self._runs.end(run_id.int)
        if run is None:
            return
        rows, told = response.generations, response.llm_output
        generations = rows[0] if len(rows) == 1 else [g for row in rows for g in row]
        usage = self._runs.counted(run, result_usage(generations, told, run.streamed), generations, told)
        if (hit := served_from_cache(generations)) is not None:
            self._runs.serve(run, hit, usage)
        elif run.permit is not None:
            text = partial(text_of, generations)
            report = UsageReport(usage, answering_model(generations, told), text, run.tokens, run.letters)
            self.guard.settle(run.permit, report)

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        batch = self._runs.batch_of(run_id.int)
        run = self._runs.end(run_id.int)
        if run is not None:
            self._runs.fail(run, error, _delivered(run, kwargs.get("response")))
        self._runs.end_batch(run_id.int, batch)

    def _start(self, run_id: UUID, run: _Run, batch_size: int) -> None:
        self._runs.start(run_id.int, run, batch_size, self._cache_answers)
        if run.permit is not None and (asking := current_call()) is not None:
            asking.refusal = None

    def _cache_answers(self, run: _Run, refusal: SpendLimitExceeded) -> bool:
        """Whether the refused run may go on, because the installed cache holds its answer.

        LangChain starts a run before it asks its cache. To let a refused run go is safe only where the cache will be
        asked (not in a stream, not by a model with a cache of its own) and has the answer now. Should it be evicted
        before LangChain asks, the cache raises the refusal.
        """
        cache, asking = get_llm_cache(), current_call()
        if cache is None or asking is None or getattr(cache, "guard", None) is not self.guard:
            return False
        model = asking.model
        if asking.completes or model._serialized is not run.serialized:
            return False  # a stream, or a run inside of the one that is asking
        if model.cache is False or isinstance(model.cache, BaseCache):
            return False
        content = ChatContent(model, run.prompt, asking.stop, asking.kwargs, run.call.attribution)
        found = layers.find(layers_of(cache, content))
        if found is None:
            return False
        asking.refusal = refusal
        return True


def _delivered(run: _Run, response: object) -> UsageReport:
    """What is known of a run that failed, perhaps in the middle of its answer."""
    found = [g for row in response.generations for g in row] if isinstance(response, LLMResult) else []
    if not found:
        return UsageReport(prompt_tokens=run.tokens)
    text = partial(text_of, found)
    return UsageReport(result_usage(found, None, run.streamed), text=text, prompt_tokens=run.tokens)


def metering_config(config: RunnableConfig, tag: str, metadata: Mapping[str, object]) -> RunnableConfig:
    """The configuration of a call beside the caller's: only the handlers that meter the caller's call are told of it.

    To all others, one request is one run.
    """
    callbacks = config.get("callbacks")
    handlers = callbacks.handlers if isinstance(callbacks, BaseCallbackManager) else callbacks or []
    metering = [handler for handler in handlers if isinstance(handler, CostGuardCallbackHandler)]
    return {"callbacks": list(metering), "tags": [tag], "metadata": dict(metadata)}


def judging_config(config: RunnableConfig) -> RunnableConfig:
    """That of a call which judges what the caller asks or is answered: in the caller's name, and not routed."""
    metadata = {name: value for name, value in (config.get("metadata") or {}).items() if not name.startswith(ROUTE)}
    return metering_config(config, "costguard-judge", metadata)

"""Metering and the breaker as a callback: for models that somebody else constructs and parameters."""

from __future__ import annotations

import asyncio
import threading
from asyncio import _get_running_loop as _running_loop  # `get_running_loop` without an error where there is none
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import UUID

from langchain_core.caches import BaseCache
from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.globals import get_llm_cache
from langchain_core.messages import BaseMessage, HumanMessage
from langchain_core.outputs import Generation, LLMResult

from costguard_core import Call, CostGuard, CostGuardError, Outcome, SpendLimitExceeded, Usage
from costguard_core.attribution import current_attribution
from costguard_core.budgets.admission import Permit
from costguard_core.cache import layers
from costguard_core.lifecycle import calls, drivers
from costguard_core.types import UsageReport
from costguard_core.usage.parameters import Known
from costguard_core.util.options import account_name
from costguard_core.util.urls import host_in
from langchain_costguard.caches.layered import layers_of
from langchain_costguard.caches.model_call import current_call
from langchain_costguard.translate import parameters
from langchain_costguard.translate.content import ChatContent
from langchain_costguard.translate.usage import ChunkReports, answering_model, result_usage

_CROWD = 1024  # runs in flight before it is worth looking for lost ones


@dataclass(slots=True, eq=False)
class _Run:
    """One LangChain run between its start and its end.

    ``serialized`` is LangChain's form of the model. ``permit`` is ``None`` for a run that was refused and that the
    cache will answer. ``reports`` is what the chunks of a stream say of their usage, ``None`` before the first.
    ``unwatch`` stops watching the task that makes the call.
    """

    call: Call
    prompt: Sequence[BaseMessage]
    params: Mapping[str, Any]
    metadata: Mapping[str, Any]
    serialized: Mapping[str, Any]
    permit: Permit | None = None
    reports: ChunkReports | None = None
    unwatch: Callable[[], object] | None = None

    @property
    def streamed(self) -> Usage | None:
        """The usage that the chunks of a stream reported."""
        return None if self.reports is None else self.reports.usage


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
        self.guard, self._account = guard, account_name(account)
        self._runs: dict[UUID, _Run] = guard.in_flight
        self._batches: dict[tuple[int, int], list[UUID]] = {}
        self._siblings: dict[UUID, tuple[UUID, ...]] = {}
        self._crowd = _CROWD

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
        if metadata.get(parameters.MARK) == self.guard.mark or run_id in self._runs:
            return  # a GuardedChatModel or another handler of the same guard does it all
        params = kwargs.get("invocation_params") or {}
        attribution, route = current_attribution(metadata, self.guard.tags), metadata.get(parameters.ROUTE)
        call = calls.chat_call(
            self.guard,
            parameters.read_messages(messages[0]),
            Known(*map(metadata.get, parameters.KNOWN)),
            params,
            attribution,
            route=route,
            baseline=None if route is None else parameters.baseline_of(metadata),
            host=host_in((serialized or {}).get("kwargs") or {}),
            account=self._account,
        )
        run = _Run(call, messages[0], params, metadata, serialized)
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
        if run_id in self._runs:
            return
        metadata = metadata or {}
        params = kwargs.get("invocation_params") or {}
        attribution = current_attribution(metadata, self.guard.tags)
        known = Known(*map(metadata.get, parameters.KNOWN))
        call = calls.text_call(self.guard, prompts[0], known, params, attribution)
        run = _Run(call, [HumanMessage(prompts[0])], params, metadata, serialized)
        self._start(run_id, run, kwargs.get("batch_size", 1))

    def on_llm_new_token(self, token: Any, *, chunk: Generation | None = None, run_id: UUID, **kwargs: Any) -> None:
        """Reads what the chunk reports: LangChain adds up what some gateways repeat in each chunk."""
        run = self._runs.get(run_id)
        if run is not None:
            if run.reports is None:
                run.reports = ChunkReports(run.call.provider)
            run.reports.add(chunk)

    def on_llm_end(self, response: LLMResult, *, run_id: UUID, **kwargs: Any) -> None:
        run = self._ended(run_id)
        self._siblings.pop(run_id, None)
        if run is None:
            return
        hit = parameters.served_from_cache(response)
        generations = [g for row in response.generations for g in row]
        usage = result_usage(generations, response.llm_output, run.streamed)
        if hit is not None:
            self._served(run, hit, usage)
        elif run.permit is not None:
            report = UsageReport(
                usage,
                answering_model(generations, response.llm_output),
                partial(parameters.text_of, generations),
                partial(self._prompt_tokens, run),
                partial(parameters.prompt_letters, run.prompt),
            )
            drivers.run(self.guard.settling(run.permit, report))

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **kwargs: Any) -> None:
        run = self._ended(run_id)
        siblings = self._siblings.pop(run_id, ())
        if run is not None and run.permit is not None:
            self._fail(run, run.permit, error, _generations(kwargs.get("response")))
        if _running_loop() is None:
            self._end_batch(run_id, siblings)

    def release(self, run_id: UUID) -> None:
        """End a run that never reached the provider."""
        run = self._ended(run_id)
        self._siblings.pop(run_id, None)
        if run is not None and run.permit is not None:
            self.guard.release(run.permit)

    def _fail(self, run: _Run, permit: Permit, error: BaseException, delivered: Sequence[Generation]) -> None:
        report = UsageReport(prompt_tokens=partial(self._prompt_tokens, run))
        if delivered:
            usage = result_usage(delivered, None, run.streamed)
            report = report._replace(usage=usage, text=lambda: parameters.text_of(delivered))
        if isinstance(error, GeneratorExit):  # perhaps inside the garbage collector
            self.guard.abandon(permit, lambda: report)
        else:
            drivers.run(self.guard.failing(permit, error, report))

    def _prompt_tokens(self, run: _Run) -> int:
        known = Known(*map(run.metadata.get, parameters.KNOWN))
        return calls.prompt_tokens(self.guard, parameters.read_messages(run.prompt), known, run.params)

    def _start(self, run_id: UUID, run: _Run, batch_size: int) -> None:
        batch = self._batches.setdefault(_here(), []) if batch_size > 1 else []
        loop = _running_loop()
        try:
            run.permit = drivers.run(self.guard.reserving(run.call, wait=loop is None))
        except CostGuardError as refusal:
            if isinstance(refusal, SpendLimitExceeded) and self._cache_answers(run, refusal):
                self._runs[run_id] = run
                return
            # LangChain gives the prompts of a batch that started before this one neither an end nor an error.
            for earlier in batch:
                self.release(earlier)
            self._batches.pop(_here(), None)
            raise
        if (asking := current_call()) is not None:
            asking.refusal = None
        if len(self._runs) >= self._crowd:
            self._forget_lost_runs()
        if loop is not None:
            run.unwatch = self._watch_task(run_id)
        self._runs[run_id] = run
        if batch_size > 1:
            self._join_batch(run_id, batch, batch_size)

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

    def _ended(self, run_id: UUID) -> _Run | None:
        """The run, taken out of those in flight; its task, which may go on for days, forgets it too."""
        run = self._runs.pop(run_id, None)
        if run is not None and run.unwatch is not None:
            run.unwatch()
        return run

    def _served(self, run: _Run, hit: Mapping[str, Any], usage: Any) -> None:
        if run.permit is not None:
            self.guard.release(run.permit)
        saved = calls.saved_nanos(self.guard, run.call, usage, hit.get("saved_usd"))
        self.guard.hit(run.call, Outcome(hit["cache"]), saved=saved, usage=usage)

    def _join_batch(self, run_id: UUID, batch: list[UUID], size: int) -> None:
        batch.append(run_id)
        if len(batch) == size:
            self._batches.pop(_here(), None)
            for member in batch:
                self._siblings[member] = tuple(batch)

    def _end_batch(self, failed: UUID, siblings: Sequence[UUID]) -> None:
        """Sync ``generate([[a], [b], [c]])`` stops at an error: those before were paid, those after never called."""
        after = False
        for member in siblings:
            if member == failed:
                after = True
            elif after:
                self.release(member)
            elif (run := self._ended(member)) is not None and run.permit is not None:
                self.guard.fail(run.permit, _AnswerLost())

    def _forget_lost_runs(self) -> None:
        """Runs that LangChain never ended are charged, recorded, and need no memory any more."""
        long_ago = self.guard.clock() - 2 * self.guard.lease
        for run_id in [found for found, run in self._runs.items() if run.call.started < long_ago]:
            lost = self._ended(run_id)
            if lost is not None and lost.permit is not None:
                self.guard.fail(lost.permit, _AnswerLost())
        self._crowd = max(_CROWD, 2 * len(self._runs))

    def _watch_task(self, run_id: UUID) -> Callable[[], object] | None:
        """A cancelled ``ainvoke`` fires no callback at all; the end of its task does. Returns how to stop watching."""
        task = asyncio.current_task()
        if task is None:
            return None
        done = partial(self._task_done, run_id)
        task.add_done_callback(done)
        return partial(task.remove_done_callback, done)

    def _task_done(self, run_id: UUID, task: asyncio.Task[Any]) -> None:
        if task.cancelled() or task.exception() is not None:
            run = self._ended(run_id)
            if run is not None and run.permit is not None:
                self.guard.fail(run.permit, asyncio.CancelledError())


class _AnswerLost(BaseException):
    """Internal: an answer was paid for, and LangChain dropped it because another one of its batch failed."""


def _generations(response: Any) -> list[Generation]:
    return [g for row in response.generations for g in row] if isinstance(response, LLMResult) else []


def _here() -> tuple[int, int]:
    """Where this code runs: prompts of one batch start one after another in one thread and task."""
    task = asyncio.current_task() if _running_loop() else None
    return threading.get_ident(), id(task)

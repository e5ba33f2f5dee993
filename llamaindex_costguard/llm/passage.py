"""One request from its start to its end: served from the cache, refused, or admitted, made, settled and kept.

The rules are the guard's and the cache's; here they are put in order, once for plain calls and once for streams, each
in a sync and an async shell. Every way out ends the reservation and the flight.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Generator, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from costguard_core import Call, Charge, SpendLimitExceeded, Usage
from costguard_core.budgets.admission import Permit
from costguard_core.cache import NotCanonical
from costguard_core.types import fingerprint
from llamaindex_costguard.llm.call_context import Scope, current_route_context, is_forming, retrieved, who_asks
from llamaindex_costguard.llm.deferred_stream import Admitted, AsyncAdmitted
from llamaindex_costguard.llm.places import ALONE, Place, Served, Wanted
from llamaindex_costguard.llm.settings import Guarding
from llamaindex_costguard.translate import parameters as calls
from llamaindex_costguard.translate.answers import MARK, answer_of, as_chunk, decode_hit
from llamaindex_costguard.translate.prompts import Prompt, Structured
from llamaindex_costguard.translate.responses import Response, Seen, model_of, text_of, usage_of

if TYPE_CHECKING:
    from llama_index.core.llms import LLM

_LONG_PROMPT = 20_000  # characters; counting them takes tens of milliseconds, which an event loop should not wait
_STREAMS = frozenset(("stream_chat", "astream_chat", "stream_complete", "astream_complete"))
_END: Any = object()


class Passage:
    """One request. ``method`` names LlamaIndex's method that makes it; ``bare`` finds that of the integration."""

    __slots__ = (
        "_attribution",
        "_bare",
        "_facts",
        "_formed",
        "_guard",
        "_kwargs",
        "_llm",
        "_method",
        "_prompt",
        "_route_context",
        "_scope",
        "_settings",
        "_started",
    )

    def __init__(
        self,
        llm: LLM,
        settings: Guarding,
        method: str,
        prompt: Prompt,
        kwargs: Mapping[str, Any],
        bare: Callable[[LLM], Any],
    ) -> None:
        self._llm, self._settings, self._method, self._bare = llm, settings, method, bare
        self._prompt, self._kwargs = prompt, kwargs
        self._guard = settings.guard
        self._facts = settings.facts.of(llm, settings.inner)
        self._started = self._guard.clock()
        self._attribution = who_asks()
        self._route_context = current_route_context()
        self._formed = is_forming()
        self._scope = Scope(self._guard)

    # The four shells

    def call(self) -> Any:
        """Serve, refuse or make a plain call."""
        seat = self._board()
        try:
            if seat.hit is not None:
                return self._prompt.given(self._served(seat.hit))
            try:
                permit = self._guard.before(self._call())
            except SpendLimitExceeded as refusal:
                return self._static(refusal)
            try:
                with self._scope:
                    response: Response = self._prompt.received(self._make(permit))
            except BaseException as error:
                self._guard.fail(permit, error)
                raise
            charge = self._guard.after(*self._told(permit, response))
            self._keep(seat, response, charge)
            return self._prompt.given(response)
        finally:
            seat.fail()
            self._scope.close()

    async def acall(self) -> Any:
        """:meth:`call` for an event loop."""
        seat = await self._aboard()
        try:
            if seat.hit is not None:
                return self._prompt.given(self._served(seat.hit))
            try:
                permit = await self._guard.abefore(await self._acall())
            except SpendLimitExceeded as refusal:
                return self._static(refusal)
            try:
                with self._scope:
                    response: Response = self._prompt.received(await self._make(permit))
            except BaseException as error:
                await asyncio.shield(self._guard.afail(permit, error))
                raise
            charge = await asyncio.shield(self._guard.aafter(*self._told(permit, response)))
            await self._akeep(seat, response, charge)
            return self._prompt.given(response)
        finally:
            seat.fail()
            self._scope.close()

    def stream(self) -> Generator[Any, None, None]:
        """Serve or refuse a stream, or admit it: it is made when it is first read."""
        seat = self._board()
        if seat.hit is not None:
            return _one(self._prompt.given(as_chunk(self._served(seat.hit))))
        try:
            permit = self._guard.before(self._call())
        except SpendLimitExceeded as refusal:
            seat.fail()
            return _one(self._static(refusal))
        except BaseException:
            seat.fail()
            raise
        return Admitted(self._chunks(seat, permit), lambda: self._unread(seat, permit))

    async def astream(self) -> AsyncGenerator[Any, None]:
        """:meth:`stream` for an event loop."""
        seat = await self._aboard()
        if seat.hit is not None:
            return _aone(self._prompt.given(as_chunk(self._served(seat.hit))))
        try:
            permit = await self._guard.abefore(await self._acall())
        except SpendLimitExceeded as refusal:
            seat.fail()
            return _aone(self._static(refusal))
        except BaseException:
            seat.fail()
            raise
        return AsyncAdmitted(self._achunks(seat, permit), lambda: self._unread(seat, permit))

    def _chunks(self, seat: Place, permit: Permit) -> Generator[Any, None, None]:
        seen = Seen(permit.call.provider)
        inner: Any = None
        try:
            with self._scope:
                inner = iter(self._make(permit))
            while True:
                with self._scope:
                    chunk: Any = next(inner, _END)
                if chunk is _END:
                    break
                response = self._prompt.received(chunk)
                seen.add(response)
                yield self._prompt.given(response)
        except BaseException as error:
            self._guard.fail(*self._broken(permit, error, seen))
            seat.fail()
            with self._scope:
                _close(inner)
            raise
        finally:
            self._scope.close()
        charge = self._guard.after(*self._streamed(permit, seen))
        self._keep(seat, seen.last, charge, seen)

    async def _achunks(self, seat: Place, permit: Permit) -> AsyncGenerator[Any, None]:
        seen = Seen(permit.call.provider)
        inner: Any = None
        try:
            with self._scope:
                inner = aiter(await self._make(permit))
            while True:
                with self._scope:
                    chunk: Any = await anext(inner, _END)
                if chunk is _END:
                    break
                response = self._prompt.received(chunk)
                seen.add(response)
                yield self._prompt.given(response)
        except BaseException as error:
            await asyncio.shield(self._guard.afail(*self._broken(permit, error, seen)))
            seat.fail()
            with self._scope:
                await _aclose(inner)
            raise
        finally:
            self._scope.close()
        charge = await asyncio.shield(self._guard.aafter(*self._streamed(permit, seen)))
        await self._akeep(seat, seen.last, charge, seen)

    # The cache

    def _board(self) -> Place:
        cache = self._settings.cache
        return ALONE if cache is None else cache.board(self._wanted())

    async def _aboard(self) -> Place:
        cache = self._settings.cache
        return ALONE if cache is None else await cache.aboard(self._wanted())

    def _wanted(self) -> Wanted:
        return Wanted(self._facts, self._prompt, self._kwargs, retrieved(), self._attribution)

    def _served(self, hit: Served) -> Any:
        call, usage, saved = self._unmade(), hit.answer.usage, hit.cost
        if saved is None and usage is not None:
            saved = self._guard.prices.cost(usage, model=call.model, provider=call.provider, at=call.started)
        response = decode_hit(hit, self._settings.inner)
        self._guard.hit(call, hit.outcome, saved=saved, usage=usage)
        return self._heard(response)

    def _keep(self, seat: Place, response: Response | None, charge: Charge, seen: Seen | None = None) -> None:
        answer = self._answer(seat, response, charge, seen)
        if answer is not None:
            seat.save(answer)

    async def _akeep(self, seat: Place, response: Response | None, charge: Charge, seen: Seen | None = None) -> None:
        answer = self._answer(seat, response, charge, seen)
        if answer is not None:
            await seat.asave(answer)

    def _answer(self, seat: Place, response: Response | None, charge: Charge, seen: Seen | None) -> Any:
        if seat is ALONE or response is None:
            return None
        facts: dict[str, Any] = {} if seen is None else {"finish": tuple(seen.finish), "refused": seen.refused}
        try:
            return replace(answer_of(response, **facts), usage=charge.usage, cost=charge.cost)
        except NotCanonical as error:
            seat.decline(str(error))
            return None

    # The call

    def _call(self) -> Call:
        """The request for the guard; its prompt is counted if a budget needs to know."""
        call = self._uncounted()
        return self._counted(call) if self._guard.counts_tokens else call

    async def _acall(self) -> Call:
        call = self._uncounted()
        if not self._guard.counts_tokens:
            return call
        if self._prompt.size > _LONG_PROMPT:
            return await asyncio.to_thread(self._counted, call)
        return self._counted(call)

    def _unmade(self) -> Call:
        """The request as the ledger has it; what it could have cost is of no interest."""
        return Call(
            self._guard.new_id(),
            self._facts.model,
            self._started,
            self._facts.provider,
            self._attribution,
            kind=self._prompt.kind,
            fingerprint=fingerprint(self._prompt.texts),
            route=None if self._route_context is None else self._route_context.route,
            baseline=None if self._route_context is None else self._route_context.baseline,
        )

    def _uncounted(self) -> Call:
        facts, kwargs, prompt = self._facts, self._kwargs, self._prompt
        # An integration that asks for objects itself has limits of its own.
        itself = isinstance(prompt, Structured)
        fixed = itself or self._settings.fixed_output
        return Call(
            self._guard.new_id(),
            facts.model,
            self._started,
            facts.provider,
            self._attribution,
            max_output_tokens=calls.limit_of(kwargs) if itself else calls.output_limit(facts, kwargs),
            reasoning=facts.thinks,
            cache_writes=prompt.asks_to_cache,
            choices=calls.choices(facts, kwargs) if kwargs else facts.choices,
            attempts=self._settings.billed_attempts,
            tier=calls.service_tier(facts, kwargs) if kwargs else facts.tier,
            cappable=not fixed and self._limit_field is not None,
            kind=prompt.kind,
            fingerprint=fingerprint(prompt.texts),
            route=None if self._route_context is None else self._route_context.route,
            baseline=None if self._route_context is None else self._route_context.baseline,
        )

    @property
    def _limit_field(self) -> str | None:
        return calls.limit_field(self._facts, self._kwargs)

    def _counted(self, call: Call) -> Call:
        count = self._prompt.counted(self._guard, call.model, call.provider, self._kwargs)
        return replace(call, input_tokens=count.bound, input_estimated=count.estimated)

    def _make(self, permit: Permit) -> Any:
        """Call the integration's own method, with the cap that the budget set."""
        arguments, more = self._prompt.arguments
        kwargs = {**more, **self._kwargs}
        if self._settings.stream_usage and self._method in _STREAMS:
            kwargs |= calls.usage_wish(self._facts, self._kwargs)
        return getattr(self._bare(self._capped(permit)), self._method)(*arguments, **kwargs)

    def _capped(self, permit: Permit) -> Any:
        name = self._limit_field
        if name is None or permit.max_output_tokens is None:
            return self._llm
        capped = self._llm.model_copy(update={name: permit.max_output_tokens})
        # Shared, not copied: a client that the integration makes at its first call must be there for the next one.
        object.__setattr__(capped, "__pydantic_private__", self._llm.__pydantic_private__)
        return capped

    # The end

    def _told(self, permit: Permit, response: Response) -> tuple[Permit, Usage, str | None]:
        """What is known about a finished call: the arguments of :meth:`CostGuard.after`."""
        self._heard(response)
        usage = usage_of(response, permit.call.provider) or self._scope.reported
        return permit, usage or self._estimate(permit.call, text_of(response)), model_of(response)

    def _streamed(self, permit: Permit, seen: Seen) -> tuple[Permit, Usage, str | None]:
        if self._route_context is not None and seen.last is not None:
            self._route_context.responses.append(seen.last)
            self._route_context.finish_reason = next(iter(seen.finish), None)
        return permit, seen.usage or self._estimate(permit.call, seen.text or ""), seen.model

    def _broken(self, permit: Permit, error: BaseException, seen: Seen) -> tuple[Permit, BaseException, Usage | None]:
        """What is known about a stream that did not end: the arguments of :meth:`CostGuard.fail`."""
        return permit, error, None if seen.text is None else self._estimate(permit.call, seen.text)

    def _estimate(self, call: Call, text: str) -> Usage:
        """Counted here, because the provider reported nothing: what was asked, and what came of it."""
        asked = call.input_tokens
        if asked is None:
            asked = self._prompt.counted(self._guard, call.model, call.provider, self._kwargs).tokens
        said = self._guard.tokens.count(text, model=call.model, provider=call.provider).tokens if text else 0
        return Usage(input_tokens=asked, output_tokens=said, estimated=True)

    def _unread(self, seat: Place, permit: Permit) -> None:
        seat.fail()
        self._scope.close()
        self._guard.release(permit)

    def _static(self, refusal: SpendLimitExceeded) -> Any:
        """The reply that a budget gives instead of an error; raises ``refusal`` if it has none, or none that fits."""
        if refusal.answer is None or self._formed or calls.wants_form(self._kwargs):
            raise refusal
        text = refusal.answer(refusal) if callable(refusal.answer) else refusal.answer
        static = self._prompt.static(text, {MARK: {"refused": refusal.budget, "on_exceed": refusal.on_exceed}})
        if static is None:
            raise refusal
        return self._heard(static)

    def _heard(self, response: Any) -> Any:
        """Let the router that asked know the response, of which its caller may hand on no more than the text."""
        if self._route_context is not None:
            self._route_context.responses.append(response)
        return response


def _one(chunk: Any) -> Generator[Any, None, None]:
    yield chunk


async def _aone(chunk: Any) -> AsyncGenerator[Any, None]:
    yield chunk


def _close(stream: Any) -> None:
    close = getattr(stream, "close", None)
    if callable(close):
        close()


async def _aclose(stream: Any) -> None:
    close = getattr(stream, "aclose", None)
    if callable(close):
        await close()

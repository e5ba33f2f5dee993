"""One request to the proxy: the port through which the lifecycle of a call makes it."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from typing import Any, NamedTuple

from costguard_core.budgets.admission import Permit
from costguard_core.cache.answer import Answer, CachedAnswer
from costguard_core.cache.exact_cache import BaseExactCache
from costguard_core.cache.keys import CacheKey, NotCanonical, Uncacheable, canonical, digest
from costguard_core.cache.layers import CacheLayer, ExactLayer
from costguard_core.cache.policy import Request
from costguard_core.cache.provider_tools import has_live_option, is_live_model
from costguard_core.errors import SpendLimitExceeded
from costguard_core.guard import CostGuard
from costguard_core.lifecycle import calls
from costguard_core.lifecycle.request import END, ModelRequest
from costguard_core.proxy.callers import Caller
from costguard_core.proxy.settings import Upstream
from costguard_core.proxy.upstream import Headers, UpstreamClient, header, returned, sent_headers
from costguard_core.types import Call, Charge, UsageReport
from costguard_core.usage.answer_fees import add_answer_fees
from costguard_core.usage.media import Media, audio_bound
from costguard_core.usage.overhead import hidden_tokens
from costguard_core.usage.prompt_content import read_content
from costguard_core.usage.reader import read_usage
from costguard_core.usage.server_tools import server_tools
from costguard_core.usage.token_counter import Count
from costguard_core.wire.base import Prompt, WireFormat
from costguard_core.wire.sse import data_of, event_of

_LONG_BODY = 20_000  # bytes; counting more takes longer than an event loop should wait
# Fields that cannot change an answer: who asks, how it is sent, and what the provider files it under.
_NEUTRAL = frozenset(
    "stream stream_options user safety_identifier prompt_cache_key prompt_cache_retention service_tier metadata "
    "inference_geo".split()
)
# Fields that make the provider continue, keep or look into something of its own.
_SERVER_SIDE = ("previous_response_id", "conversation", "container", "background", "context_management")
# Headers that switch features on.
_FEATURES = ("anthropic-beta", "anthropic-version", "openai-beta")
# https://platform.openai.com/docs/guides/reasoning: they think before they answer, in tokens that are billed.
_THINKS = re.compile(r"(^|/)(o\d|gpt-5|deepseek-r|deepseek-reasoner|magistral|grok-4)")


class WireAnswer(NamedTuple):
    """An answer.

    Attributes:
        body: as JSON.
        raw: the bytes that the provider sent; ``None``: it came from a cache, a budget or a stream.
        headers: of the provider's response.
        mark: how it was found: ``"miss"``, ``"exact"``, ``"coalesced"`` or ``"refused"``.
    """

    body: Mapping[str, Any]
    raw: bytes | None = None
    headers: Headers = []  # noqa: RUF012 -- never changed
    mark: str = "miss"


class _NotKept:
    """A cache layer that keeps nothing: where there is no cache, the lifecycle still tells what the answer cost."""

    approximate = True

    def find(self) -> None:
        return None

    async def afind(self) -> None:
        return None

    def store(self, answer: Answer) -> None: ...

    async def astore(self, answer: Answer) -> None: ...

    def decline(self, reason: str) -> None: ...


_NOT_KEPT: tuple[CacheLayer, ...] = (_NotKept(),)


class WireRequest(ModelRequest[WireAnswer, bytes]):
    """One request in a wire format.

    Args:
        guard: budgets, prices and ledger.
        client: sends it.
        upstream: where to.
        form: its format.
        body: as JSON, with the name of the model that is asked of the upstream.
        size: bytes of the body as it came.
        caller: who asks.
        headers: of the request.
        query: of its URL.
        cache: of answers; ``None``: there is none.
    """

    def __init__(
        self,
        guard: CostGuard,
        client: UpstreamClient,
        upstream: Upstream,
        form: WireFormat,
        body: Mapping[str, Any],
        *,
        size: int,
        caller: Caller,
        headers: Headers,
        query: str = "",
        cache: BaseExactCache | None = None,
    ) -> None:
        self.guard = guard
        self.asynchronous = True
        self.streamed = form.streams and bool(body.get("stream"))
        self.looked_up, self.cached = False, None
        self.model = str(body["model"])
        self.charge: Charge | None = None
        self._permit: Permit | None = None
        self.mark = "miss"
        self.answer_headers: Headers = []
        self._client, self._upstream, self._form, self._body = client, upstream, form, body
        # What describes the tools is read as a list; a provider refuses anything else.
        self._params = body if isinstance(body.get("tools", []), list) else {**body, "tools": []}
        self._size, self._caller, self._headers, self._query, self._cache = size, caller, headers, query, cache
        self._started = guard.clock()
        self._provider = upstream.provider
        self._assembly = form.assembly() if self.streamed else None
        self._events: AsyncGenerator[bytes, None] | None = None
        self._hides_usage = self.streamed and not form.asks_for_usage(body)

    # Before the call

    @cached_property
    def _prompt(self) -> Prompt:
        return self._form.prompt(self._body)

    @cached_property
    def _read(self) -> tuple[list[tuple[str, str, str | None]], list[Media]]:
        """The messages as text, and what else is in them."""
        messages: list[tuple[str, str, str | None]] = []
        media: list[Media] = []
        for role, content, name in self._prompt.messages:
            text, found = read_content(content) if isinstance(content, (str, list)) else (str(content or ""), ())
            messages.append((role, text, name))
            media += found
        return messages, media

    @cached_property
    def _count(self) -> Count:
        messages, media = self._read
        tokens, described = self._prompt.tokens or 0, self._prompt.described
        if self._form.kind == "embedding":
            counts = [self.guard.tokens.count(t, model=self.model, provider=self._provider) for _, t, _ in messages]
            known = Count(tokens, estimated=False, bound=tokens)
            total = [*counts, known]
            return Count(sum(c.tokens for c in total), any(c.estimated for c in total), sum(c.bound for c in total))
        return self.guard.tokens.count_chat(
            messages,
            model=self.model,
            provider=self._provider,
            tools_json=json.dumps(described) if described else None,
            media=media,
            hidden=hidden_tokens(self.model, self._provider, self._params) + tokens,
        )

    def layers(self) -> Sequence[CacheLayer]:
        if self._cache is None:
            return _NOT_KEPT
        key = self._key(self._cache)
        if isinstance(key, Uncacheable):
            self._cache.engine.decline(key.reason)
            return _NOT_KEPT
        return (ExactLayer(self._cache.engine, key),)

    def _key(self, cache: BaseExactCache) -> CacheKey | Uncacheable:
        body = self._body
        stored_prompt = isinstance(body.get("prompt"), Mapping)
        if stored_prompt or any(body.get(name) for name in _SERVER_SIDE):
            return Uncacheable("the provider continues or keeps something of its own")
        features = [[name, header(self._headers, name)] for name in _FEATURES]
        kept = {name: value for name, value in body.items() if name not in _NEUTRAL}
        try:
            parts = digest(self._form.path, self._upstream.url, canonical(features), canonical(kept))
        except NotCanonical as error:
            return Uncacheable(str(error))
        temperature = body.get("temperature")
        return cache.policy.key(
            Request(
                parts,
                model=self.model,
                question=self._prompt.question,
                temperature=float(temperature) if isinstance(temperature, (int, float)) else None,
                choices=self._form.choices(body),
                live_tools=has_live_option(self._params) or is_live_model(self.model),
                attribution=self._caller.attribution,
                caller=self._caller.reader,
            ).classified()
        )

    @property
    def slow_to_count(self) -> bool:
        return self.guard.counts_tokens and self._size > _LONG_BODY

    def call(self) -> Call:
        body, form = self._body, self._form
        call = replace(
            self._call_of_ledger(),
            max_output_tokens=form.limit(body),
            reasoning=_THINKS.search(self.model) is not None,
            cache_writes="cache_control" in str(body) if self._provider == "anthropic" else False,
            choices=form.choices(body),
            tier=_tier(body),
            cappable=form.kind != "embedding",
        )
        if not self.guard.counts_tokens:
            return call
        hosted = server_tools(self.model, self._provider, self._params)
        thinking = body.get("thinking")
        budget = thinking.get("budget_tokens") if isinstance(thinking, Mapping) else None
        return replace(
            call,
            input_tokens=self._count.bound,
            input_estimated=self._count.estimated,
            audio_tokens=audio_bound(self._read[1], self.model, self._provider),
            speaks="audio" in (body.get("modalities") or ()),
            searches=hosted.searches,
            result_tokens=hosted.tokens,
            thinking_tokens=budget if isinstance(budget, int) and budget > 0 else 0,
            context_tokens=self.guard.prices.context_tokens(self.model, self._provider),
        )

    def _call_of_ledger(self) -> Call:
        return calls.hit_call(
            self.guard,
            [part for role, text, _ in self._read[0] for part in (role, text)],
            self.model,
            self._provider,
            self._caller.attribution,
            kind=self._form.kind,
            started=self._started,
            host=self._upstream.host,
            account=self._caller.account,
        )

    # The call

    async def send(self, permit: Permit) -> Any:
        self._permit = permit
        body: Mapping[str, Any] = self._body
        if permit.max_output_tokens is not None:
            body = self._form.with_limit(body, permit.max_output_tokens)
        if self._hides_usage:
            body = self._form.with_usage(body)
        headers = sent_headers(self._headers, self._upstream, self._form.vendor)
        data = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        response = await self._client.open(self._upstream, "POST", self._form.path, self._query, headers, data)
        self.answer_headers = returned(response.headers.items())
        if self.streamed:
            self._events = self._client.events(self._upstream, response)
            return self._events
        raw = await self._client.read(self._upstream, response)
        return WireAnswer(_json_object(raw), raw, self.answer_headers)

    async def next_chunk(self, stream: AsyncGenerator[bytes, None]) -> Any:
        """The next event of a stream as the client sees it."""
        assert self._assembly is not None
        while True:
            event = await anext(stream, END)
            if event is END or (data := data_of(event)) is None:
                return event
            self._assembly.add(data)
            if not self._hides_usage or b'"usage"' not in event:
                return event
            shown = self._form.without_usage(data)
            if shown is data:
                return event
            if shown is not None:
                return event_of(shown)

    def received(self) -> WireAnswer | None:
        body = None if self._assembly is None else self._assembly.body
        return None if body is None else WireAnswer(body)

    @property
    def left(self) -> int | None:
        """Nano-dollars that the tightest budget of the caller has left after a plain call; ``None``: nobody knows."""
        return None if self.charge is None or self._permit is None else self._permit.left(self.charge.totals)

    @property
    def finished(self) -> bool:
        """Whether the provider has said all of its answer."""
        return self._assembly is not None and self._assembly.finished

    async def close(self) -> None:
        """Close the connection of a stream that nobody reads on."""
        if self._events is not None:
            await self._events.aclose()

    # After the call

    def usage_report(self, answer: WireAnswer | None) -> UsageReport:
        if answer is None:
            return UsageReport(prompt_tokens=lambda: self._count.tokens)
        body = answer.body
        model = str(body.get("model") or "") or None
        usage = read_usage(body, provider=self._provider or self._form.vendor)
        if usage is not None:
            usage = add_answer_fees(usage, self._form.blocks(body), body, model or self.model)
            usage = replace(usage, request_id=str(body["id"])) if body.get("id") else usage
        return UsageReport(usage, model, lambda: self._form.text(body), lambda: self._count.tokens)

    def failure_report(self) -> UsageReport:
        body = None if self._assembly is None else self._assembly.body
        text = None if body is None else self._form.text(body)
        return UsageReport(text=None if text is None else lambda: text, prompt_tokens=lambda: self._count.tokens)

    def encode(self, answer: WireAnswer, charge: Charge) -> Answer:
        self.charge = charge
        body, form = answer.body, self._form
        cut = self._assembly is not None and not self._assembly.finished
        return Answer(
            dict(body),
            choices=form.choices(self._body),
            finish=("incomplete",) if cut else form.finish_reasons(body),
            refused=form.refused(body),
            empty=form.kind != "embedding" and not form.text(body),
            usage=charge.usage,
            cost=charge.cost,
            model=charge.model,
            provider=self._provider,
            created=self._started,
        )

    # Answers without a call

    def replay(self, cached: CachedAnswer) -> WireAnswer:
        self.mark = cached.outcome.value
        usage, saved = cached.answer.usage, cached.cost
        self.guard.hit(self._call_of_ledger(), cached.outcome, saved=saved, usage=usage)
        return WireAnswer(cached.payload, None, [], self.mark)

    def static_reply(self, refusal: SpendLimitExceeded) -> WireAnswer:
        if self._wants_form():
            raise refusal
        body = self._form.static(
            self.model, refusal.static_text, id=f"costguard-{self.guard.new_id()}", now=int(self._started)
        )
        if body is None:
            raise refusal
        self.mark = "refused"
        return WireAnswer(body, None, [], self.mark)

    def _wants_form(self) -> bool:
        """Whether a text is no answer, because an object or a tool call is wanted."""
        body = self._body
        choice = body.get("tool_choice")
        kind = choice.get("type") if isinstance(choice, Mapping) else choice
        text = body.get("text")
        shaped = body.get("response_format") or (text.get("format") if isinstance(text, Mapping) else None)
        formed = isinstance(shaped, Mapping) and shaped.get("type") not in (None, "text")
        return formed or bool(body.get("output_config")) or kind not in (None, "auto", "none")

    def chunks(self, answer: WireAnswer) -> Iterable[bytes]:
        return self._form.events(answer.body, with_usage=not self._hides_usage)


def _tier(body: Mapping[str, Any]) -> str | None:
    tier = body.get("service_tier")
    return "fast" if body.get("speed") == "fast" else tier if isinstance(tier, str) else None


def _json_object(raw: bytes) -> dict[str, Any]:
    """The JSON object of a response; empty for anything else, which is then passed on as it came."""
    try:
        found = json.loads(raw)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}

"""One request to the proxy: the port through which the lifecycle of a call makes it."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from costguard_core.budgets.admission import Permit
from costguard_core.cache.answer import Answer, CachedAnswer
from costguard_core.cache.layers import CacheLayer
from costguard_core.errors import SpendLimitExceeded
from costguard_core.guard import CostGuard
from costguard_core.lifecycle import calls
from costguard_core.lifecycle.embedding import EmbeddingModel
from costguard_core.lifecycle.request import END, ModelRequest
from costguard_core.proxy.caches import Caches
from costguard_core.proxy.content import WireContent
from costguard_core.proxy.upstream import Headers, UpstreamClient, returned, sent_headers
from costguard_core.types import Baseline, Call, Charge, Outcome, Usage, UsageReport
from costguard_core.usage.answer_fees import add_answer_fees
from costguard_core.usage.overhead import thinks_unasked
from costguard_core.usage.reader import read_usage
from costguard_core.wire.base import json_object
from costguard_core.wire.sse import data_of, event_of


class WireAnswer(NamedTuple):
    """An answer.

    Attributes:
        body: as JSON.
        raw: the bytes that the provider sent; ``None``: it came from a cache, a budget or a stream.
        headers: of the provider's response.
        mark: how it was found: ``"miss"``, ``"exact"``, ``"semantic"``, ``"coalesced"`` or ``"refused"``.
    """

    body: Mapping[str, Any]
    raw: bytes | None = None
    headers: Headers = []  # noqa: RUF012 -- never changed
    mark: str = "miss"


class WireRequest(ModelRequest[WireAnswer, bytes]):
    """One request in a wire format.

    Args:
        guard: budgets, prices and ledger.
        client: sends it.
        content: what is asked, and of whom.
        size: bytes of the body as it came.
        caches: what may answer instead of the provider.
        route, baseline: the decision of a router, and what the call is compared with.

    Attributes:
        mark: how the answer was found, as in :class:`WireAnswer`; ``marks`` is what a cache says of its hit.
        charge: of the call, when it has been made.
        answered: the answer, when it is whole; ``usage`` is what it used, also of the call that a cache remembers.
        refusal: the refusal that a static answer stands for.
        route_header: what the client is told of a router's decision.
        sample: names the answer in the prompt log of a router; ``None``: it is not in it.
    """

    must_hear_charge = True

    def __init__(
        self,
        guard: CostGuard,
        client: UpstreamClient,
        content: WireContent,
        *,
        size: int,
        caches: Caches = Caches(),  # noqa: B008
        route: str | None = None,
        baseline: Baseline | None = None,
    ) -> None:
        form, body = content.form, content.body
        self.guard = guard
        self.asynchronous = True
        self.streamed = form.streams and bool(body.get("stream"))
        self.looked_up, self.cached = False, None
        self.model = str(body["model"])
        self.charge: Charge | None = None
        self.answered: Mapping[str, Any] | None = None
        self.usage: Usage | None = None
        self.refusal: SpendLimitExceeded | None = None
        self.route_header: str | None = None
        self.sample: str | None = None
        self._route, self._baseline = route, baseline
        self._permit: Permit | None = None
        self.mark = "miss"
        self.marks: Mapping[str, Any] = {}
        self.answer_headers: Headers = []
        self.content, self._form, self._body = content, form, body
        self._client, self._upstream, self._size, self._caches = client, content.upstream, size, caches
        self._started = guard.clock()
        self._provider = content.upstream.provider
        self._assembly = form.assembly() if self.streamed else None
        self._events: AsyncGenerator[bytes, None] | None = None
        self._whole: list[bytes] | None = None  # of a server that answers a request for a stream with one object
        self._hides_usage = self.streamed and not form.asks_for_usage(body)

    # Before the call

    def layers(self) -> Sequence[CacheLayer]:
        return self._caches.layers(self.content)

    @property
    def characters(self) -> int:
        return self._size

    def call(self) -> Call:
        content, caller = self.content, self.content.caller
        if self._form.kind == "embedding":
            model = EmbeddingModel(self.guard, self.model, self._provider, caller.attribution)
            call = model.call(said.content for said in content.prompt.messages)
            read = (call.input_tokens or 0) + content.prompt.tokens
            return replace(call, input_tokens=read, host=self._upstream.host, account=caller.account)
        call = calls.chat_call(
            self.guard,
            content.read,
            content.known,
            content.parameters,
            caller.attribution,
            cappable=True,
            profile={"reasoning_output": thinks_unasked(self.model)},
            route=self._route,
            baseline=self._baseline,
            host=self._upstream.host,
            account=caller.account,
        )
        return call if call.kind == self._form.kind else replace(call, kind=self._form.kind)

    def _hit_call(self) -> Call:
        caller = self.content.caller
        return calls.hit_call(
            self.guard,
            self.content.read.texts,
            self.model,
            self._provider,
            caller.attribution,
            kind=self._form.kind,
            started=self._started,
            route=self._route,
            baseline=self._baseline,
            host=self._upstream.host,
            account=caller.account,
        )

    def _prompt_tokens(self) -> int:
        if self._form.kind == "embedding":
            return self.call().input_tokens or 0
        return calls.prompt_tokens(self.guard, self.content.read, self.content.known, self.content.parameters)

    # The call

    async def send(self, permit: Permit) -> Any:
        self._permit = permit
        body: Mapping[str, Any] = self._body
        if permit.max_output_tokens is not None:
            body = self._form.with_limit(body, permit.max_output_tokens)
        if self._hides_usage:
            body = self._form.with_usage(body)
        headers = sent_headers(self.content.headers, self._upstream, self._form.vendor)
        data = json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
        response = await self._client.open(self._upstream, "POST", self._form.path, self.content.query, headers, data)
        self.answer_headers = returned(response.headers.items())
        if self.streamed:
            if response.headers.get("content-type", "").startswith("application/json"):  # it does not stream
                self._whole, self._events = [], self._client.parts(self._upstream, response)
            else:
                self._events = self._client.events(self._upstream, response)
            return self._events
        raw = await self._client.read(self._upstream, response)
        return WireAnswer(json_object(raw) or {}, raw, self.answer_headers)

    async def next_chunk(self, stream: AsyncGenerator[bytes, None]) -> Any:
        """The next event of a stream as the client sees it."""
        assert self._assembly is not None
        while True:
            event = await anext(stream, END)
            if self._whole is not None and event is not END:
                self._whole.append(event)
                return event
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
        if self._whole is not None:
            body = json_object(b"".join(self._whole))
        else:
            body = None if self._assembly is None else self._assembly.body
        return None if body is None else WireAnswer(body)

    @property
    def left(self) -> int | None:
        """Nano-dollars that the tightest budget of the caller has left after a plain call; ``None``: nobody knows."""
        return None if self.charge is None or self._permit is None else self._permit.left(self.charge.totals)

    @property
    def finished(self) -> bool:
        """Whether the provider has said all of its answer."""
        assembly = self._assembly
        if self._whole is not None:
            return (answer := self.received()) is not None and self._form.is_whole(self._body, answer.body)
        return assembly is not None and assembly.finished and self._form.is_whole(self._body, assembly.body or {})

    @property
    def is_hit(self) -> bool:
        """Whether a cache has answered."""
        return Outcome(self.mark).is_hit

    async def close(self) -> None:
        """Close the connection of a stream that nobody reads on."""
        if self._events is not None:
            await self._events.aclose()

    # After the call

    def usage_report(self, answer: WireAnswer | None) -> UsageReport:
        if answer is None:
            return UsageReport(prompt_tokens=self._prompt_tokens)
        body = answer.body
        model = str(body.get("model") or "") or None
        usage = read_usage(body, provider=self._provider or self._form.vendor)
        if usage is not None:
            usage = add_answer_fees(usage, self._form.blocks(body), body, model or self.model)
            usage = replace(usage, request_id=str(body["id"])) if body.get("id") else usage
        return UsageReport(usage, model, lambda: self._form.text(body), self._prompt_tokens)

    def failure_report(self) -> UsageReport:
        answer = self.received()
        text = None if answer is None else self._form.text(answer.body)
        return UsageReport(text=None if text is None else lambda: text, prompt_tokens=self._prompt_tokens)

    def charged(self, answer: WireAnswer | None, charge: Charge) -> None:
        if answer is not None:
            self.charge, self.answered, self.usage = charge, answer.body, charge.usage

    def encode(self, answer: WireAnswer, charge: Charge) -> Answer:
        body, form = answer.body, self._form
        cut = (self.streamed and not self.finished) or not form.is_whole(self._body, body)
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
        self.mark, self.marks = cached.outcome.value, self._caches.marks_of(cached, self.content.caller)
        answer = cached.answer
        self.answered, self.usage = cached.payload, answer.usage
        calls.record_hit(self.guard, self._hit_call(), cached, answer)
        return WireAnswer(self.answered, None, [], self.mark)

    def static_reply(self, refusal: SpendLimitExceeded) -> WireAnswer:
        if self.content.wants_form:
            raise refusal
        body = self._form.static(
            self.model, refusal.static_text, id=f"costguard-{self.guard.new_id()}", now=int(self._started)
        )
        if body is None:
            raise refusal
        self.mark, self.answered, self.refusal = "refused", body, refusal
        return WireAnswer(body, None, [], self.mark)

    def chunks(self, answer: WireAnswer) -> Iterable[bytes]:
        return self._form.events(answer.body, with_usage=not self._hides_usage)

"""The simulated provider without its HTTP: state, scripting, recording."""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import count
from typing import Any, Protocol

from costguard_core.simulate import chat, completions, embeddings, messages, responses
from costguard_core.simulate.counting import PromptCache
from costguard_core.simulate.faults import Fault, FaultPlan
from costguard_core.simulate.generation import Generation
from costguard_core.simulate.latency import Latency
from costguard_core.simulate.replies import ScriptedReply, compose
from costguard_core.simulate.request import BadRequestError, GenerationRequest
from costguard_core.simulate.tokenizer import Tokenizer

Reply = Callable[[dict[str, Any]], "str | ScriptedReply | Fault | None"]
"""Scripts answers: gets the request body, returns text, a :class:`ScriptedReply`, a fault, or ``None`` (default)."""


class Endpoint(Protocol):
    """What the modules ``chat``, ``completions``, ``responses`` and ``messages`` do: JSON in, JSON out."""

    def read(self, body: Mapping[str, object]) -> GenerationRequest:
        """A request body. Raises BadRequestError: a required part is missing or malformed."""

    def response(self, generation: Generation) -> dict[str, Any]:
        """The body of an answer that is not streamed."""

    def events(self, generation: Generation, *, include_usage: bool) -> Iterator[dict[str, Any]]:
        """The chunks or events of a streamed answer."""

    def usage(self, generation: Generation) -> dict[str, Any]:
        """Token counts, as the provider reports them at this endpoint."""


ENDPOINTS: Mapping[str, Endpoint] = {
    "/v1/chat/completions": chat,
    "/v1/completions": completions,
    "/v1/responses": responses,
    "/v1/messages": messages,
}
_SECRET_HEADERS = frozenset({"authorization", "api-key", "x-api-key", "cookie", "openai-organization"})
_BILLED_TIERS = ("flex", "priority")


@dataclass(slots=True)
class RecordedRequest:
    """One request that reached the server. ``usage`` is what the answer reported (``None``: no answer was made).

    ``at`` is unix seconds. Headers that carry secrets are not recorded.
    """

    path: str
    headers: dict[str, str]
    body: dict[str, Any]
    at: float
    status: int = 200
    usage: dict[str, Any] | None = field(default=None)


class Service:
    """Answers request bodies. Runs on one event loop; ``reset`` and the counters may be used from other threads."""

    def __init__(
        self,
        *,
        latency: Latency,
        faults: FaultPlan,
        reply: Reply | None = None,
        prompt_cache: bool = True,
        keep: int = 20_000,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self.latency, self.faults, self.reply = latency, faults, reply
        self.count = 0
        self.requests: deque[RecordedRequest] = deque(maxlen=keep)
        self._arrival = threading.Condition()
        self._holds = 0
        self._held: list[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = []
        self._tokens = Tokenizer()
        self._prompt_cache = PromptCache() if prompt_cache else None
        self._clock = clock
        self._ids = count(1)

    def record(self, path: str, headers: Mapping[str, str], body: dict[str, object]) -> RecordedRequest:
        kept = {name: value for name, value in headers.items() if name not in _SECRET_HEADERS}
        recorded = RecordedRequest(path, kept, body, self._clock())
        with self._arrival:
            self.count += 1
            self.requests.append(recorded)
            self._arrival.notify_all()
        return recorded

    def wait_for_requests(self, count: int, *, timeout: float) -> None:
        """Return when so many requests have arrived since the last :meth:`reset`.

        Raises:
            TimeoutError: fewer arrived within ``timeout`` seconds.
        """
        with self._arrival:
            if not self._arrival.wait_for(lambda: self.count >= count, timeout):
                raise TimeoutError(f"{self.count} of {count} requests arrived within {timeout:g} s")

    @contextmanager
    def hold(self) -> Iterator[None]:
        """Answer nothing as long as the block lasts. Blocks may overlap."""
        with self._arrival:
            self._holds += 1
        try:
            yield
        finally:
            with self._arrival:
                self._holds -= 1
                released, self._held = ([], self._held) if self._holds else (self._held, [])
            for loop, release in released:
                with suppress(RuntimeError):  # the server was stopped inside the block
                    loop.call_soon_threadsafe(release.set)

    async def until_not_held(self) -> None:
        """Return when no :meth:`hold` is in force."""
        release = asyncio.Event()
        with self._arrival:
            if not self._holds:
                return
            self._held.append((asyncio.get_running_loop(), release))
        await release.wait()

    def reset(self) -> None:
        """Forget all requests, scripted faults and the provider's prompt cache."""
        self.count = 0
        self.requests.clear()
        self.faults.queue.clear()
        if self._prompt_cache:
            self._prompt_cache.clear()

    def warm_up(self) -> None:
        """Load the vocabulary before the first request has to wait for it."""
        self._tokens("gpt-4o", "warm up")

    def answer(self, endpoint: Endpoint, body: dict[str, Any], script: str | ScriptedReply | None) -> Generation:
        """Compose the answer to a request body.

        Raises:
            BadRequestError: if the body is not what the endpoint takes.
        """
        request = endpoint.read(body)
        prompt = self._prompt_tokens(endpoint, request)
        tier = body.get("service_tier")
        return Generation(
            id=f"sim{next(self._ids):08d}",
            created=int(self._clock()),
            request=request,
            replies=compose(request, self._tokens, script),
            prompt_tokens=prompt,
            cached_tokens=self._prompt_cache.hit(request, prompt) if self._prompt_cache else 0,
            tier=tier if tier in _BILLED_TIERS else "default",
        )

    def embed(self, body: dict[str, object]) -> dict[str, Any]:
        """The response body of the embeddings endpoint."""
        return embeddings.answer(body, self._tokens)

    def count_tokens(self, body: dict[str, object]) -> int:
        """The tokens of a prompt in Anthropic's format.

        Raises:
            BadRequestError: if the body is not what the endpoint takes.
        """
        return self._prompt_tokens(messages, messages.read({**body, "max_tokens": 1}))

    def seconds(self, generation: Generation) -> float:
        """How long this answer takes."""
        return self.latency.total(generation.output_tokens, generation.request.random("latency"))

    def _prompt_tokens(self, endpoint: Endpoint, request: GenerationRequest) -> int:
        if endpoint is completions:
            return sum(self._tokens(request.model, message.text) for message in request.messages)
        return self._tokens.prompt(request)


def error_body(error: BadRequestError) -> dict[str, Any]:
    """The JSON of an HTTP 400."""
    detail = {"message": str(error), "type": "invalid_request_error", "param": error.param, "code": None}
    return {"error": detail}

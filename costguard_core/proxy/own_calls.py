"""Calls that the proxy makes itself: of judges, of models that verify, and second answers for the prompt log.

They are asked from threads and go through the lifecycle of a call like those of clients, on the bill of whoever runs
the proxy: with the attribution in force in the thread, the key of the upstream, and no cache.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from concurrent.futures import Future
from typing import Any, TypeVar

from costguard_core.attribution import current_attribution
from costguard_core.errors import ConfigurationError, CostGuardError
from costguard_core.guard import CostGuard
from costguard_core.proxy.callers import Caller
from costguard_core.proxy.content import WireContent
from costguard_core.proxy.reply import Reply
from costguard_core.proxy.request import WireRequest
from costguard_core.proxy.settings import ProxySettings
from costguard_core.proxy.upstream import UpstreamClient
from costguard_core.usage.overhead import thinks_unasked
from costguard_core.wire import CHAT, MESSAGES, WireFormat

T = TypeVar("T")
_ANTHROPIC = ("anthropic-version", "2023-06-01")  # https://platform.claude.com/docs/en/api/versioning


class OwnCalls:
    """Asks models of the policy file, from threads.

    Args:
        settings: of the proxy.
        guard: whose bill it is.
        client: sends requests.
    """

    def __init__(self, settings: ProxySettings, guard: CostGuard, client: UpstreamClient) -> None:
        self._settings, self._guard, self._client = settings, guard, client
        self._loop: asyncio.AbstractEventLoop | None = None
        self._under_way: set[Future[Any]] = set()

    def begin(self) -> None:
        """Use the running event loop from now on."""
        self._loop = asyncio.get_running_loop()

    def check(self, model: str, what: str) -> str:
        """The model behind a name of the file.

        Raises:
            ConfigurationError: no upstream serves it.
        """
        known = self._settings.aliases.get(model, model)
        if known in self._settings.routers:
            raise ConfigurationError(f"{what} {model!r} is a router: name a model")
        if self._settings.upstream(known, None) is None:
            raise ConfigurationError(f"{what}: no upstream serves {model!r}")
        return known

    def ask(self, model: str, instructions: str, text: str, *, max_tokens: int) -> str:
        """The text of a model's reply. May raise what a call raises."""
        upstream = self._settings.upstream(model, None)
        assert upstream is not None
        headers = [("content-type", "application/json")]
        messages = [{"role": "user", "content": text}]
        body: dict[str, Any] = {"model": model, "messages": messages}
        form: WireFormat = MESSAGES if upstream.vendor == "anthropic" else CHAT
        if form is MESSAGES:
            headers.append(_ANTHROPIC)
            body |= {"system": instructions} if instructions else {}
        elif instructions:
            messages.insert(0, {"role": "system", "content": instructions})
        # What thinks would use the limit up before it says a word; Anthropic's models do not, and must be given one.
        asked = body if form is CHAT and thinks_unasked(model) else form.with_limit(body, max_tokens)
        reply = self.run(self.open(WireContent(form, asked, upstream, Caller(current_attribution()), headers)))
        if reply.request.refusal is not None:
            raise reply.request.refusal
        return form.text(reply.request.answered or {})

    async def open(self, content: WireContent, *, route: str | None = None) -> Reply:
        """The reply to a request of the proxy's own. On the event loop."""
        size = len(str(content.body))
        return await Reply.open(WireRequest(self._guard, self._client, content, size=size, route=route))

    def run(self, call: Coroutine[Any, Any, T]) -> T:
        """What ``call`` returns on the event loop of the proxy.

        Raises:
            CostGuardError: the proxy does not serve (yet, or any more).
        """
        loop = self._loop
        if loop is None or loop.is_closed():
            call.close()
            raise CostGuardError("the proxy does not serve at the moment")
        future = asyncio.run_coroutine_threadsafe(call, loop)
        self._under_way.add(future)
        try:
            return future.result()
        finally:
            self._under_way.discard(future)

    def end(self) -> None:
        """Cancel what is under way, and take no more calls."""
        self._loop = None
        for future in list(self._under_way):
            future.cancel()

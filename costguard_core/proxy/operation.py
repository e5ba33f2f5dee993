"""What those who run the proxy look at: metrics for Prometheus, and the page."""

from __future__ import annotations

import asyncio
import hmac
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, NamedTuple

from costguard_core.errors import ConfigurationError
from costguard_core.exporters.prometheus import MetricsPage
from costguard_core.guard import CostGuard
from costguard_core.proxy.settings import ProxySettings

TOKEN = "COSTGUARD_TOKEN"  # noqa: S105 -- a name
"""The environment variable with what a browser or a scraper must show."""

PREFIX = "/ui"
_SHORTEST_TOKEN = 16  # characters, as for costguard serve
View = Callable[[MutableMapping[str, Any], Any, Any], Awaitable[None]]


class Operation(NamedTuple):
    """ASGI applications beside the API.

    Attributes:
        metrics: under ``/metrics``; ``None``: there is none.
        page: under ``/ui``; ``None``: there is none.
    """

    metrics: View | None = None
    page: View | None = None

    def view(self, path: str) -> View | None:
        """Who answers this path, if it is neither the API's nor unknown."""
        if path == "/metrics":
            return self.metrics
        return self.page if path == PREFIX or path.startswith(f"{PREFIX}/") else None


def open_operation(settings: ProxySettings, guard: CostGuard, token: str | None) -> Operation:
    """What the settings ask for.

    Args:
        settings: of the proxy.
        guard: counts for the metrics from now on, and is what the page shows.
        token: what a browser or a scraper must show; ``None``: nothing, which only this machine may use.

    Raises:
        ConfigurationError: there is no token, or a short one, and others can reach the proxy.
        MissingExtraError: the extra ``prometheus`` or ``web`` is not installed.
    """
    if not (settings.metrics or settings.page):
        return Operation()
    if token is not None and len(token) < _SHORTEST_TOKEN:
        raise ConfigurationError(f"{TOKEN} has at least {_SHORTEST_TOKEN} characters: openssl rand -hex 16 makes one")
    if token is None and not settings.is_local:
        raise ConfigurationError(
            f"everybody who reaches {settings.host} could read page and metrics: set {TOKEN} in the environment "
            "(openssl rand -hex 16 makes one), or turn both off"
        )
    metrics = _metrics(guard, token) if settings.metrics else None
    return Operation(metrics, _page(guard, token) if settings.page else None)


def _metrics(guard: CostGuard, token: str | None) -> View:
    page = MetricsPage()
    guard.add_hook(page.hook)

    async def view(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        given = dict(scope["headers"]).get(b"authorization", b"")
        if token is not None and not hmac.compare_digest(given, f"Bearer {token}".encode()):
            status, kind, body = 401, "text/plain", b"show the token: Authorization: Bearer ..."
        else:
            status, kind, body = 200, page.content_type, await asyncio.to_thread(page.text)
        headers = [(b"content-type", kind.encode()), (b"content-length", str(len(body)).encode())]
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    return view


def _page(guard: CostGuard, token: str | None) -> View:
    from costguard_core.web.app import Page, create_page

    page = create_page(
        Page(
            guard.ledger,
            read_status=lambda: guard.status(limit=200),
            trip=guard.trip,
            reset=guard.reset,
            token=token,
            clock=guard.clock,
            prices=guard.prices,
        ),
        prefix=PREFIX,
    )

    async def view(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        inner = scope["path"].removeprefix(PREFIX) or "/"
        await page({**scope, "path": inner, "raw_path": inner.encode(), "root_path": ""}, receive, send)

    return view

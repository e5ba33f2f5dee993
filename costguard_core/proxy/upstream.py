"""HTTP to the providers: one client for all, and nothing else ever leaves the proxy."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable, Mapping
from typing import TYPE_CHECKING

from costguard_core.errors import CostGuardError, MissingExtraError
from costguard_core.proxy.settings import ProxySettings, Upstream
from costguard_core.wire.sse import EventReader

if TYPE_CHECKING:
    import httpx

Headers = list[tuple[str, str]]

# https://www.rfc-editor.org/rfc/rfc9110#section-7.6.1, what the client library writes itself, and what signs in.
_NOT_SENT = frozenset(
    (
        "connection keep-alive proxy-authenticate proxy-authorization proxy-connection te trailer transfer-encoding "
        "upgrade host content-length accept-encoding expect cookie authorization x-api-key api-key forwarded"
    ).split()
)
_NOT_RETURNED = frozenset(
    (
        "connection keep-alive proxy-authenticate proxy-connection te trailer transfer-encoding upgrade "
        "content-length content-encoding set-cookie date server"
    ).split()
)
_TRIED_ELSEWHERE = frozenset((429, 500, 502, 503, 504, 529))


class UpstreamError(CostGuardError):
    """The provider answered with an error, or not at all.

    Attributes:
        status: of the answer to the client.
        headers: of the provider's answer.
        body: of the provider's answer; ``None``: there was no answer, and the text says why.
    """

    def __init__(self, text: str, status: int, headers: Headers, body: bytes | None) -> None:
        super().__init__(text)
        self.status, self.headers, self.body = status, headers, body

    @property
    def may_work_elsewhere(self) -> bool:
        """Whether another model or server may answer the same request."""
        return self.status in _TRIED_ELSEWHERE


class UpstreamTimeoutError(UpstreamError, TimeoutError):
    """The provider was silent for too long. It has the request, and may bill it."""


class UpstreamClient:
    """Sends requests to upstreams. Use it on one event loop.

    Raises:
        MissingExtraError: httpx is not installed.
    """

    def __init__(self, settings: ProxySettings) -> None:
        try:
            import httpx
        except ImportError:
            raise MissingExtraError("costguard proxy", "proxy") from None
        self._httpx = httpx
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=settings.connections)
        timeout = httpx.Timeout(settings.timeout, connect=10.0, pool=10.0)
        # No redirects: they would carry the key to another host. No settings from the environment, for the same reason.
        self._client = httpx.AsyncClient(limits=limits, timeout=timeout, follow_redirects=False, trust_env=False)

    async def open(
        self, upstream: Upstream, method: str, path: str, query: str, headers: Headers, body: bytes
    ) -> httpx.Response:
        """Send a request; the answer's body is not read yet.

        Raises:
            UpstreamError: there is no answer (status 502 or 504), or it is an error, whose body has been read.
        """
        url = f"{upstream.url}{path}{f'?{query}' if query else ''}"
        request = self._client.build_request(method, url, headers=headers, content=body or None)
        try:
            response = await self._client.send(request, stream=True)
            if response.is_success:
                return response
            try:
                text = await response.aread()
            finally:
                await response.aclose()
        except self._httpx.TimeoutException as error:
            raise UpstreamTimeoutError(f"{upstream.name} did not answer in time", 504, [], None) from error
        except self._httpx.TransportError as error:
            raise UpstreamError(f"{upstream.name} cannot be reached", 502, [], None) from error
        status = response.status_code if response.status_code >= 400 else 502
        raise UpstreamError(
            f"{upstream.name} answered {status}", status, returned(response.headers.multi_items()), text
        )

    async def events(self, upstream: Upstream, response: httpx.Response) -> AsyncGenerator[bytes, None]:
        """The server-sent events of a streamed answer, each as the bytes that it came in.

        Raises:
            UpstreamError: the stream broke off.
        """
        reader = EventReader()
        try:
            async for data in response.aiter_bytes():
                for event in reader.feed(data):
                    yield event
            if rest := reader.rest():
                yield rest
        except self._httpx.TimeoutException as error:
            raise UpstreamTimeoutError(f"{upstream.name} stopped in the middle of an answer", 504, [], None) from error
        except (self._httpx.TransportError, ValueError) as error:
            raise UpstreamError(f"{upstream.name} broke off in the middle of an answer", 502, [], None) from error
        finally:
            await response.aclose()

    async def close(self) -> None:
        """Close the connections."""
        await self._client.aclose()


def sent_headers(received: Iterable[tuple[str, str]], upstream: Upstream, vendor: str | None) -> Headers:
    """The headers of a client's request for the provider: its own, with the key of the upstream in place of its key."""
    headers = [
        (name, value)
        for name, value in received
        if name not in _NOT_SENT and not name.startswith(("x-costguard-", "x-forwarded-", "sec-"))
    ]
    credentials = [(name, value) for name, value in received if name in ("authorization", "x-api-key", "api-key")]
    if upstream.key is None:
        headers += credentials
    elif (vendor or upstream.vendor) == "anthropic":
        headers.append(("x-api-key", upstream.key))
    elif upstream.provider == "azure":
        headers.append(("api-key", upstream.key))
    else:
        headers.append(("authorization", f"Bearer {upstream.key}"))
    own = {name.lower() for name in upstream.headers}
    return [*((name, value) for name, value in headers if name not in own), *upstream.headers.items()]


def returned(received: Iterable[tuple[str, str]]) -> Headers:
    """The headers of a provider's answer for the client."""
    return [(name, value) for name, value in received if name.lower() not in _NOT_RETURNED]


def header(headers: Mapping[str, str] | Headers, name: str) -> str | None:
    """The first value of a header."""
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    return next((value for key, value in pairs if key.lower() == name), None)

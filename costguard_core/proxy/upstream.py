"""HTTP to the providers: one client for all, and nothing else ever leaves the proxy."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterable
from typing import TYPE_CHECKING

from costguard_core.errors import CostGuardError, MissingExtraError
from costguard_core.proxy.settings import ProxySettings, Upstream
from costguard_core.wire.sse import EventReader

if TYPE_CHECKING:
    import aiohttp

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
_CONNECT_SECONDS = 10.0  # a choice: what takes longer will not work
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


class UnreadableAnswerError(UpstreamError):
    """The provider answered with what is no HTTP that can be read, such as a compression that nobody asked for. It
    bills its answer (:mod:`costguard_core.lifecycle.billable` knows this name)."""


class UpstreamClient:
    """Sends requests to upstreams. Use it on one event loop.

    Raises:
        MissingExtraError: aiohttp is not installed.
    """

    def __init__(self, settings: ProxySettings) -> None:
        try:
            import aiohttp
            import multidict
            import yarl
        except ImportError:
            raise MissingExtraError("costguard proxy", "proxy") from None
        self._aiohttp, self._url, self._headers = aiohttp, yarl.URL, multidict.CIMultiDict
        self._settings = settings
        self._opened: aiohttp.ClientSession | None = None

    def _session(self) -> aiohttp.ClientSession:
        """The connections, made on the event loop that uses them."""
        if self._opened is None:
            aiohttp, silent = self._aiohttp, self._settings.timeout
            self._opened = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    limit=0, limit_per_host=self._settings.connections, keepalive_timeout=60
                ),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=_CONNECT_SECONDS, sock_read=silent),
                # No settings from the environment and no cookies: neither may decide where a key goes.
                trust_env=False,
                cookie_jar=aiohttp.DummyCookieJar(),
                skip_auto_headers=("User-Agent", "Content-Type"),
            )
        return self._opened

    async def open(
        self, upstream: Upstream, method: str, path: str, query: str, headers: Headers, body: bytes
    ) -> aiohttp.ClientResponse:
        """Send a request; the answer's body is not read yet.

        Raises:
            UpstreamError: there is no answer (status 502 or 504), or it is an error, whose body has been read.
        """
        aiohttp = self._aiohttp
        url = self._url(f"{upstream.url}{path}{f'?{query}' if query else ''}", encoded=True)
        try:
            response = await self._session().request(
                method, url, headers=self._headers(headers), data=body or None, allow_redirects=False
            )
            if 200 <= response.status < 300:
                return response
            async with response:
                told = await response.read()
        except aiohttp.ConnectionTimeoutError as error:
            raise UpstreamError(f"{upstream.name} cannot be reached", 504, [], None) from error
        except TimeoutError as error:
            raise UpstreamTimeoutError(f"{upstream.name} did not answer in time", 504, [], None) from error
        except aiohttp.ClientResponseError as error:
            text = f"the answer of {upstream.name} cannot be read: {error.message}"
            raise UnreadableAnswerError(text, 502, [], None) from error
        except (aiohttp.ClientError, OSError) as error:
            raise UpstreamError(f"{upstream.name} cannot be reached", 502, [], None) from error
        status = response.status
        if status < 400:
            raise UpstreamError(f"{upstream.name} answered {status}, which is not followed", 502, [], None)
        raise UpstreamError(f"{upstream.name} answered {status}", status, returned(response.headers.items()), told)

    async def read(self, upstream: Upstream, response: aiohttp.ClientResponse) -> bytes:
        """The whole body of an answer.

        Raises:
            UpstreamError: it broke off.
        """
        try:
            async with response:
                return await response.read()
        except TimeoutError as error:
            raise UpstreamTimeoutError(f"{upstream.name} stopped in the middle of an answer", 504, [], None) from error
        except (self._aiohttp.ClientError, OSError) as error:
            raise UpstreamError(f"{upstream.name} broke off in the middle of an answer", 502, [], None) from error

    async def parts(self, upstream: Upstream, response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
        """The bytes of an answer as they come. Whoever stops to read it closes the connection.

        Raises:
            UpstreamError: it broke off.
        """
        try:
            async for data in response.content.iter_any():
                yield data
        except TimeoutError as error:
            raise UpstreamTimeoutError(f"{upstream.name} stopped in the middle of an answer", 504, [], None) from error
        except (self._aiohttp.ClientError, OSError) as error:
            raise UpstreamError(f"{upstream.name} broke off in the middle of an answer", 502, [], None) from error
        finally:
            response.close()  # one that was read to its end has given its connection back already

    async def events(self, upstream: Upstream, response: aiohttp.ClientResponse) -> AsyncGenerator[bytes, None]:
        """The server-sent events of a streamed answer, each as the bytes that it came in.

        Raises:
            UpstreamError: the stream broke off.
        """
        reader = EventReader()
        parts = self.parts(upstream, response)
        try:
            async for data in parts:
                for event in reader.feed(data):
                    yield event
            if rest := reader.rest():
                yield rest
        except ValueError as error:
            raise UpstreamError(f"{upstream.name} sent an event that is too long", 502, [], None) from error
        finally:
            await parts.aclose()

    async def close(self) -> None:
        """Close the connections."""
        if self._opened is not None:
            await self._opened.close()


def sent_headers(received: Iterable[tuple[str, str]], upstream: Upstream, vendor: str | None) -> Headers:
    """The headers of a client's request for the provider: its own, with the key of the upstream in place of its key."""
    headers = [(name, value) for name, value in received if is_sent(name)]
    credentials = [(name, value) for name, value in received if is_credential(name)]
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


def is_sent(name: str) -> bool:
    """Whether a client's header (lower case) reaches the provider as it is."""
    return name not in _NOT_SENT and not name.startswith(("x-costguard-", "x-forwarded-", "sec-"))


def is_credential(name: str) -> bool:
    """Whether a client signs in with a header of this name (lower case)."""
    return name in ("authorization", "x-api-key", "api-key")


def returned(received: Iterable[tuple[str, str]]) -> Headers:
    """The headers of a provider's answer for the client. What it says in our name is ours to say."""
    lower = [(name, value, name.lower()) for name, value in received]
    return [(n, v) for n, v, low in lower if low not in _NOT_RETURNED and not low.startswith("x-costguard-")]

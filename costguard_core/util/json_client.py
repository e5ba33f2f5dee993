"""JSON from a web API by GET: with time-outs, with retries that keep to ``Retry-After``, never from another host."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable, Mapping, Sequence
from decimal import Decimal
from email.utils import parsedate_to_datetime
from http.client import HTTPException
from typing import Any, NamedTuple
from urllib.error import HTTPError
from urllib.parse import urlencode
from urllib.request import HTTPRedirectHandler, OpenerDirector, ProxyHandler, Request, build_opener

from costguard_core.errors import ConfigurationError, CostGuardError
from costguard_core.util.text import printable
from costguard_core.util.urls import split

PASSING = frozenset((408, 409, 425, 429, 500, 502, 503, 504, 529))
"""Statuses of errors that asking again may mend: RFC 9110, section 15. 529 is Anthropic's "overloaded":
https://docs.anthropic.com/en/api/errors"""
LONGEST_WAIT = 120.0
"""Seconds for which a server may ask to be left alone with ``Retry-After``."""
_MOST_BYTES = 64 * 1024 * 1024  # of one page
_SHOWN = 300  # characters of a server's own message
_LOOPBACK = frozenset(("localhost", "127.0.0.1", "::1"))

Parameters = Sequence[tuple[str, str]]


class Refused(CostGuardError):
    """The server answered with an error that asking again does not mend.

    Attributes:
        status: the HTTP status.
    """

    def __init__(self, message: str, status: int) -> None:
        self.status = status
        super().__init__(message)


class JsonClient:
    """Asks one API. Numbers with a fraction arrive as ``Decimal``, so that no digit of money is lost.

    Args:
        base_url: where the API is, such as ``https://api.openai.com``; only https, or http on this machine.
        headers: sent with each request; their values are secrets and never part of an error.
        timeout: seconds for each try.
        tries: how often a request is made at most, while the server is down, overloaded or limits the rate.
        pause: seconds before the second try, twice as long before each further one, unless the server says how long.
        sleep: waits that many seconds; now: unix seconds; both injectable for tests.

    Raises:
        ConfigurationError: a URL or a header that cannot be sent.
    """

    def __init__(
        self,
        base_url: str,
        headers: Mapping[str, str],
        *,
        timeout: float = 60.0,
        tries: int = 6,
        pause: float = 1.0,
        sleep: Callable[[float], object] = time.sleep,
        now: Callable[[], float] = time.time,
    ) -> None:
        parts = split(base_url)
        self.host = parts.hostname or ""
        if not self.host or not (parts.scheme == "https" or (parts.scheme == "http" and self.host in _LOOPBACK)):
            raise ConfigurationError(
                "the base URL must start with https:// and name a host (http:// only on this machine)"
            )
        try:
            is_address = parts.port != 0 and "@" not in parts.netloc
        except ValueError:
            is_address = False
        if not is_address:
            raise ConfigurationError("the base URL holds a port that is none, or a name and a password: leave them out")
        for name, value in headers.items():
            if not value.isascii() or not value.isprintable():
                raise ConfigurationError(f"the header {name} holds a character that no header can")
        self._base, self._headers, self._secrets = base_url.rstrip("/"), dict(headers), _secrets(headers)
        self._timeout, self._tries, self._pause = timeout, max(1, tries), pause
        self._sleep, self._now = sleep, now
        # Through a proxy, https is a tunnel, but http would show it the headers.
        proxies = [] if parts.scheme == "https" else [ProxyHandler({})]
        self._opener: OpenerDirector = build_opener(_NoRedirects(), *proxies)

    def __repr__(self) -> str:
        return f"JsonClient({self.host})"

    def get(self, path: str, parameters: Parameters = ()) -> dict[str, Any]:
        """The JSON object at ``path``.

        Raises:
            Refused: the server answered with an error that is not a passing one.
            CostGuardError: it did not answer, or with something that is no JSON object, at the last try either.
        """
        query = urlencode(parameters)
        url = f"{self._base}{path}?{query}" if query else f"{self._base}{path}"
        problem = ""
        for attempt in range(self._tries):
            found = self._try(url, path)
            if isinstance(found, dict):
                return found
            problem = found.problem
            if attempt + 1 < self._tries:
                backoff = self._pause * 2**attempt * random.uniform(0.75, 1.25)
                self._sleep(min(LONGEST_WAIT, found.wait if found.wait is not None else backoff))
        raise CostGuardError(f"{self.host}{path}: {problem}, after {self._tries} tries")

    def _try(self, url: str, path: str) -> dict[str, Any] | _Failure:
        request = Request(url, headers=self._headers)  # noqa: S310 -- the scheme was checked
        try:
            with self._opener.open(request, timeout=self._timeout) as response:
                body = response.read(_MOST_BYTES + 1)
        except HTTPError as error:
            with error:
                if error.code in PASSING:
                    return _Failure(f"HTTP {error.code}", retry_after(error.headers.get("Retry-After"), self._now()))
                raise Refused(f"{self.host}{path}: HTTP {error.code}{self._reason(error)}", error.code) from None
        except (OSError, HTTPException) as error:  # refused, unreachable, timed out, cut short; URLError is one too
            return _Failure(type(getattr(error, "reason", error)).__name__)
        if len(body) > _MOST_BYTES:
            raise CostGuardError(f"{self.host}{path}: an answer of more than {_MOST_BYTES // 2**20} MB")
        try:
            found = json.loads(body, parse_float=Decimal)
        except (ValueError, RecursionError):  # brackets in brackets in brackets
            return _Failure("the answer is no JSON")
        return found if isinstance(found, dict) else _Failure("the answer is no JSON object")

    def _reason(self, error: HTTPError) -> str:
        """The server's own words, without what was sent to it. Those about a key may quote it, so they stay away."""
        if error.code in (401, 403):
            return ""
        if 300 <= error.code < 400:
            return " (redirects are not followed)"
        try:
            said = json.loads(error.read(65_536))["error"]["message"]
        except (OSError, HTTPException, ValueError, LookupError, TypeError, RecursionError):
            return ""
        text = str(said)
        for secret in self._secrets:
            text = text.replace(secret, "…")
        return f": {printable(text, most=_SHOWN)}"


class _Failure(NamedTuple):
    """A try that may succeed later: what went wrong, and how many seconds the server wants to be left alone."""

    problem: str
    wait: float | None = None


class _NoRedirects(HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        """Make the redirect an error: the headers are for the host that was given."""


def _secrets(headers: Mapping[str, str]) -> list[str]:
    parts = [part for value in headers.values() for part in value.split()]
    return [part for part in parts if len(part) >= 8]


def retry_after(value: str | None, now: float) -> float | None:
    """Seconds of a ``Retry-After`` header, which is a number or a date (RFC 9110, section 10.2.3)."""
    if not value:
        return None
    try:
        return max(0.0, float(value))
    except ValueError:
        pass
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except ValueError:
        return None

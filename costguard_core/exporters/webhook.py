"""Alerts (or every call) as an HTTP POST, from a thread of its own."""

from __future__ import annotations

import json
import logging
from collections.abc import Callable, Mapping
from http.client import HTTPException
from time import sleep, time
from urllib.error import HTTPError
from urllib.request import HTTPRedirectHandler, Request, build_opener

from costguard_core.errors import ConfigurationError
from costguard_core.exporters.base import as_dict, as_line
from costguard_core.exporters.chat import SHAPES, messages, shape_named
from costguard_core.types import Alert, Event
from costguard_core.util.batch_worker import BatchWorker
from costguard_core.util.json_client import LONGEST_WAIT, PASSING, retry_after
from costguard_core.util.numbers import number, whole_number
from costguard_core.util.options import check_flag, check_function, check_kind, check_text, names_options
from costguard_core.util.urls import split

_log = logging.getLogger(__name__)
_TRIES = 3


def payload(item: Event | Alert) -> dict[str, object]:
    """The fields of the item, and a ``text`` for people, which is what chat services show."""
    return {"text": as_line(item), **as_dict(item)}


@names_options
class WebhookHook:
    """POST JSON to ``url``: budget alerts, and with ``calls=True`` every call too.

    A server that answers 5xx or 429, or not at all, is tried three times, after as many seconds as it asks for with
    ``Retry-After``, at most 120; then the item is dropped and counted in ``failed``. No redirect is followed, because
    headers and body are for the host that was given: it counts as failed.
    The URL often is a secret, so only its host is ever shown.

    Args:
        url: http or https.
        calls: send calls too, not only alerts.
        headers: sent with each request, such as ``Authorization``.
        body: makes the JSON of an item; ``None``: do not send it.
        shape: ``"slack"`` or ``"teams"``: alerts as these services show them, in one message for all users that an
            alert of a budget is about; ``None``: one item at a time, as ``body`` makes it.
        gather: seconds for which the first alert of such a message waits for others.
        timeout: seconds for each try.
        capacity: items that may wait; more are dropped and counted in ``dropped``.
        pause: seconds before the second try, twice as long before the third, unless the server says how long.

    Raises:
        ConfigurationError: ``url`` is not http(s), or a number cannot be used.
    """

    def __init__(
        self,
        url: str,
        *,
        calls: bool = False,
        headers: Mapping[str, str] | None = None,
        body: Callable[[Event | Alert], object] = payload,
        shape: str | None = None,
        gather: float = 30.0,
        timeout: float = 5.0,
        capacity: int = 1_000,
        pause: float = 0.5,
    ) -> None:
        check_text("url", url, '"https://hooks.slack.com/services/…"')
        check_function("body", body, "a function of an event or an alert")
        parts = split(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigurationError("WebhookHook(url): the URL must start with http:// or https:// and name a host")
        self._url, self._host, self._calls, self._body = url, parts.hostname, calls, body
        number("timeout", timeout, above=0)
        number("pause", pause, at_least=0)
        whole_number("capacity", capacity, at_least=1)
        check_flag("calls", calls)
        if not (headers is None or isinstance(headers, Mapping)):
            raise ConfigurationError(f"headers= is a mapping of names to texts, not {type(headers).__name__}")
        self._headers = {"Content-Type": "application/json", **(headers or {})}
        self._timeout, self._pause = timeout, pause
        self._opener = build_opener(_NoRedirects())
        self.failed = 0
        """Items that were not delivered."""
        number("gather", gather, at_least=0)
        check_kind("shape", shape, (str, type(None)), '"slack" or "teams"')
        if shape is not None and (calls or body is not payload):
            raise ConfigurationError(f"shape={shape!r} is for alerts only, without calls= and body=")
        self._shape = None if shape is None else SHAPES[shape_named(shape)]
        interval, batch = (0.0, 1) if shape is None else (gather, capacity)
        self._background: BatchWorker[bytes | Alert] = BatchWorker(
            self._send,
            name="costguard-webhook",
            interval=interval,
            batch=batch,
            capacity=capacity,
            patience=0.0,
            retry=False,
        )

    def __repr__(self) -> str:
        return f"WebhookHook({self._host})"

    def __call__(self, item: Event | Alert, /) -> None:
        if self._shape is not None:
            if isinstance(item, Alert):
                self._background.put(item)
        elif self._calls or isinstance(item, Alert):
            body = self._body(item)
            if body is not None:
                self._background.put(json.dumps(body).encode())

    @property
    def dropped(self) -> int:
        """Items that found the queue full."""
        return self._background.dropped

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait until everything so far was sent or given up."""
        return self._background.flush(timeout)

    def close(self) -> None:
        """Send what is left, for at most 5 s."""
        self._background.close()

    def _send(self, items: list[bytes | Alert]) -> None:
        bodies = [item for item in items if isinstance(item, bytes)]
        if self._shape is not None:
            told = messages(item for item in items if isinstance(item, Alert))
            bodies += [json.dumps(self._shape(message)).encode() for message in told]
        for body in bodies:
            if (problem := self._post(body)) is not None:
                self.failed += 1
                _log.warning("webhook to %s: %s", self._host, problem)

    def _post(self, body: bytes) -> str | None:
        """``None`` when delivered, else what went wrong, without the URL."""
        problem, wait = "", None
        for attempt in range(_TRIES):
            if attempt:
                sleep(min(LONGEST_WAIT, self._pause * 2 ** (attempt - 1) if wait is None else wait))
            problem, final, wait = self._try(body)
            if final:
                break
        return problem or None

    def _try(self, body: bytes) -> tuple[str, bool, float | None]:
        """What went wrong, if anything; whether no other try is to be made; how many seconds the server wants first."""
        request = Request(self._url, data=body, headers=self._headers, method="POST")  # noqa: S310 -- checked above
        try:
            with self._opener.open(request, timeout=self._timeout):
                return "", True, None
        except HTTPError as error:
            with error:
                wait = retry_after(error.headers.get("Retry-After"), time())
            moved = " (redirects are not followed: give the URL that it leads to)" if 300 <= error.code < 400 else ""
            return f"HTTP {error.code}{moved}", error.code < 500 and error.code not in PASSING, wait
        except (OSError, HTTPException) as error:  # refused, unreachable, timed out, no HTTP; URLError is one too
            return type(getattr(error, "reason", error)).__name__, False, None
        except Exception as error:  # such as a header that cannot be sent: no second try will do better
            return type(error).__name__, True, None


class _NoRedirects(HTTPRedirectHandler):
    def redirect_request(self, *_: object) -> None:
        """Make the redirect an error."""

"""What must not be written down, recognised by its name: in a key, a store, a representation."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from hashlib import blake2b
from typing import Any

HIDDEN = "(secret)"
"""Stands where a secret was."""

_SECRET = re.compile(r"auth(?!ors?($|[-_]))|cookie|secret|password|credential|token$|(^|[-_])key(_id)?$", re.IGNORECASE)
# In a text that writes a mapping down: such a name, then a text.
_SPELLED_SECRET = re.compile(
    r"""["'](?:[^"'\s]*(?:auth|cookie|secret|password|credential)[^"'\s]*|[^"'\s]*token|(?:[^"'\s]*[-_])?key)["']\s*:\s*["']""",
    re.IGNORECASE,
)
# Headers that name one request, or the program that makes it, and change no answer.
_TRACING = re.compile(
    r"traceparent|tracestate|baggage|user-agent|idempotency-key|x-(?:client-)?request-id|x-correlation-id|x-trace-id"
    r"|x-b3-.*|x-cloud-trace-context|x-amzn-trace-id|x-stainless-.*|x-datadog-.*|sentry-trace|b3"
)
_SIGNS_IN = ("authorization", "authorization_token")


def is_secret(name: str) -> bool:
    """Whether a setting or header of this name holds a secret."""
    return _SECRET.search(name) is not None


def identified(headers: Mapping[str, object]) -> dict[str, object]:
    """Headers as they tell callers apart in a key: of those that authenticate, a one-way digest of the value.

    A gateway may answer each caller from what that caller may see. Header names are the same in capitals and small
    letters, and those that only trace a request are left out.
    """
    found: dict[str, Any] = {}
    for name, value in headers.items():
        plain = str(name).lower()
        if _TRACING.fullmatch(plain) is None:
            found[plain] = one_way(value) if is_secret(plain) else value
    return found


def one_way(value: object) -> str:
    """A digest that tells secrets apart and shows none."""
    if callable(reveal := getattr(value, "get_secret_value", None)):  # pydantic's, whose text is the same for all
        value = reveal()
    text = value.decode("latin-1") if isinstance(value, bytes) else str(value)
    return blake2b(text.encode("utf-8", "surrogatepass"), digest_size=16, person=b"costguard-caller").hexdigest()


def signs_in(tool: object) -> bool:
    """Whether a remote tool, as it is sent, signs in: it then answers for whoever signed in."""
    if not isinstance(tool, Mapping):
        return False
    headers = tool.get("headers")
    named = isinstance(headers, Mapping) and any(is_secret(str(name)) for name in headers)
    return named or any(tool.get(name) for name in _SIGNS_IN)


def spells_secret(written: str) -> bool:
    """Whether a mapping that is written down shows the value of something that authenticates."""
    return _SPELLED_SECRET.search(written) is not None


def without_secrets(shown: Iterable[tuple[str | None, object]]) -> Iterator[tuple[str | None, object]]:
    """What a representation shows of a model's settings, secrets hidden."""
    for name, value in shown:
        if isinstance(value, dict):
            yield name, {key: HIDDEN if is_secret(str(key)) else item for key, item in value.items()}
        else:
            yield name, HIDDEN if name is not None and value is not None and is_secret(name) else value

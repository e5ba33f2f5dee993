"""What clients say of answers that the caches and the routers gave: ``POST /costguard/v1/feedback``.

A hit is known to the process that served it, and a client's next request may reach another one. So the name of a hit,
which the client is told, holds what a refutation needs, and a code that only the proxy can make: nobody can name a hit
that another caller got. The names of answers in a prompt log have such a code too.
"""

from __future__ import annotations

import hmac
import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Mapping
from hashlib import blake2b
from secrets import token_hex
from typing import NamedTuple

from costguard_core.cache.keys import digest
from costguard_core.cache.semantic.hit import Pair, SemanticHit
from costguard_core.errors import CostGuardError
from costguard_core.proxy.callers import Caller

PATH = "/costguard/v1/feedback"
SECRET = "COSTGUARD_FEEDBACK_SECRET"  # noqa: S105 -- a name
"""The environment variable that hosts behind one address share, so that each knows the names of the others' answers."""

_SIZES = (10, 20, 20, 16, 16)  # bytes: name of the hit, scope, entry, question, code
_LONGEST = 200  # characters of a name or an id; they have 112 and 48


class FeedbackError(CostGuardError):
    """Feedback that cannot be understood."""


class ServedHit(NamedTuple):
    """A hit that a client names.

    Attributes:
        name: under which the process that served it knows it.
        pair: for the others.
    """

    name: str
    pair: Pair


class AnswerNames:
    """Makes and reads the names of hits and of answers in prompt logs.

    Args:
        secret: of all processes behind one address; by default that of the environment (:data:`SECRET`), or a new one.
    """

    def __init__(self, secret: str | None = None) -> None:
        self._secret = blake2b((secret or os.environ.get(SECRET) or token_hex(32)).encode()).digest()

    def seal(self, hit: SemanticHit, caller: Caller) -> str:
        """The name of a hit that ``caller`` got."""
        pair = hit.pair
        if pair is None:
            return hit.id
        told = bytes.fromhex(hit.id + pair.scope + pair.entry + pair.question)
        return urlsafe_b64encode(told + self._code(told, caller)).decode()

    def open(self, name: str, caller: Caller) -> ServedHit | None:
        """The hit of that name; ``None``: it is no name of a hit, or not one that ``caller`` got."""
        try:
            raw = urlsafe_b64decode(name[:_LONGEST])
        except ValueError:
            return None
        if len(raw) != sum(_SIZES):
            return None
        told, code = raw[: -_SIZES[-1]], raw[-_SIZES[-1] :]
        if not hmac.compare_digest(code, self._code(told, caller)):
            return None
        parts, start = [], 0
        for size in _SIZES[:-1]:
            parts.append(told[start : start + size].hex())
            start += size
        return ServedHit(parts[0], Pair(*parts[1:]))

    def seal_sample(self, sample: str, router: str, caller: Caller) -> str:
        """The id under which the prompt log of ``router`` keeps an answer that ``caller`` got."""
        return f"{sample}.{self._sample_code(sample, router, caller)}"

    def is_sample(self, name: str, router: str, caller: Caller) -> bool:
        """Whether ``caller`` got an answer of that id from ``router``."""
        sample, _, code = name.rpartition(".")
        return hmac.compare_digest(code.encode(), self._sample_code(sample, router, caller).encode())

    def _sample_code(self, sample: str, router: str, caller: Caller) -> str:
        return self._code(bytes.fromhex(digest("sample", router, sample)), caller).hex()

    def _code(self, told: bytes, caller: Caller) -> bytes:
        who = digest(caller.reader, caller.attribution.tenant or "")
        return blake2b(told + bytes.fromhex(who), key=self._secret, digest_size=_SIZES[-1]).digest()


class Feedback(NamedTuple):
    """What a client says.

    Attributes:
        hit: the name of a hit of the semantic cache; ``None``: it is about an answer of a router.
        right: whether the answer of the hit was right.
        everywhere: of one that was wrong: it is given to no question any more.
        sample: the id of an answer in the prompt log; ``None``: it is about a hit.
        quality: of that answer, 0 (bad) to 1 (good).
    """

    hit: str | None = None
    right: bool = True
    everywhere: bool = False
    sample: str | None = None
    quality: float = 1.0

    @classmethod
    def of(cls, body: Mapping[str, object]) -> Feedback:
        """The feedback in a request, beside the ``metadata`` that says who asks, as in that of a call.

        Raises:
            FeedbackError: it is none.
        """
        hit, right, everywhere = body.get("hit"), body.get("right"), body.get("everywhere", False)
        sample, quality = body.get("sample"), body.get("quality")
        unknown = sorted(map(str, body.keys() - {*cls._fields, "metadata"}))
        if unknown:
            raise FeedbackError(f"feedback has no {unknown[0]!r}: it has {', '.join(cls._fields)}")
        if isinstance(hit, str) and isinstance(right, bool) and isinstance(everywhere, bool) and sample is None:
            return cls(hit, right, everywhere and not right)
        number = quality if isinstance(quality, (int, float)) and not isinstance(quality, bool) else -1
        if isinstance(sample, str) and _may_be_id(sample) and hit is None and 0 <= number <= 1:
            return cls(sample=sample, quality=float(number))
        raise FeedbackError(
            'feedback is {"hit": "…", "right": false} with the x-costguard-hit of an answer, or '
            '{"sample": "…", "quality": 0.5} with its x-costguard-sample and a number from 0 (bad) to 1 (good)'
        )


def _may_be_id(text: str) -> bool:
    return text.isascii() and len(text) <= _LONGEST

"""What a provider does on a bad day, chosen per request: by a header, by a script, or by a seeded rate."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass, fields
from random import Random
from typing import Any

from costguard_core.errors import ConfigurationError

FAULT_HEADER = "x-simulate-fault"
"""A request that carries this header gets the fault it describes, e.g. ``429;retry_after=2`` or ``drop=3``."""

_TYPES = {429: "rate_limit_error", 500: "server_error", 503: "server_error"}


@dataclass(frozen=True, slots=True)
class Fault:
    """One misbehaviour; several may be combined. Times are seconds.

    Attributes:
        status: answer with this HTTP error instead of a completion.
        retry_after: value of the ``Retry-After`` header of an error.
        hang: say nothing for so long, then close the connection. Longer than the client's timeout: a timeout.
        drop: break the connection after so many stream chunks (of a plain answer: in the middle of the body).
        slow: wait so long before the first byte, then answer normally.
        malformed: a 200 whose body is not JSON (in a stream: one event that is not).
    """

    status: int | None = None
    retry_after: float | None = None
    hang: float | None = None
    drop: int | None = None
    slow: float = 0.0
    malformed: bool = False

    @classmethod
    def parse(cls, text: str) -> Fault:
        """Read ``"503"``, ``"429;retry_after=2"``, ``"hang=5"``, ``"drop=3"``, ``"slow=1"`` or ``"malformed"``.

        Raises:
            ConfigurationError: for anything else.
        """
        try:
            options: dict[str, Any] = dict(_option(part.strip()) for part in text.split(";") if part.strip())
            return cls(**options)
        except (TypeError, ValueError) as error:
            names = ", ".join(f.name for f in fields(cls))
            raise ConfigurationError(f"cannot read the fault {text!r}; options: {names}, or an HTTP status") from error

    def error_body(self) -> dict[str, object]:
        """The JSON that OpenAI sends with an error status."""
        kind = _TYPES.get(self.status or 500, "invalid_request_error")
        return {"error": {"message": f"simulated {self.status}", "type": kind, "param": None, "code": None}}


def _option(part: str) -> tuple[str, int | float | bool]:
    name, has_value, value = part.partition("=")
    if not has_value:
        return ("malformed", True) if name == "malformed" else ("status", int(name))
    return (name, int(value)) if name in ("status", "drop") else (name, float(value))


class FaultPlan:
    """Which fault the next request gets. A scripted queue goes first; then a seeded share of all requests fails.

    ``queue`` is public: append :class:`Fault` or ``None`` (a request that is spared) at any time.
    """

    def __init__(self, queue: Iterable[Fault | None] = (), *, rate: float = 0.0, seed: int = 0) -> None:
        if not 0.0 <= rate <= 1.0:
            raise ConfigurationError(f"fault_rate is a share of all requests between 0 and 1, not {rate}")
        self.queue: deque[Fault | None] = deque(queue)
        self.rate = rate
        self._random = Random(seed)

    def next(self, header: str | None) -> Fault | None:
        if header:
            return Fault.parse(header)
        if self.queue:
            return self.queue.popleft()
        if self._random.random() < self.rate:
            return self._random.choice((Fault(status=429, retry_after=0.1), Fault(status=500), Fault(status=503)))
        return None

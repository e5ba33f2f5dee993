"""Which failures does a provider bill? Decided by shape, so that no SDK has to be imported."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

_TIMEOUTS = ("timeout", "timedout")
_NEVER_SENT = ("connecterror", "connecttimeout", "pooltimeout")


def was_billed(error: BaseException) -> bool:
    """Whether the provider may charge for a call that ended with ``error`` and delivered nothing.

    Providers bill answers, not errors: an HTTP status or a connection that never opened costs nothing. A timeout, a
    cancellation or an abandoned call was received and is probably computed to the end, so it counts.
    """
    chain = list(_causes(error))
    names = [type(link).__name__.lower() for link in chain]
    if any(isinstance(getattr(link, "status_code", None), int) for link in chain):
        return False
    if any(name.startswith(_NEVER_SENT) for name in names):
        return False
    if not isinstance(error, Exception) or isinstance(error, (asyncio.CancelledError, TimeoutError)):
        return True
    return any(word in name for name in names for word in _TIMEOUTS)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__

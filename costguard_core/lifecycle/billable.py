"""Which failures does a provider bill? Decided by shape, so that no SDK has to be imported."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

_TIMEOUTS = ("timeout", "timedout")
_SENT = ("readtimeout", "writetimeout")
_NEVER_SENT = ("connecterror", "connecttimeout", "pooltimeout")
# Some clients parse the answer for themselves, and raise when it does not fit the schema or was cut short.
_UNPARSED = ("validationerror", "lengthfinishreasonerror", "contentfilterfinishreasonerror")


def was_billed(error: BaseException) -> bool:
    """Whether the provider may charge for a call that ended with ``error`` and delivered nothing.

    Providers bill answers, not errors: an HTTP status or a connection that never opened costs nothing. A timeout, a
    cancellation or an abandoned call was received and is probably computed to the end, so it counts; so does an answer
    that came and could not be parsed.
    """
    if not isinstance(error, Exception) or isinstance(error, asyncio.CancelledError):
        return True
    if type(error).__name__.lower() in _UNPARSED:
        return True
    timed_out = False
    for link in _causes(error):
        name = type(link).__name__.lower()
        # The nearest cause decides. The farthest may be a failure of an earlier call, which somebody was handling.
        if isinstance(getattr(link, "status_code", None), int) or name.startswith(_NEVER_SENT):
            return False
        if isinstance(link, TimeoutError) or name.startswith(_SENT):
            return True
        timed_out = timed_out or any(word in name for word in _TIMEOUTS)
    return timed_out


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__

"""Which failures does a provider bill? Decided by shape, so that no SDK has to be imported.

Names of classes are those of httpx, requests and urllib3, aiohttp, botocore, websockets and Python itself. The clients
of providers (OpenAI's, Anthropic's, Groq's) raise errors of their own and name one of those as the cause.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import NamedTuple

from costguard_core.types import CONNECTION_LOST, NOT_SENT

# No connection was made, or none was free: name not found, connection refused, no TLS, a proxy that does not answer.
_NOT_SENT = frozenset(
    "connecterror connecttimeout connecttimeouterror connectiontimeouterror pooltimeout unsupportedprotocol "
    "localprotocolerror proxyerror proxyconnectionerror proxyschemeunknown newconnectionerror nameresolutionerror "
    "closedpoolerror emptypoolerror clientconnectorerror clientsslerror clientconnectorcertificateerror "
    "serverfingerprintmismatch endpointconnectionerror connectionrefusederror gaierror sslcertverificationerror "
    "invalidurl".split()
)
# The connection broke, or was closed without a whole answer, when the request was on its way or had arrived.
_LOST = frozenset(
    "readerror writeerror closeerror remoteprotocolerror protocolerror remotedisconnected badstatusline "
    "incompleteread incompletereaderror invalidchunklength chunkedencodingerror serverdisconnectederror clientoserror "
    "clientpayloaderror clientconnectionreseterror connectionclosederror responsestreamingerror "
    "websocketconnectionclosederror connectionreseterror brokenpipeerror connectionabortederror ssleoferror "
    "sslzeroreturnerror".split()
)
# It may be either: what it was caused by decides, and if nobody knows, the request may have been sent.
_UNSURE = frozenset("connectionerror apiconnectionerror networkerror transporterror maxretryerror".split())
_TIMED_OUT = frozenset(
    "readtimeout readtimeouterror writetimeout sockettimeouterror servertimeouterror deadlineexceeded".split()
)
# The answer came. Some clients parse it for themselves, and raise when it does not fit the schema or was cut short.
_UNREADABLE = frozenset(
    "validationerror apiresponsevalidationerror lengthfinishreasonerror contentfilterfinishreasonerror decodingerror "
    "contentdecodingerror decodeerror unreadableanswererror".split()
)
# Clients that invent a status for a connection that broke: what they were caused by decides.
_INVENTS_STATUS = ("litellm.",)


class Failure(NamedTuple):
    """How a call failed.

    Attributes:
        billed: whether the provider may charge for it, although nothing was delivered.
        reason: the class of the error, and what became of the connection where that decided: ``"APIConnectionError
            (connection lost)"``.
    """

    billed: bool
    reason: str


def was_billed(error: BaseException) -> bool:
    """Whether the provider may charge for a call that ended with ``error`` and delivered nothing."""
    return failure_of(error).billed


def failure_of(error: BaseException) -> Failure:
    """What is known of a call that ended with ``error``.

    Providers bill answers, not errors: an HTTP status or a connection that never opened costs nothing. A timeout, a
    cancellation, an abandoned call or a connection that broke: the request was received, or may have been, and is
    probably computed to the end, so it counts; so does an answer that came and could not be read.
    """
    name = type(error).__name__
    if not isinstance(error, Exception) or isinstance(error, asyncio.CancelledError):
        return Failure(billed=True, reason=name)
    unsure = timed_out = False
    for link in _causes(error):
        # The nearest cause decides. The farthest may be a failure of an earlier call, which somebody was handling.
        names = [kind.__name__.lower() for kind in type(link).__mro__]
        for one in names:
            if one in _UNREADABLE or one in _TIMED_OUT:
                return Failure(billed=True, reason=name)
            if one in _NOT_SENT:
                return Failure(billed=False, reason=f"{name} ({NOT_SENT})")
            if one in _LOST:
                return Failure(billed=True, reason=f"{name} ({CONNECTION_LOST})")
        invented = type(link).__module__.startswith(_INVENTS_STATUS)
        if isinstance(getattr(link, "status_code", None), int) and not invented:
            return Failure(billed=False, reason=name)
        if isinstance(link, TimeoutError):
            return Failure(billed=True, reason=name)
        timed_out = timed_out or "timeout" in names[0] or "timedout" in names[0]
        unsure = unsure or not _UNSURE.isdisjoint(names)
    if unsure and not timed_out:
        return Failure(billed=True, reason=f"{name} ({CONNECTION_LOST})")
    return Failure(billed=timed_out, reason=name)


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        yield error
        error = error.__cause__ or error.__context__

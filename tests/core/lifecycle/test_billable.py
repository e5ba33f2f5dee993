"""Which failures are charged: the nearest cause decides, not an older failure that was being handled."""

from __future__ import annotations

import asyncio
import socket
import ssl
from http.client import RemoteDisconnected

import aiohttp
import httpx
import pytest
import requests
import urllib3

from costguard_core.lifecycle.billable import failure_of, was_billed


class Limited(Exception):
    status_code = 429


class APITimeoutError(Exception):
    """What OpenAI's and Anthropic's clients raise for any timeout of theirs."""


def caused(error: Exception, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error


def timeout_from(cause: Exception) -> Exception:
    return caused(APITimeoutError(), cause)


class InternalServerError(Exception):
    """LiteLLM's for a connection that broke."""

    status_code = 500


InternalServerError.__module__ = "litellm.exceptions"


@pytest.mark.parametrize(
    ("error", "billed"),
    [
        (Limited(), False),
        (ValueError("no"), False),
        (timeout_from(httpx.ConnectTimeout("")), False),
        (timeout_from(httpx.PoolTimeout("")), False),
        (httpx.ConnectError(""), False),
        (httpx.ProxyError(""), False),
        (httpx.LocalProtocolError(""), False),
        (ConnectionRefusedError(), False),
        (socket.gaierror(), False),
        (ssl.SSLCertVerificationError(), False),
        (caused(requests.ConnectionError(), urllib3.exceptions.NewConnectionError(None, "")), False),
        (aiohttp.ClientConnectorDNSError(None, OSError()), False),
        (aiohttp.ConnectionTimeoutError(), False),
        (httpx.ReadError(""), True),
        (httpx.WriteError(""), True),
        (httpx.RemoteProtocolError(""), True),
        (httpx.DecodingError(""), True),
        (ConnectionResetError(), True),
        (BrokenPipeError(), True),
        (ssl.SSLEOFError(), True),
        (ConnectionError("nobody knows why"), True),
        (caused(requests.ConnectionError(), urllib3.exceptions.ProtocolError("", RemoteDisconnected())), True),
        (requests.exceptions.ChunkedEncodingError(), True),
        (aiohttp.ServerDisconnectedError(), True),
        (aiohttp.ClientOSError(), True),
        (aiohttp.SocketTimeoutError(), True),
        (aiohttp.ClientPayloadError(), True),
        (timeout_from(httpx.ReadTimeout("")), True),
        (APITimeoutError(), True),
        (TimeoutError(), True),
        (GeneratorExit(), True),
        (asyncio.CancelledError(), True),
    ],
)
def test_providers_bill_answers_and_not_errors(error: BaseException, billed: bool) -> None:
    assert was_billed(error) is billed


@pytest.mark.parametrize("earlier", [Limited(), httpx.ConnectTimeout("")])
def test_a_timeout_while_an_earlier_failure_is_handled_is_billed(earlier: Exception) -> None:
    def fall_back() -> None:
        try:
            raise earlier
        except Exception:
            try:
                raise httpx.ReadTimeout("")
            except httpx.ReadTimeout as slow:
                raise APITimeoutError from slow

    with pytest.raises(APITimeoutError) as failed:
        fall_back()
    assert was_billed(failed.value)


async def test_a_call_cancelled_while_an_earlier_failure_is_handled_is_billed() -> None:
    seen = []

    async def fall_back() -> None:
        try:
            raise Limited
        except Limited:
            try:
                await asyncio.sleep(60)
            except BaseException as error:
                seen.append(was_billed(error))
                raise

    task = asyncio.create_task(fall_back())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert seen == [True]


@pytest.mark.parametrize(
    ("cause", "billed"),
    [(httpx.ConnectError(""), False), (httpx.ReadError(""), True), (Limited(), False), (ValueError(), False)],
)
def test_a_status_that_a_client_invents_says_nothing(cause: Exception, billed: bool) -> None:
    assert was_billed(caused(InternalServerError(), cause)) is billed


def test_the_reason_says_what_became_of_the_connection() -> None:
    class APIConnectionError(Exception):
        pass

    lost = failure_of(caused(APIConnectionError(), httpx.ReadError("")))
    assert lost == (True, "APIConnectionError (connection lost)")
    assert failure_of(caused(APIConnectionError(), httpx.ConnectError(""))).reason == "APIConnectionError (not sent)"
    assert failure_of(timeout_from(httpx.ReadTimeout(""))).reason == "APITimeoutError"

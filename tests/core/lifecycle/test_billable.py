"""Which failures are charged: the nearest cause decides, not an older failure that was being handled."""

from __future__ import annotations

import asyncio

import httpx
import pytest

from costguard_core.lifecycle.billable import was_billed


class Limited(Exception):
    status_code = 429


class APITimeoutError(Exception):
    """What OpenAI's and Anthropic's clients raise for any timeout of theirs."""


def timeout_from(cause: Exception) -> Exception:
    error = APITimeoutError()
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("error", "billed"),
    [
        (Limited(), False),
        (ValueError("no"), False),
        (timeout_from(httpx.ConnectTimeout("")), False),
        (timeout_from(httpx.PoolTimeout("")), False),
        (httpx.ConnectError(""), False),
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

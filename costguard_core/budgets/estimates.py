"""What one call may cost at worst: the amounts to hold, and how many output tokens an amount can pay for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from costguard_core.errors import UnpricedModelError
from costguard_core.pricing import PriceBook
from costguard_core.types import Call, Usage


class Assumptions(NamedTuple):
    """How long an answer is assumed to be when the request itself sets no limit, in tokens.

    ``output`` for ordinary models, ``reasoning`` for models that think in hidden tokens; ``floor`` is the shortest cap
    worth sending: below it a call is refused rather than cut.
    """

    output: int = 4096
    reasoning: int = 16_384
    floor: int = 256


def output_bound(call: Call, assumed: Assumptions, seen: int) -> int:
    """Output tokens to hold for one choice: the request's own cap, else what was assumed or has been ``seen``."""
    if call.kind == "embedding":
        return 0
    if call.max_output_tokens is not None:
        return call.max_output_tokens
    likely = max(assumed.reasoning if call.reasoning else assumed.output, seen + seen // 4)
    return likely if call.output_ceiling is None else min(likely, call.output_ceiling)


def worst_amounts(call: Call, output: int, prices: PriceBook, *, money: bool) -> dict[str, int]:
    """The most that ``call`` can consume in every unit if each choice is at most ``output`` tokens long.

    Raises:
        UnpricedModelError: ``money`` is asked for and nobody knows the price.
    """
    counted = call.input_tokens or 0
    amounts = {
        "requests": call.attempts,
        "tokens": (counted + output * call.choices) * call.attempts,
        "input tokens": counted * call.attempts,
    }
    if money:
        amounts["usd"] = _worst_cost(call, output, prices) * call.attempts
    return amounts


def affordable_output(call: Call, unit: str, room: int, prices: PriceBook) -> int:
    """The longest answer (tokens per choice) whose worst case fits into ``room`` of ``unit``; 0 when none does."""
    room = max(room, 0) // call.attempts
    if unit == "usd":
        return prices.affordable_output(
            model=call.model,
            provider=call.provider,
            at=call.started,
            tier=call.tier,
            input_tokens=call.input_tokens or 0,
            nanos=room,
            choices=call.choices,
            cache_writes=call.cache_writes,
        )
    if unit == "tokens":
        return max(room - (call.input_tokens or 0), 0) // call.choices
    return 0


def actual_amounts(usage: Usage, cost: int | None, *, attempts: int = 1) -> Mapping[str, int]:
    """What a finished call consumed in every unit."""
    return {
        "usd": cost or 0,
        "requests": attempts,
        "tokens": usage.total_tokens,
        "input tokens": usage.input_tokens,
    }


def _worst_cost(call: Call, output: int, prices: PriceBook) -> int:
    cost = prices.worst_case(
        model=call.model,
        provider=call.provider,
        at=call.started,
        tier=call.tier,
        input_tokens=call.input_tokens or 0,
        output_tokens=output,
        choices=call.choices,
        cache_writes=call.cache_writes,
    )
    if cost is None:
        raise UnpricedModelError(call.model, call.provider)
    return cost

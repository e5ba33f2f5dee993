"""What one call may cost at worst: the amounts to hold, and how many output tokens an amount can pay for."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from costguard_core.errors import UnpricedModelError
from costguard_core.pricing import PriceBook
from costguard_core.pricing.providers import seller_of
from costguard_core.pricing.rate_card import Load
from costguard_core.types import Call, ModelUsage, Usage
from costguard_core.usage.fields import service_tier
from costguard_core.util.options import names_options

# Tokens that a model which draws reads of a conversation, pictures included: a choice, which is a picture and a half.
_READ_TO_DRAW = 5_000


@names_options
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
    likely = max(likely, call.thinking_tokens + assumed.output if call.thinking_tokens else 0)
    ceilings = [] if call.output_ceiling is None else [call.output_ceiling]
    if call.context_tokens is not None and (left := call.context_tokens - (call.input_tokens or 0)) > 0:
        ceilings.append(left)  # a larger cap would turn a good request into a bad one
    return min([likely, *ceilings])


def worst_amounts(call: Call, output: int, prices: PriceBook, *, money: bool) -> dict[str, int]:
    """The most that ``call`` can consume in every unit if each choice is at most ``output`` tokens long.

    Raises:
        UnpricedModelError: ``money`` is asked for and nobody knows the price.
    """
    counted = (call.input_tokens or 0) + call.result_tokens
    drawn = _drawn_tokens(call) if call.tool_pictures else 0
    amounts = {
        "requests": call.attempts,
        "tokens": (counted + output * call.choices + drawn) * call.attempts,
        "input tokens": counted * call.attempts,
    }
    if money:
        cost = prices.worst_case(
            model=call.model,
            provider=seller_of(call.provider, call.host),
            at=call.started,
            tier=None if call.tier is None else service_tier(call.tier),
            input_tokens=counted,
            output_tokens=output,
            choices=call.choices,
            cache_writes=call.cache_writes,
            load=Load(counted, call.audio_tokens, call.searches, call.speaks, call.visual_tokens, call.tool_pieces),
            exact_tier=True,
        )
        if cost is None:
            raise UnpricedModelError(call.model, seller_of(call.provider, call.host))
        cost += _drawn(call, prices) if call.tool_pictures else 0
        amounts["usd"] = cost * call.attempts
    return amounts


def assumed_usage(call: Call, input_tokens: int, output: int) -> Usage:
    """What one attempt of a call of which nobody learns the usage may have consumed: what was held for it.

    Args:
        call: that was admitted.
        input_tokens: of its prompt.
        output: tokens of each answer.
    """
    inputs, outputs = input_tokens + call.result_tokens, output * call.choices
    written = inputs if call.cache_writes else 0
    return Usage(
        inputs,
        outputs,
        cache_write_tokens=written,
        cache_write_1h_tokens=written,
        audio_input_tokens=0 if written else min(call.audio_tokens, inputs),
        audio_output_tokens=outputs if call.speaks else 0,
        image_input_tokens=0 if written else max(min(call.visual_tokens, inputs - call.audio_tokens), 0),
        web_searches=call.searches,
        estimated=True,
        units=call.tool_pieces,
        others=tuple(
            ModelUsage(model, Usage(_READ_TO_DRAW, tokens, image_output_tokens=tokens))
            for model, tokens in call.tool_pictures
        ),
    )


def affordable_output(call: Call, unit: str, room: int, prices: PriceBook) -> int:
    """The longest answer (tokens per choice) whose worst case fits into ``room`` of ``unit``; 0 when none does."""
    room = max(room, 0) // call.attempts
    if unit == "usd":
        room -= _drawn(call, prices)
        return prices.affordable_output(
            model=call.model,
            provider=seller_of(call.provider, call.host),
            at=call.started,
            tier=service_tier(call.tier),
            input_tokens=_most_input(call),
            nanos=room,
            choices=call.choices,
            cache_writes=call.cache_writes,
            load=Load(
                _most_input(call), call.audio_tokens, call.searches, call.speaks, call.visual_tokens, call.tool_pieces
            ),
        )
    if unit == "tokens":
        return max(room - _most_input(call) - _drawn_tokens(call), 0) // call.choices
    return 0


def actual_amounts(usage: Usage, cost: int | None, *, attempts: int = 1) -> Mapping[str, int]:
    """What a finished call consumed in every unit."""
    return {
        "usd": cost or 0,
        "requests": attempts,
        "tokens": usage.total_tokens if usage.others else usage.input_tokens + usage.output_tokens,
        "input tokens": usage.input_tokens,
    }


def _drawn_tokens(call: Call) -> int:
    """Tokens that models which draw for this call may read and write."""
    return sum(_READ_TO_DRAW + tokens for _, tokens in call.tool_pictures)


def _drawn(call: Call, prices: PriceBook) -> int:
    """Nano-dollars of the pictures that tools may draw, each at the price of the model that draws; as far as it is
    known: what is not is named in the charge."""
    seller = seller_of(call.provider, call.host)
    load = Load(_READ_TO_DRAW, visual_tokens=_READ_TO_DRAW)
    costs = (
        prices.worst_case(
            model=model, provider=seller, at=call.started, input_tokens=_READ_TO_DRAW, output_tokens=tokens, load=load
        )
        for model, tokens in call.tool_pictures
    )
    return sum(cost for cost in costs if cost is not None)


def _most_input(call: Call) -> int:
    """Tokens of the prompt, with what the provider's own tools may add to it."""
    return (call.input_tokens or 0) + call.result_tokens

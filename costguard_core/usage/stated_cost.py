"""Costs that a provider states in its response: they are what is billed, whatever a price list says.

- OpenRouter sends ``usage.cost`` in credits of one dollar. With a key of one's own (``is_byok``) that is OpenRouter's
  fee, and ``cost_details.upstream_inference_cost`` is billed by the provider behind it.
  https://openrouter.ai/docs/use-cases/usage-accounting
- Perplexity sends ``usage.cost.total_cost`` in dollars. https://docs.perplexity.ai/api-reference/chat-completions-post
- xAI sends ``cost_in_usd_ticks``, of which 10,000,000,000 are a dollar. https://docs.x.ai/docs/api-reference
- DeepInfra sends ``estimated_cost`` in dollars. https://deepinfra.com/docs/inference
"""

from __future__ import annotations

from decimal import Decimal

from costguard_core.usage.fields import get, nanos

_TICKS_PER_DOLLAR = 10_000_000_000


def stated_cost(raw: object) -> int | None:
    """Nano-dollars that a response, or its usage, says the call cost; ``None`` if it does not say.

    A zero is only believed of OpenRouter, which also says whose key was billed: gateways send zeros for what they do
    not know.
    """
    cost = get(raw, "cost")
    total = get(cost, "total_cost") if cost is not None and not isinstance(cost, (int, float, str)) else None
    if total is not None:
        return nanos(total) or None
    ticks = get(raw, "cost_in_usd_ticks")
    if type(ticks) is int and ticks:
        return nanos(Decimal(ticks) / _TICKS_PER_DOLLAR)
    if cost is None:
        return nanos(get(raw, "estimated_cost")) or None
    fee = nanos(cost)
    if fee is None:
        return None
    byok, upstream = get(raw, "is_byok"), nanos(get(get(raw, "cost_details"), "upstream_inference_cost"))
    if byok is True and upstream is None:
        return None
    if upstream is not None and (byok is True or (byok is None and upstream > fee)):
        return fee + upstream
    return fee if fee or byok is False or get(raw, "model_provider") == "openrouter" else None

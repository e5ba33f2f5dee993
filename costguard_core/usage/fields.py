"""Reading counts out of what providers send: dicts or objects, snake_case or camelCase, with nulls anywhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from decimal import Decimal, InvalidOperation
from functools import cache
from typing import Any

from costguard_core.types import NANOS_PER_DOLLAR

_TIERS = ("priority", "flex", "batch", "fast")
RESERVED = "reserved"
"""The tier of capacity that was bought ahead, whatever its seller calls it: what a token costs stands in a contract."""
# OpenAI's scale, Groq's performance, Bedrock's reserved, Vertex AI's provisioned throughput.
_BOUGHT_AHEAD = frozenset(("scale", "performance", RESERVED, "provisioned_throughput"))
TIER_NAMES = frozenset(("service_tier", "serviceTier", "speed", "usage", "performanceConfig"))
"""A mapping without any of these names states no tier."""
# No request has as many tokens, seconds or searches: the longest context that is sold has ten million tokens. A larger
# number is a defect of a gateway, and would not fit into the ledger once it is money.
_MOST = 10**9


def get(raw: object, name: str) -> Any:
    """A key or an attribute, also in camelCase; ``None`` when absent."""
    if raw is None:
        return None
    if type(raw) is dict or isinstance(raw, Mapping):  # asking for an abstract class takes longer than the rest
        found = raw.get(name)
        return found if found is not None else raw.get(_camel(name))
    return getattr(raw, name, None)


def count(raw: object, name: str) -> int:
    """A count that is surely a non-negative int: providers also send ``null``, and proxies send anything.

    A number that is written as text is one; what cannot be a count, and what no request can reach, is 0.
    """
    value = raw.get(name) if type(raw) is dict else None
    if value is None:
        value = get(raw, name)
    if type(value) is int:
        return value if 0 < value <= _MOST else 0
    if isinstance(value, str):
        value = int(value) if len(value) <= len(str(_MOST)) and value.isascii() and value.isdecimal() else 0
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return 0
    return int(value) if 0 < value <= _MOST else 0


def seconds(raw: object, name: str) -> int:
    """A duration in whole seconds, rounded up."""
    value = get(raw, name)
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value <= _MOST:
        return 0
    return -int(-value // 1)


def items(raw: object, name: str) -> tuple[Any, ...]:
    """The elements of a list; empty when there is none."""
    found = get(raw, name)
    return tuple(found) if isinstance(found, Iterable) and not isinstance(found, (str, Mapping)) else ()


def nanos(dollars: object) -> int | None:
    """An amount of dollars as sent in JSON, in nano-dollars rounded up; ``None`` if it is no amount."""
    if isinstance(dollars, bool) or not isinstance(dollars, (int, float, str, Decimal)):
        return None
    try:
        amount = Decimal(repr(dollars) if isinstance(dollars, float) else dollars)
    except InvalidOperation:
        return None
    return -int(-(amount * NANOS_PER_DOLLAR) // 1) if amount.is_finite() and 0 <= amount < 1_000_000 else None


def units(**counts: int) -> tuple[tuple[str, int], ...]:
    """Counts above zero, in the form of :attr:`Usage.units`."""
    return tuple((name, number) for name, number in sorted(counts.items()) if number > 0)


def service_tier(value: object) -> str | None:
    """The tier that was billed, ``None`` for standard, unknown or unsaid.

    >>> service_tier("priority"), service_tier("default"), service_tier("ON_DEMAND_FLEX"), service_tier("scale")
    ('priority', None, 'flex', 'reserved')
    """
    text = str(getattr(value, "value", value) or "").lower()
    found = next((tier for tier in _TIERS if text == tier or text.endswith(f"_{tier}")), None)
    return RESERVED if text in _BOUGHT_AHEAD else found


def fast_of(raw: object) -> str | None:
    """``"fast"`` where a request or a response names Bedrock's inference of optimized latency, which costs more.

    https://docs.aws.amazon.com/bedrock/latest/userguide/latency-optimized-inference.html
    """
    return "fast" if get(get(raw, "performance_config"), "latency") == "optimized" else None


def tier_of(raw: object) -> tuple[str | None, bool]:
    """The tier that a response states, and whether it states one at all.

    OpenAI and Anthropic send it flat, Bedrock nested; Anthropic sends ``speed`` beside it, Bedrock its latency.
    """
    if raw is None or (type(raw) is dict and TIER_NAMES.isdisjoint(raw)):
        return None, False
    nested = get(get(raw, "serviceTier"), "type") or get(get(raw, "service_tier"), "type")
    stated = (get(raw, "speed"), fast_of(raw), nested, get(raw, "service_tier"), get(raw, "serviceTier"))
    found = next((tier for value in stated if (tier := service_tier(value))), None)
    if found:
        return found, True
    known = any(isinstance(getattr(value, "value", value), str) and value != "auto" for value in stated)
    usage = get(raw, "usage")
    if usage is None or usage is raw:
        return None, known
    inner, inner_known = tier_of(usage)
    return inner, known or inner_known


@cache
def _camel(name: str) -> str:
    first, *rest = name.split("_")
    return first + "".join(part.capitalize() for part in rest)

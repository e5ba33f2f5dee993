"""The models to choose from, cheapest first, and what each of them cannot do at all."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any

from costguard_core.errors import ConfigurationError
from costguard_core.routing.request import Request
from costguard_core.routing.tier_prices import TierPrice


@dataclass(frozen=True, slots=True)
class Tier:
    """One model to route to.

    Attributes:
        name: unique among the tiers of a router.
        price: ``None`` if nobody knows it.
        max_input_tokens: the context window less what the answer needs; ``None``: no limit is known.
        modalities: what it takes besides text (``"image"``, ``"pdf"`` …); ``None``: nothing is known, so everything.
        tools: it can call tools.
        structured: it can answer in a schema.
    """

    name: str
    price: TierPrice | None = None
    max_input_tokens: int | None = None
    modalities: frozenset[str] | None = None
    tools: bool = True
    structured: bool = True

    def cost(self, request: Request) -> int | None:
        """Estimated nano-dollars of answering ``request`` with nothing cached, ``None`` without a price."""
        if self.price is None:
            return None
        return self.price.cost(fresh=request.input_tokens, output=request.output_tokens)


def obstacle(tier: Tier, request: Request) -> str | None:
    """Why ``tier`` cannot answer ``request``, or ``None`` if it can."""
    if tier.max_input_tokens is not None and request.input_tokens > tier.max_input_tokens:
        return f"{tier.name} holds {tier.max_input_tokens} tokens"
    missing = set() if tier.modalities is None else request.modalities - tier.modalities
    if missing:
        return f"{tier.name} takes no {', '.join(sorted(missing))}"
    if request.tools and not tier.tools:
        return f"{tier.name} calls no tools"
    if request.structured and not tier.structured:
        return f"{tier.name} gives no structured output"
    return None


def nearest_able(tiers: Sequence[Tier], wanted: int, request: Request) -> tuple[int, str | None]:
    """Index of the tier that answers instead of ``wanted``, and what ``wanted`` cannot do (``None``: it can).

    That is the next stronger tier that can, else the next weaker one. When none can, it is the wanted one: the
    provider's own error says more than a guess here.
    """
    reason = obstacle(tiers[wanted], request)
    if reason is None:
        return wanted, None
    others = [*range(wanted + 1, len(tiers)), *reversed(range(wanted))]
    able = (index for index in others if obstacle(tiers[index], request) is None)
    return next(able, wanted), reason


def checked_tiers(tiers: Sequence[Tier | str]) -> tuple[Tier, ...]:
    """Tiers from names or objects.

    Raises:
        ConfigurationError: fewer than two, or a name twice.
    """
    checked = tuple(Tier(tier) if isinstance(tier, str) else tier for tier in tiers)
    names = [tier.name for tier in checked]
    if len(checked) < 2 or len(set(names)) < len(names):
        raise ConfigurationError(f"a router needs at least two tiers with different names, cheapest first; got {names}")
    return checked


def check_tier_name(name: str) -> None:
    """Raise for a keyword that nearly is ``cheap`` or ``strong``; any other name is a good one, ``stronger`` too.

    Raises:
        ConfigurationError: names the nearest.
    """
    near = get_close_matches(name, ("cheap", "strong"), n=1, cutoff=0.8)
    if near and near[0] != name and abs(len(near[0]) - len(name)) <= 1:
        raise ConfigurationError(f'{name}= is nearly the name of a tier. Did you mean "{near[0]}"?')


def cheapest_first(tiers: Sequence[Tier]) -> list[Tier]:
    """Tiers by price; in the order given where one of them has none."""
    prices = {tier.name: tier.price.input + tier.price.output for tier in tiers if tier.price is not None}
    return sorted(tiers, key=lambda tier: prices[tier.name]) if len(prices) == len(tiers) else list(tiers)


def shared_abilities(profiles: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """What all models can do: the weaker of each ability, switch or number; ``None`` if one has no profile."""
    if not all(profiles):
        return None
    shared = set.intersection(*(set(profile) for profile in profiles))
    comparable = {name for name in shared if all(isinstance(profile[name], (bool, int)) for profile in profiles)}
    return {name: min(profile[name] for profile in profiles) for name in sorted(comparable)}

"""The models to choose from, cheapest first, and the hard gates: what a tier cannot do is not a matter of weights."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from costguard_core.errors import ConfigurationError
from costguard_core.routing.request import Request
from costguard_core.routing.sticky import TierPrice


@dataclass(frozen=True, slots=True)
class Tier:
    """One model to route to. ``None`` and the defaults mean no limit; ``modalities`` are those besides text.

    ``max_input_tokens`` is the context window less what the answer needs.
    """

    name: str
    price: TierPrice | None = None
    max_input_tokens: int | None = None
    modalities: frozenset[str] | None = None
    tools: bool = True
    structured: bool = True

    def cost(self, request: Request) -> int | None:
        """Estimated nano-dollars of answering ``request`` from cold, ``None`` without a price."""
        if self.price is None:
            return None
        return self.price.cost(fresh=request.input_tokens, output=request.output_tokens)


def obstacle(tier: Tier, request: Request) -> str | None:
    """Why ``tier`` cannot answer ``request`` at all, or ``None``."""
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


def admitted(tiers: Sequence[Tier], wanted: int, request: Request) -> tuple[int, str | None]:
    """The nearest tier that can answer: the wanted one, else the next stronger, else the next weaker; and the obstacle.

    When none can, it is the wanted one: the provider's own error says more than a guess here.
    """
    reason = obstacle(tiers[wanted], request)
    if reason is None:
        return wanted, None
    others = [*range(wanted + 1, len(tiers)), *reversed(range(wanted))]
    fits = (index for index in others if obstacle(tiers[index], request) is None)
    return next(fits, wanted), reason


def checked(tiers: Sequence[Tier | str]) -> tuple[Tier, ...]:
    """Tiers from names or objects.

    Raises:
        ConfigurationError: fewer than two, or a name twice.
    """
    given = tuple(Tier(tier) if isinstance(tier, str) else tier for tier in tiers)
    names = [tier.name for tier in given]
    if len(given) < 2 or len(set(names)) < len(names):
        raise ConfigurationError(f"a router needs at least two tiers with different names, cheapest first; got {names}")
    return given

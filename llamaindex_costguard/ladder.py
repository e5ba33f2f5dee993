"""From what a router is constructed with to its tiers: names, prices, order, and whose bill they are on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from llama_index.core.llms import LLM

from costguard_core import Budget, ConfigurationError, CostGuard
from costguard_core.dispatch.given import cheapest_first, free_name
from costguard_core.prices import PriceBook
from costguard_core.routing import Request, Score, Tier
from costguard_core.routing.branches import branches
from costguard_core.tiering import Pace
from llamaindex_costguard import routes
from llamaindex_costguard.guarded import guard_llm, guarding_of
from llamaindex_costguard.places import Cache


class Ladder(NamedTuple):
    """The tiers, cheapest first, and the models behind them."""

    models: Mapping[str, LLM]
    tiers: Sequence[Tier]
    prices: PriceBook
    score: Callable[[Request], Score | None] | None = None
    default: str | None = None


def by_names(models: Mapping[str, LLM], guard: CostGuard | None) -> Ladder:
    """Tiers that have names, in the order given."""
    prices = _prices(models.values(), guard)
    return Ladder(models, [routes.tier_of(name, llm, prices) for name, llm in models.items()], prices)


def by_conditions(given: Sequence[Any], guard: CostGuard | None) -> Ladder:
    """Pairs of condition and LLM, and the default.

    Tiers are ordered by price. Where one has none, they are in the order written, and the default is the dearest.
    """
    *pairs, default = given
    if not pairs or not isinstance(default, LLM) or not all(_is_pair(pair) for pair in pairs):
        raise ConfigurationError("conditions are written TieredRouter((condition, llm), …, default)")
    models = _named([*(llm for _, llm in pairs), default])
    names = {id(llm): name for name, llm in models.items()}
    prices = _prices(models.values(), guard)
    tiers = cheapest_first([routes.tier_of(name, llm, prices) for name, llm in models.items()])
    score = branches(*((routes.condition(asked), names[id(llm)]) for asked, llm in pairs))
    return Ladder(models, tiers, prices, score, names[id(default)])


def on_bill(llm: LLM, guard: CostGuard | None, *, cache: Cache | str | None, **options: Any) -> LLM:
    """The LLM, guarded unless it is already, or nobody is to guard it."""
    guarding = guarding_of(llm)
    if guard is None or (guarding is not None and guarding.guard is guard):
        return llm
    return guard_llm(llm, guard, cache=cache, **options)


def bill_of(models: Iterable[LLM]) -> CostGuard | None:
    """The guard of the first guarded one."""
    return next((guarding.guard for llm in models if (guarding := guarding_of(llm)) is not None), None)


def pace(guard: CostGuard | None, budget: str | Budget) -> Pace:
    """See :class:`costguard_core.tiering.Pace`."""
    if guard is None:
        raise ConfigurationError("budget= names a budget of a guard: TieredRouter(..., guard=guard, budget=...)")
    return Pace(guard, budget)


def _named(models: Iterable[LLM]) -> dict[str, LLM]:
    """Models by the name of what they run; one that occurs twice is one tier."""
    found: dict[str, LLM] = {}
    for llm in models:
        if not any(llm is known for known in found.values()):
            found[free_name(routes.model_of(llm).name, found)] = llm
    return found


def _prices(models: Iterable[LLM], guard: CostGuard | None) -> PriceBook:
    bill = guard or bill_of(models)
    return PriceBook() if bill is None else bill.prices


def _is_pair(given: Any) -> bool:
    return isinstance(given, (tuple, list)) and len(given) == 2 and isinstance(given[1], LLM)

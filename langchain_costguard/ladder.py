"""From what a router is constructed with to its tiers: names, prices, order, and whose bill they are on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from typing import Any, NamedTuple

from langchain_core.caches import BaseCache
from langchain_core.language_models import BaseChatModel

from costguard_core import Budget, CostGuard
from costguard_core.errors import ConfigurationError
from costguard_core.prices import PriceBook
from costguard_core.routing import Request, Score, Shadow, Tier
from costguard_core.routing.branches import branches
from costguard_core.routing.prompt_log import PromptLog
from costguard_core.routing.purse import Purse
from costguard_core.routing.verify import Check
from costguard_core.stores import open_store
from costguard_core.tiering import Pace
from langchain_costguard import routes
from langchain_costguard.guarded import GuardedChatModel
from langchain_costguard.shadow import Sampling


class Ladder(NamedTuple):
    """The tiers, cheapest first, and the models behind them."""

    models: Mapping[str, BaseChatModel]
    tiers: Sequence[Tier]
    prices: PriceBook
    score: Callable[[Request], Score | None] | None = None
    default: str | None = None


def by_names(models: Mapping[str, BaseChatModel], guard: CostGuard | None) -> Ladder:
    """Tiers that have names, in the order given."""
    prices = _prices(models.values(), guard)
    return Ladder(models, [routes.tier_of(name, model, prices) for name, model in models.items()], prices)


def by_conditions(given: Sequence[Any], guard: CostGuard | None) -> Ladder:
    """Pairs of condition and model, and the default.

    Tiers are ordered by price. Where one has none, they are in the order written, and the default is the dearest.
    """
    *pairs, default = given
    if not pairs or not isinstance(default, BaseChatModel) or not all(_is_pair(pair) for pair in pairs):
        raise ConfigurationError("conditions are written TieredRouter((condition, model), …, default)")
    models = routes.named([*(model for _, model in pairs), default])
    names = {id(model): name for name, model in models.items()}
    prices = _prices(models.values(), guard)
    tiers = _cheapest_first([routes.tier_of(name, model, prices) for name, model in models.items()])
    score = branches(*((routes.condition(asked), names[id(model)]) for asked, model in pairs))
    return Ladder(models, tiers, prices, score, names[id(default)])


def on_bill(
    model: BaseChatModel, guard: CostGuard | None, *, cache: BaseCache | bool | None, **options: Any
) -> BaseChatModel:
    """The model, guarded unless it is already, or nobody is to guard it."""
    if guard is None:
        return model if cache is None else model.model_copy(update={"cache": cache})
    if isinstance(model, GuardedChatModel) and model.guard is guard:
        return model
    return GuardedChatModel(model, guard, cache=cache, **options)


def bill_of(models: Iterable[BaseChatModel]) -> CostGuard | None:
    """The guard of the first guarded one."""
    return next((model.guard for model in models if isinstance(model, GuardedChatModel)), None)


def pace(guard: CostGuard | None, budget: str | Budget) -> Pace:
    """See :class:`costguard_core.tiering.Pace`."""
    if guard is None:
        raise ConfigurationError("budget= names a budget of a guard: TieredRouter(..., guard=guard, budget=...)")
    return Pace(guard, budget)


def sampling(
    log: PromptLog | str | PathLike[str] | None,
    rate: float,
    budget: str | Budget | None,
    guard: CostGuard | None,
    prices: PriceBook,
    check: Check | None,
) -> Sampling | None:
    """The shadow sample, if there is a prompt log to keep it."""
    if not 0 <= rate <= 1:
        raise ConfigurationError(f"shadow={rate!r} is a part of the calls: 0 to 1")
    if log is None:
        return None
    kept = log if isinstance(log, PromptLog) else PromptLog(log)
    store = open_store("memory://") if guard is None else guard.store
    return Sampling(kept, Shadow(rate), Purse(budget, store, prices), check=check)


def common_profile(models: Iterable[BaseChatModel]) -> Any:
    """What all tiers can do, for agents that ask: the weaker of each ability; ``None`` if one does not say."""
    profiles: list[Mapping[str, Any]] = [model.profile or {} for model in models]
    if not all(profiles):
        return None
    shared = set.intersection(*(set(profile) for profile in profiles))
    comparable = {name for name in shared if all(isinstance(profile[name], (bool, int)) for profile in profiles)}
    return {name: min(profile[name] for profile in profiles) for name in sorted(comparable)}


def _prices(models: Iterable[BaseChatModel], guard: CostGuard | None) -> PriceBook:
    bill = guard or bill_of(models)
    return PriceBook() if bill is None else bill.prices


def _is_pair(given: Any) -> bool:
    return isinstance(given, (tuple, list)) and len(given) == 2 and isinstance(given[1], BaseChatModel)


def _cheapest_first(tiers: Sequence[Tier]) -> list[Tier]:
    prices = {tier.name: tier.price.input + tier.price.output for tier in tiers if tier.price is not None}
    return sorted(tiers, key=lambda tier: prices[tier.name]) if len(prices) == len(tiers) else list(tiers)

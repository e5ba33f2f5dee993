"""From what a router is constructed with to its tiers: names, prices, order, and whose bill they are on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from costguard_core.errors import ConfigurationError
from costguard_core.guard import CostGuard
from costguard_core.pricing import PriceBook
from costguard_core.routing import Judge, Request, Router, Score, Tier, rules
from costguard_core.routing.cascade.validation import cheapest_first, free_name, scorer
from costguard_core.routing.conditions import Condition, branches

M = TypeVar("M")
"""A model, as the framework has it."""


@dataclass(frozen=True, slots=True)
class Ladder(Generic[M]):
    """The tiers, cheapest first, and the models behind them. ``score`` and ``default`` are those of conditions."""

    models: Mapping[str, M]
    tiers: Sequence[Tier]
    prices: PriceBook
    score: Callable[[Request], Score | None] | None = None
    default: str | None = None

    def router(
        self,
        *,
        score: Any,
        share: float | Sequence[float] | None,
        threshold: float | None,
        default: str | None,
        judge: Judge | None,
        sticky: bool | None,
    ) -> Router:
        """The decision over these tiers; arguments as the adapters' routers document them."""
        return Router(
            self.tiers,
            score=self.score or scorer(rules() if score is None else score),
            share=share,
            threshold=threshold,
            default=default or self.default,
            judge=judge,
            sticky=self.score is None if sticky is None else sticky,
        )


@dataclass(frozen=True, slots=True)
class Rungs(Generic[M]):
    """How a framework's models become tiers.

    Args:
        kind: the class of a model.
        word: what the framework calls one, for errors.
        name: what a model runs.
        tier: a model as a tier of this name.
        bill: the guard that a model is on the bill of, if it is on one.
        condition: a condition over messages as one over requests.
    """

    kind: type[Any]
    word: str
    name: Callable[[M], str]
    tier: Callable[[str, M, PriceBook], Tier]
    bill: Callable[[M], CostGuard | None]
    condition: Callable[[Any], Condition]

    def ladder(
        self, conditions: Sequence[Any], named: Mapping[str, M], guard: CostGuard | None, *cuts: object
    ) -> Ladder[M]:
        """The tiers of either form. ``cuts`` are the options that only tiers with names have.

        Raises:
            ConfigurationError: both forms at once, or neither.
        """
        if not conditions:
            return self._by_names(named, guard)
        if named or any(cut is not None for cut in cuts):
            form = f"TieredRouter((condition, {self.word}), …, default)"
            raise ConfigurationError(f"either conditions, {form}, or named tiers")
        return self._by_conditions(conditions, guard)

    def bill_of(self, models: Iterable[M]) -> CostGuard | None:
        """The guard of the first guarded one."""
        return next((guard for model in models if (guard := self.bill(model)) is not None), None)

    def _by_names(self, models: Mapping[str, M], guard: CostGuard | None) -> Ladder[M]:
        prices = self._prices(models.values(), guard)
        return Ladder(models, [self.tier(name, model, prices) for name, model in models.items()], prices)

    def _by_conditions(self, given: Sequence[Any], guard: CostGuard | None) -> Ladder[M]:
        """Tiers are ordered by price. Where one has none, they are as written, and the default is the dearest."""
        *pairs, default = given
        if not pairs or not isinstance(default, self.kind) or not all(self._is_pair(pair) for pair in pairs):
            raise ConfigurationError(f"conditions are written TieredRouter((condition, {self.word}), …, default)")
        models = self._named([*(model for _, model in pairs), default])
        names = {id(model): name for name, model in models.items()}
        prices = self._prices(models.values(), guard)
        tiers = cheapest_first([self.tier(name, model, prices) for name, model in models.items()])
        score = branches(*((self.condition(asked), names[id(model)]) for asked, model in pairs))
        return Ladder(models, tiers, prices, score, names[id(default)])

    def _named(self, models: Iterable[M]) -> dict[str, M]:
        """Models by the name of what they run; one that occurs twice is one tier."""
        found: dict[str, M] = {}
        for model in models:
            if not any(model is known for known in found.values()):
                found[free_name(self.name(model), found)] = model
        return found

    def _prices(self, models: Iterable[M], guard: CostGuard | None) -> PriceBook:
        bill = guard or self.bill_of(models)
        return PriceBook() if bill is None else bill.prices

    def _is_pair(self, given: Any) -> bool:
        return isinstance(given, (tuple, list)) and len(given) == 2 and isinstance(given[1], self.kind)

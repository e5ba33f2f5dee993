"""From what a router is constructed with to its tiers and its engine."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from types import MappingProxyType
from typing import Any, Generic, TypeVar, cast

from costguard_core.budgets.budget import Budget
from costguard_core.errors import ConfigurationError
from costguard_core.guard import CostGuard, check_guard
from costguard_core.pricing import PriceBook
from costguard_core.routing.cascade.engine import RoutingEngine
from costguard_core.routing.checks.judge import Judge, asking
from costguard_core.routing.conditions import Condition, branches
from costguard_core.routing.pacing import Pace
from costguard_core.routing.request import Request
from costguard_core.routing.router import Router
from costguard_core.routing.rules import rules
from costguard_core.routing.scores import Score
from costguard_core.routing.shadow.prompt_log import PromptLog
from costguard_core.routing.shadow.sampling import RATE, shadow_sample
from costguard_core.routing.tier_prices import TierModel, TierPrices
from costguard_core.routing.tiers import Tier, cheapest_first, check_tier_name
from costguard_core.routing.validation import check, plain_function, scorer
from costguard_core.util.options import check_kind, check_spelling, shown

M = TypeVar("M")
"""A model, as the framework has it."""


@dataclass(frozen=True, slots=True)
class RouterOptions:
    """The options that the routers of all adapters have.

    Attributes:
        score: a scorer (``rules()``, ``learned(...)``, ``examples(...)``), the path of a trained router, or a function
            of a ``Request`` that returns a number; more is harder. Default: ``rules()``.
        share: the part (0..1) of the requests that goes to the strong tier, or one number per tier above the first.
        threshold: cut at this score instead.
        default: name of the tier for requests about which nobody has an opinion; ``None``: the strongest.
        judge: a model that is asked about scores near the cut, or a function of a ``Request``.
        sticky: keep sessions on their model; ``None``: unless conditions name the tiers.
        verify: check answers of all tiers but the strongest, and ask the next tier if they fail: a check of
            ``costguard_core.routing.checks.verify``, a Pydantic class, a JSON schema, a function of an ``Answer`` that
            says true or false, or ``True`` (neither empty, cut short nor refused). Structured output must also parse. A
            stream is held back until it has passed.
        guard: meters every tier.
        budget: one of the guard's dollar budgets (name or text), to be spent evenly: the strong tier only while spend
            is under a straight line, so that nothing is refused for want of cheap money.
        log: a :class:`PromptLog` or its path: opts into writing down paired answers to train from. Without it nothing
            is written, and nothing asked twice.
        shadow: the part (0..1) of the calls that the other tier answers too, in the background.
        shadow_budget: what these second answers may cost, e.g. ``"$1/day"``; ``None`` is no limit.
    """

    score: object = None
    share: float | Sequence[float] | None = None
    threshold: float | None = None
    default: str | None = None
    judge: object = None
    sticky: bool | None = None
    verify: object = None
    guard: CostGuard | None = None
    budget: str | Budget | None = None
    log: PromptLog | str | PathLike[str] | None = None
    shadow: float = RATE
    shadow_budget: str | Budget | None = "$1/day"

    def __post_init__(self) -> None:
        if self.guard is not None:
            check_guard(self.guard)
        if self.log is not None:
            check_kind("log", self.log, (PromptLog, str, PathLike), 'a PromptLog, or a file such as "prompts.db"')
        if self.shadow_budget is not None:
            check_kind("shadow_budget", self.shadow_budget, (str, Budget), 'a budget such as "$1/day"')


@dataclass(frozen=True, slots=True)
class Tiers(Generic[M]):
    """The tiers of a router and the models behind them.

    Attributes:
        models: by the name of their tier.
        tiers: cheapest first.
        prices: what they cost.
        score: the scorer that conditions make; ``None``: there are no conditions.
        default: the tier where no condition holds.
    """

    models: Mapping[str, M]
    tiers: Sequence[Tier]
    prices: PriceBook
    score: Callable[[Request], Score | None] | None = None
    default: str | None = None


class TierFactory(ABC, Generic[M]):
    """Makes a router's tiers of a framework's models; an adapter says what a model is.

    Attributes:
        model_class: what every model is an instance of.
        noun: what the framework calls a model, for errors.
        judge_options: options of :meth:`guarded` for a judge.
    """

    model_class: type[M]
    noun: str
    judge_options: Mapping[str, object] = MappingProxyType({})

    @abstractmethod
    def runs(self, model: M) -> TierModel:
        """Name and provider of what a model runs."""

    @abstractmethod
    def display_name(self, model: M) -> str:
        """What a tier is called that was given no name."""

    @abstractmethod
    def tier(self, name: str, model: M, prices: PriceBook) -> Tier:
        """A model as a tier: its price and its limits, as far as they are known."""

    @abstractmethod
    def guard_of(self, model: M) -> CostGuard | None:
        """The guard that meters a model, if one does."""

    @abstractmethod
    def guarded(self, model: M, guard: CostGuard | None, **options: object) -> M:
        """The model, guarded unless it is already, or ``guard`` is ``None``. ``options`` are those of the adapter."""

    @abstractmethod
    def condition(self, given: object) -> Condition:
        """A condition over messages as one over requests."""

    @abstractmethod
    def ask(self, model: M, prompt: str) -> str:
        """The answer of a model to one prompt."""

    def build(
        self, conditions: Sequence[object], named: Mapping[str, M], options: RouterOptions, **guarding: object
    ) -> tuple[dict[str, M], RoutingEngine]:
        """The models of a router by tier, cheapest first, and its engine.

        Args:
            conditions: pairs of a condition and a model, and the default model at the end; or nothing.
            named: models by the names of their tiers, cheapest first; or nothing.
            options: of the router.
            guarding: options for :meth:`guarded`.

        Raises:
            ConfigurationError: fewer than two tiers, or options that do not fit together.
        """
        tiers = self._tiers(conditions, named, options)
        guard = options.guard or self._first_guard(tiers.models.values())
        router = Router(
            tiers.tiers,
            score=tiers.score or scorer(rules() if options.score is None else options.score),
            share=options.share,
            threshold=options.threshold,
            default=options.default or tiers.default,
            judge=self.judge(options.judge, guard),
            sticky=tiers.score is None if options.sticky is None else options.sticky,
        )
        models = {tier.name: self.guarded(tiers.models[tier.name], options.guard, **guarding) for tier in router.tiers}
        verify = check(options.verify)
        return models, RoutingEngine(
            router,
            TierPrices(tiers.prices, {name: self.runs(model) for name, model in models.items()}),
            judge=options.judge,
            pace=_pace(guard, options.budget),
            check=verify,
            tags=frozenset() if guard is None else guard.tags,
            guard=guard,
            shadow=shadow_sample(options.log, options.shadow, options.shadow_budget, guard, tiers.prices, verify),
        )

    def guard_all(
        self, models: Mapping[str, M], engine: RoutingEngine, guard: CostGuard, **guarding: object
    ) -> tuple[dict[str, M], RoutingEngine]:
        """Models and engine of a router as :meth:`build` made them, on the bill of ``guard``.

        The engine shares its memory with the one given. ``guarding`` are options for :meth:`guarded`.
        """
        guarded = {name: self.guarded(model, guard, **guarding) for name, model in models.items()}
        judge = self.judge(engine.judge, guard) if isinstance(engine.judge, self.model_class) else None
        return guarded, engine.guarded_by(guard, judge)

    def judge(self, option: object, guard: CostGuard | None) -> Judge | None:
        """``judge=`` as a judge: a model, which ``guard`` meters, or a function of a request.

        Raises:
            ConfigurationError: it is an ``async`` function.
        """
        if not isinstance(option, self.model_class):
            return None if option is None else cast(Judge, plain_function(option, "judge="))
        model = self.guarded(option, guard, **self.judge_options)
        return asking(lambda prompt: self.ask(model, prompt))

    def _tiers(self, conditions: Sequence[object], named: Mapping[str, M], options: RouterOptions) -> Tiers[M]:
        for name, model in named.items():
            check_tier_name(name)
            if not isinstance(model, self.model_class):
                check_spelling("a router", [name], (), RouterOptions.__dataclass_fields__)
                raise ConfigurationError(f"{name}= is neither an option of a router nor a tier, but {shown(model)}")
        if not conditions:
            prices = self._prices(named.values(), options.guard)
            return Tiers(named, [self.tier(name, model, prices) for name, model in named.items()], prices)
        scored = (options.score, options.share, options.threshold)
        if named or any(option is not None for option in scored):
            raise ConfigurationError(
                f"either conditions, TieredRouter((condition, {self.noun}), …, default), or named tiers"
            )
        return self._tiers_of_conditions(conditions, options.guard)

    def _tiers_of_conditions(self, given: Sequence[Any], guard: CostGuard | None) -> Tiers[M]:
        """Tiers are ordered by price. Where one has none, they are as written, and the default is the dearest."""
        *pairs, default = given
        if not pairs or not isinstance(default, self.model_class) or not all(self._is_pair(pair) for pair in pairs):
            raise ConfigurationError(f"conditions are written TieredRouter((condition, {self.noun}), …, default)")
        models = self._named([*(model for _, model in pairs), default])
        names = {id(model): name for name, model in models.items()}
        prices = self._prices(models.values(), guard)
        tiers = cheapest_first([self.tier(name, model, prices) for name, model in models.items()])
        score = branches(*((self.condition(condition), names[id(model)]) for condition, model in pairs))
        return Tiers(models, tiers, prices, score, names[id(default)])

    def _named(self, models: Iterable[M]) -> dict[str, M]:
        """Models by their display names; one that occurs twice is one tier."""
        named: dict[str, M] = {}
        for model in models:
            if not any(model is known for known in named.values()):
                named[_free_name(self.display_name(model), named)] = model
        return named

    def _prices(self, models: Iterable[M], guard: CostGuard | None) -> PriceBook:
        found = guard or self._first_guard(models)
        return PriceBook() if found is None else found.prices

    def _first_guard(self, models: Iterable[M]) -> CostGuard | None:
        return next((guard for model in models if (guard := self.guard_of(model)) is not None), None)

    def _is_pair(self, given: object) -> bool:
        return isinstance(given, (tuple, list)) and len(given) == 2 and isinstance(given[1], self.model_class)


def _pace(guard: CostGuard | None, budget: str | Budget | None) -> Pace | None:
    if budget is None:
        return None
    if guard is None:
        raise ConfigurationError("budget= names a budget of a guard: TieredRouter(..., guard=guard, budget=...)")
    return Pace(guard, budget)


def _free_name(wanted: str, taken: Iterable[str]) -> str:
    """``wanted``, with a number if it is taken."""
    names = set(taken)
    numbered = (f"{wanted} ({number})" for number in range(2, len(names) + 3))
    return wanted if wanted not in names else next(name for name in numbered if name not in names)

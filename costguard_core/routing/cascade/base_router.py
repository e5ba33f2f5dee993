"""The router that both adapters derive theirs from: its options, and the verbs that need no words of a framework."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from os import PathLike
from typing import Any, Self, TypeVar

from costguard_core.budgets.budget import Budget
from costguard_core.errors import ConfigurationError
from costguard_core.guard import CostGuard
from costguard_core.routing.cascade.engine import RouterStatus, RoutingEngine
from costguard_core.routing.cascade.tier_factory import RouterOptions
from costguard_core.routing.declared import declared_router, router_options, tiers_of
from costguard_core.routing.shadow.prompt_log import PromptLog
from costguard_core.routing.shadow.sampling import RATE
from costguard_core.routing.tiers import Tier
from costguard_core.util.options import shown

F = TypeVar("F", bound=Callable[..., None])


def same_as(function: F) -> Callable[[Callable[..., None]], F]:
    """In place of the decorated method, ``function``. Type checkers make up a constructor for a pydantic class that
    defines none, although it inherits one."""
    return lambda _: function


class BaseTieredRouter:
    """Several models as one: each request goes to the cheapest one that is good enough for it."""

    _engine: RoutingEngine

    def __init__(
        self,
        *branches: object,
        score: object = None,
        share: float | Sequence[float] | None = None,
        threshold: float | None = None,
        default: str | None = None,
        judge: object = None,
        sticky: bool | None = None,
        verify: object = None,
        guard: CostGuard | None = None,
        cache: object = None,
        budget: str | Budget | None = None,
        log: PromptLog | str | PathLike[str] | None = None,
        shadow: float = RATE,
        shadow_budget: str | Budget | None = "$1/day",
        **named: object,
    ) -> None:
        """Args:
            branches: pairs of a condition and a model, and the default model at the end.
            cache: of the answers of each tier; what it may be, the adapter says.
            named: tiers by name, cheapest first, and options of the adapter.
            score, share, threshold, default, judge, sticky, verify, guard, budget, log, shadow, shadow_budget: see
                :class:`RouterOptions`.

        Raises:
            ConfigurationError: fewer than two tiers, or options that do not fit together.
        """
        options = RouterOptions(
            score, share, threshold, default, judge, sticky, verify, guard, budget, log, shadow, shadow_budget
        )
        if not isinstance(named.get("models", {}), Mapping):
            raise ConfigurationError(f"models= is a dict of models by name, not {shown(named['models'])}")
        self._construct(branches, named, options, cache)

    @classmethod
    def from_policy(cls, guard: CostGuard, name: str, models: Mapping[str, object], **options: object) -> Self:
        """The router that ``[routers.NAME]`` of the guard's policy file declares.

        ``TieredRouter.from_policy(guard, "auto", {"gpt-4o-mini": mini, "gpt-4o": large}, cache=…)``

        Args:
            guard: made by :meth:`CostGuard.from_file`; meters every tier.
            name: of the table.
            models: the model of each tier, by the names in its list ``tiers``, and of its ``judge``, if it has one.
            options: those of the constructor, which win over the file: ``cache``, ``judge``, another ``verify`` …

        Raises:
            ConfigurationError: the file declares no such router, or not these tiers; or options do not fit together.
        """
        declared = declared_router(guard, name)
        tiers, judge = tiers_of(declared, models, name, judged="judge" not in options)
        if judge is not None:
            options["judge"] = judge
        if clash := tiers.keys() & {*RouterOptions.__slots__, "cache", "branches"}:
            raise ConfigurationError(f"[routers.{name}]: a tier cannot be called {min(clash)!r}, as an option is")
        if "threshold" in options or "share" in options:  # of which there can be one
            declared = {option: value for option, value in declared.items() if option not in ("threshold", "share")}
        return cls(**{**router_options(declared), **options, **tiers, "guard": guard})

    @abstractmethod
    def _construct(
        self, branches: Sequence[object], named: dict[str, object], options: RouterOptions, cache: object
    ) -> None:
        """Make the tiers and the engine, and set up the framework's own base class."""

    @abstractmethod
    def _route_of(self, answer: Any) -> Mapping[str, Any]:
        """The decision that an answer holds, as plain values; empty if it holds none."""

    @property
    def engine(self) -> RoutingEngine:
        """What decides; copies of a router share it."""
        return self._engine

    @property
    def tiers(self) -> tuple[Tier, ...]:
        """The tiers, cheapest first."""
        return self._engine.router.tiers

    @property
    def share_now(self) -> float | None:
        """The part (0..1) of recent scored requests that went above the first tier; ``None``: none was scored."""
        return self._engine.router.share_now

    def status(self) -> RouterStatus:
        """Tiers, the share that went up lately, whether scores have drifted, and what the shadow sample did."""
        return self._engine.status()

    def feedback(self, answer: object, quality: float) -> bool:
        """Tell the prompt log what the user thinks of an answer that the router gave: 0 (bad) to 1 (good).

        Returns:
            Whether that was of use: only answers of the shadow sample are in the log.
        """
        sample = self._route_of(answer).get("sample")
        return self._engine.feedback(sample if isinstance(sample, str) else None, quality)

    def flush(self, timeout: float = 5.0) -> bool:
        """Wait for the shadow sample to be written; ``False`` if that takes longer than ``timeout`` seconds."""
        return self._engine.shadow is None or self._engine.shadow.flush(timeout)

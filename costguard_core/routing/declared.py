"""Routers as a policy file declares them: ``[routers.auto]``, its tiers, its rules and its options."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

from costguard_core.errors import ConfigurationError
from costguard_core.routing.request import Request
from costguard_core.routing.rules import rules
from costguard_core.routing.scores import Reason, Score
from costguard_core.routing.validation import scorer
from costguard_core.util.options import meant

if TYPE_CHECKING:
    from costguard_core.guard import CostGuard

M = TypeVar("M")

_TESTS: Mapping[str, Callable[[Request, Any], bool]] = {
    "endpoint": lambda request, wanted: request.tag in ([wanted] if isinstance(wanted, str) else wanted),
    "min_input_tokens": lambda request, least: request.input_tokens >= least,
    "max_input_tokens": lambda request, most: request.input_tokens <= most,
    "min_turns": lambda request, least: request.turns >= least,
    "tools": lambda request, wanted: (request.tools > 0) is wanted,
    "structured": lambda request, wanted: request.structured is wanted,
    "modality": lambda request, wanted: wanted in request.modalities,
}


@dataclass(frozen=True, slots=True)
class RuledScorer:
    """Rules of a policy file before a scorer: the first one that fits names the tier.

    Attributes:
        rules: each a tier and what a request must be, all of it, to go there.
        otherwise: asked where no rule fits.
    """

    rules: Sequence[Mapping[str, Any]]
    otherwise: Callable[[Request], Score | None]

    @property
    def quantiles(self) -> Sequence[float]:
        """Those of a trained scorer, for the cut and its drift."""
        found: Sequence[float] = getattr(self.otherwise, "quantiles", ())
        return found

    def __call__(self, request: Request) -> Score | None:
        for number, rule in enumerate(self.rules, start=1):
            wanted = {name: value for name, value in rule.items() if name != "tier"}
            if all(_TESTS[name](request, value) for name, value in wanted.items()):
                return Score(1.0, (Reason(f"rule {number}: {', '.join(wanted)}"),), tier=rule["tier"])
        return self.otherwise(request)


def router_options(given: Mapping[str, Any]) -> dict[str, Any]:
    """The options of a declared router, as :class:`RouterOptions` has them, without its tiers.

    Raises:
        ConfigurationError: its trained router cannot be read.
    """
    options = {name: value for name, value in given.items() if name not in ("tiers", "rules")}
    if given.get("rules"):
        score = options.get("score")
        options["score"] = RuledScorer(given["rules"], scorer(rules() if score is None else score))
    return options


def declared_router(guard: CostGuard, name: str) -> Mapping[str, Any]:
    """The table ``[routers.NAME]`` of the file that ``guard`` was made from.

    Raises:
        ConfigurationError: there is no file, or no such router in it.
    """
    if guard.policy is None:
        raise ConfigurationError("this guard has no policy file: make it with CostGuard.from_file(…)")
    if name not in guard.policy.routers:
        raise ConfigurationError(
            f"{guard.policy.path} has no [routers.{name}]; {_meant(name, guard.policy.routers, 'it has no routers')}"
        )
    return guard.policy.routers[name]


def tiers_of(
    given: Mapping[str, Any], models: Mapping[str, M], name: str, *, judged: bool
) -> tuple[dict[str, M], M | None]:
    """``models`` in the order of the tiers of a declared router, and that of its judge.

    Args:
        given: the table.
        models: by name.
        name: of the router.
        judged: whether the judge of the table is wanted; another one may be given in the code.

    Raises:
        ConfigurationError: a tier or the judge has no model, or a model is none of them.
    """
    tiers: list[str] = given["tiers"]
    judge: str | None = given.get("judge") if judged else None
    wanted = tiers if judge is None or judge in tiers else [*tiers, judge]
    for model in models:
        if model not in wanted:
            raise ConfigurationError(f"models={{{model!r}: …}} is no tier of [routers.{name}]; {_meant(model, wanted)}")
    missing = [tier for tier in wanted if tier not in models]
    if missing:
        raise ConfigurationError(f"models= has none for {', '.join(map(repr, missing))} of [routers.{name}]")
    return {tier: models[tier] for tier in tiers}, None if judge is None else models[judge]


def _meant(word: str, valid: Iterable[str], none: str = "") -> str:
    return meant(word, valid, f"there are {', '.join(valid)}" if valid else none)

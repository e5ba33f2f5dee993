"""What a router may be given, made into what it works with: scores, checks, the order of tiers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from os import PathLike
from typing import Any, cast

from costguard_core.budgets import Budget
from costguard_core.errors import ConfigurationError
from costguard_core.guard import CostGuard
from costguard_core.routing import Answer, Request, Score, Tier, Verdict, learned
from costguard_core.routing.verify import Check, complete, every, not_refused, valid_json
from costguard_core.tiering import Pace


def scorer(given: Any) -> Callable[[Request], Score | None]:
    """A scorer from a scorer, the path of a trained one, or a function that returns a plain number.

    Raises:
        ConfigurationError: it is none of these.
    """
    if isinstance(given, (str, PathLike)):
        return learned(given)
    if not callable(given):
        raise ConfigurationError(f"score={given!r} is neither a scorer nor the path of a trained router")
    if hasattr(given, "quantiles"):
        return cast(Callable[[Request], Score | None], given)

    def score(request: Request) -> Score | None:
        found = given(request)
        return Score(float(found)) if isinstance(found, (bool, int, float)) else found

    return score


def check(given: Any) -> Check | None:
    """What ``verify=`` may be, as one check. A check that breaks has not passed.

    Raises:
        ConfigurationError: neither a function of an ``Answer``, nor a schema, nor ``True``.
    """
    if given is None or given is False:
        return None
    if given is True:
        return every(complete(), not_refused())
    if isinstance(given, Mapping) or (isinstance(given, type) and hasattr(given, "model_json_schema")):
        return valid_json(given)
    if not callable(given):
        raise ConfigurationError(f"verify={given!r} is not a check: a function of an Answer, a schema, or True")

    def checked(answer: Answer) -> Verdict:
        try:
            said = given(answer)
        except Exception as error:
            return Verdict(False, f"check failed: {type(error).__name__}")
        return said if isinstance(said, Verdict) else Verdict(bool(said), "" if said else "check said no")

    return checked


def cheapest_first(tiers: Sequence[Tier]) -> list[Tier]:
    """Tiers by price; where one has none, as they were written."""
    prices = {tier.name: tier.price.input + tier.price.output for tier in tiers if tier.price is not None}
    return sorted(tiers, key=lambda tier: prices[tier.name]) if len(prices) == len(tiers) else list(tiers)


def free_name(wanted: str, taken: Iterable[str]) -> str:
    """``wanted``, with a number if it is taken."""
    known = set(taken)
    spare = (f"{wanted} ({number})" for number in range(2, len(known) + 3))
    return wanted if wanted not in known else next(name for name in spare if name not in known)


def pace(guard: CostGuard | None, budget: str | Budget | None) -> Pace | None:
    """The budget that is spent evenly, if one is.

    Raises:
        ConfigurationError: nobody has such a budget.
    """
    if budget is None:
        return None
    if guard is None:
        raise ConfigurationError("budget= names a budget of a guard: TieredRouter(..., guard=guard, budget=...)")
    return Pace(guard, budget)

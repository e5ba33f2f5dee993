"""What a router may be given, made into what it works with: scores, checks, the order of tiers."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from inspect import isawaitable, iscoroutinefunction
from os import PathLike
from typing import Any, cast

from costguard_core.budgets.budget import Budget
from costguard_core.errors import ConfigurationError
from costguard_core.guard import CostGuard
from costguard_core.routing import Answer, Request, Score, Tier, Verdict, learned
from costguard_core.routing.checks.verify import Check, complete, every, not_refused, valid_json
from costguard_core.routing.pacing import Pace


def shown(given: object) -> str:
    """A wrong argument as an error may show it: the text of a model may hold the headers that it signs in with."""
    return repr(given) if isinstance(given, (str, int, float)) else type(given).__name__


def called_at_once(given: Any, what: str) -> Any:
    """The function itself, which must not be ``async``: decisions are made between two awaits, and what a coroutine
    would have said counts as yes.

    Raises:
        ConfigurationError: it is a coroutine function. ``what`` names it in the error.
    """
    if iscoroutinefunction(given) or iscoroutinefunction(getattr(given, "__call__", None)):  # noqa: B004 -- its own
        raise ConfigurationError(f"{what} is called without await; give a plain function instead of an async one")
    return given


def said_at_once(found: Any) -> Any:
    """What a function returned, unless it turned out to be ``async`` after all.

    Raises:
        TypeError: it returned something to await.
    """
    if isawaitable(found):
        close = getattr(found, "close", None)
        if callable(close):
            close()  # it will never be awaited, and need not warn of that
        raise TypeError("an async function at the place of a plain one")
    return found


def scorer(given: Any) -> Callable[[Request], Score | None]:
    """A scorer from a scorer, the path of a trained one, or a function that returns a plain number.

    Raises:
        ConfigurationError: it is none of these.
    """
    if isinstance(given, (str, PathLike)):
        return learned(given)
    if not callable(given):
        raise ConfigurationError(f"score={shown(given)} is neither a scorer nor the path of a trained router")
    if hasattr(given, "quantiles"):
        return cast(Callable[[Request], Score | None], given)

    asked = called_at_once(given, "score=")

    def score(request: Request) -> Score | None:
        found = said_at_once(asked(request))
        return found if found is None or isinstance(found, Score) else Score(float(found))

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
        raise ConfigurationError(f"verify={shown(given)} is not a check: a function of an Answer, a schema, or True")

    asked = called_at_once(given, "verify=")

    def checked(answer: Answer) -> Verdict:
        try:
            said = said_at_once(asked(answer))
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

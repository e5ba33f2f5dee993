"""Costguard's decisions, without any framework: money, keys, budgets, matching, routing and reports."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from costguard_core.attribution import attribute
    from costguard_core.budgets.admission import Permit
    from costguard_core.budgets.agents import AgentLimit
    from costguard_core.budgets.breaker import Breaker
    from costguard_core.budgets.budget import Budget
    from costguard_core.budgets.estimates import Assumptions
    from costguard_core.budgets.loops import Loops
    from costguard_core.errors import (
        ConfigurationError,
        CostGuardError,
        MissingExtraError,
        SpendLimitExceeded,
        StoreUnavailable,
        UnpricedModelError,
    )
    from costguard_core.guard import CostGuard
    from costguard_core.types import Alert, Attribution, Call, Charge, Event, Outcome, Usage, usd

__all__ = [
    "AgentLimit",
    "Alert",
    "Assumptions",
    "Attribution",
    "Breaker",
    "Budget",
    "Call",
    "Charge",
    "ConfigurationError",
    "CostGuard",
    "CostGuardError",
    "Event",
    "Loops",
    "MissingExtraError",
    "Outcome",
    "Permit",
    "SpendLimitExceeded",
    "StoreUnavailable",
    "UnpricedModelError",
    "Usage",
    "attribute",
    "usd",
]

# Where each name is from. They are imported when they are asked for: a command that prints a report needs no guard.
_ORIGINS = {
    "attribute": "attribution",
    "Permit": "budgets.admission",
    "AgentLimit": "budgets.agents",
    "Loops": "budgets.loops",
    "Breaker": "budgets.breaker",
    "Budget": "budgets.budget",
    "Assumptions": "budgets.estimates",
    "CostGuard": "guard",
    **dict.fromkeys(("Alert", "Attribution", "Call", "Charge", "Event", "Outcome", "Usage", "usd"), "types"),
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(import_module(f"{__name__}.{_ORIGINS.get(name, 'errors')}"), name)
    globals()[name] = value
    return value

"""Costguard's decisions, without any framework: money, keys, budgets, matching, routing and reports."""

from __future__ import annotations

from costguard_core.attribution import attribute
from costguard_core.budgets.admission import Permit
from costguard_core.budgets.breaker import Breaker
from costguard_core.budgets.budget import Budget
from costguard_core.budgets.estimates import Assumptions
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

"""The router: the cheapest model that is good enough, learned from the user's own traffic.

Scorers read a :class:`Request` and say how much it needs the stronger model; a :class:`Router` turns that into a
:class:`Decision` under a share, a budget, the limits of the tiers and a session. Training and evaluation are imported
from their own modules (``routing.learning.training``, ``routing.learning.evaluation``); deciding needs nothing but
Python.
"""

from __future__ import annotations

from costguard_core.routing.checks.judge import Judge, asking
from costguard_core.routing.checks.verify import Answer, Verdict
from costguard_core.routing.conditions import branches
from costguard_core.routing.decision import Decision
from costguard_core.routing.examples import examples
from costguard_core.routing.learning.drift import Drift, drift
from costguard_core.routing.learning.scorer import Learned, learned
from costguard_core.routing.request import Message, Phase, Request
from costguard_core.routing.router import Router
from costguard_core.routing.rules import rules
from costguard_core.routing.scores import Reason, Score, Scorer, first_opinion
from costguard_core.routing.shadow.sampling import Shadow
from costguard_core.routing.spend import Spending, SpendLine
from costguard_core.routing.sticky import Switch, switch_price
from costguard_core.routing.threshold import RollingCut
from costguard_core.routing.tier_prices import TierPrice
from costguard_core.routing.tiers import Tier

__all__ = [
    "Answer",
    "Decision",
    "Drift",
    "Judge",
    "Learned",
    "Message",
    "Phase",
    "Reason",
    "Request",
    "RollingCut",
    "Router",
    "Score",
    "Scorer",
    "Shadow",
    "SpendLine",
    "Spending",
    "Switch",
    "Tier",
    "TierPrice",
    "Verdict",
    "asking",
    "branches",
    "drift",
    "examples",
    "first_opinion",
    "learned",
    "rules",
    "switch_price",
]

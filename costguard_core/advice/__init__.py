"""What to change so that the bill falls: findings from the ledger, each with evidence, money and a policy line."""

from __future__ import annotations

from costguard_core.advice.advise import advise
from costguard_core.advice.finding import Advice, Finding, PolicyLine, Query

__all__ = ["Advice", "Finding", "PolicyLine", "Query", "advise"]

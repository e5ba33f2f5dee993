"""What to change so that the bill falls: findings from the ledger, each with evidence, money and a policy line."""

from __future__ import annotations

from costguard_core.advice.advise import advise
from costguard_core.advice.apply import Edit, apply, choose
from costguard_core.advice.finding import Advice, Finding, PolicyLine, Query
from costguard_core.advice.review import Reviewed, review

__all__ = ["Advice", "Edit", "Finding", "PolicyLine", "Query", "Reviewed", "advise", "apply", "choose", "review"]

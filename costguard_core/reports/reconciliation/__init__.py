"""The ledger against the provider's own record."""

from __future__ import annotations

from costguard_core.reports.reconciliation.differences import KINDS
from costguard_core.reports.reconciliation.reconcile import PROVIDERS, parse_tolerance, reconcile
from costguard_core.reports.reconciliation.result import Reconciliation, Row, Tolerance

__all__ = ["KINDS", "PROVIDERS", "Reconciliation", "Row", "Tolerance", "parse_tolerance", "reconcile"]

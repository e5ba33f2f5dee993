"""The ledger as cost and usage data of the FinOps Open Cost and Usage Specification (FOCUS).

https://focus.finops.org/focus-specification/: version 1.0 with all its columns, the newest that a validator for this
Python (focus-validator) can check. One row is what one model of one provider cost one account in one day, for one
combination of tags. What the specification has no column for stands in columns of our own, which begin with ``x_``.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import NamedTuple

from costguard_core.errors import ConfigurationError
from costguard_core.ledger import Ledger
from costguard_core.reports.queries import Where, make_report
from costguard_core.reports.report import Totals
from costguard_core.types import usd
from costguard_core.util.text import csv_cell
from costguard_core.util.timeparse import Moment

TAGS = ("endpoint", "tenant")
"""What the calls of a row have in common beside model and account, unless it is said otherwise."""
_NO_ACCOUNT = "default"
_UNKNOWN = "unknown"
# https://focus.finops.org/focus-specification/v1-0/#service_category
_CATEGORY = "AI and Machine Learning"

COLUMNS = (
    "AvailabilityZone BilledCost BillingAccountId BillingAccountName BillingCurrency BillingPeriodEnd "
    "BillingPeriodStart ChargeCategory ChargeClass ChargeDescription ChargeFrequency ChargePeriodEnd "
    "ChargePeriodStart CommitmentDiscountCategory CommitmentDiscountId CommitmentDiscountName CommitmentDiscountStatus "
    "CommitmentDiscountType ConsumedQuantity ConsumedUnit ContractedCost ContractedUnitPrice EffectiveCost "
    "InvoiceIssuerName ListCost ListUnitPrice PricingCategory PricingQuantity PricingUnit ProviderName PublisherName "
    "RegionId RegionName ResourceId ResourceName ResourceType ServiceCategory ServiceName SkuId SkuPriceId "
    "SubAccountId SubAccountName Tags x_Calls x_CallsWithUnknownCost x_CallsWithEstimatedUsage x_InputTokens "
    "x_OutputTokens x_CachedInputTokens x_SavedCost"
).split()
"""The columns, in order."""

# Amounts of money, and JSON, which begins with a brace, and cut it would be none any more.
_AS_IT_IS = frozenset(("BilledCost", "ContractedCost", "EffectiveCost", "ListCost", "x_SavedCost", "Tags"))


class Written(NamedTuple):
    """What was written.

    Attributes:
        rows: how many.
        cost: nano-dollars in them.
        unknown: calls whose cost, or a part of it, is unknown; they make ``cost`` a floor.
    """

    rows: int
    cost: int
    unknown: int


def focus_rows(
    ledger: Ledger,
    *,
    since: Moment | None = None,
    until: Moment | None = None,
    where: Where | None = None,
    tags: Sequence[str] = TAGS,
) -> Iterator[tuple[Mapping[str, object], Totals]]:
    """The rows of a span, by day (UTC), each with the figures that it was made of.

    Raises:
        ConfigurationError: an unknown dimension or time.
        CostGuardError: the ledger cannot be read.
    """
    by = ("day", "provider", "model", "account", *tags)
    for row in make_report(ledger, by, since=since, until=until, where=where, sort="name").rows:
        totals = row.totals
        if totals.paid or totals.cost or totals.unpriced:
            day, provider, model, account, *values = row.key
            named = {name: value for name, value in zip(tags, values, strict=True) if value is not None}
            yield _row(day or "", provider or _UNKNOWN, model or _UNKNOWN, account, named, totals), totals


def write_focus(
    ledger: Ledger,
    path: Path,
    *,
    since: Moment | None = None,
    until: Moment | None = None,
    where: Where | None = None,
    tags: Sequence[str] = TAGS,
) -> Written:
    """Write the rows of :func:`focus_rows` as CSV.

    Raises:
        ConfigurationError: the file cannot be written, or an unknown dimension or time.
        CostGuardError: the ledger cannot be read.
    """
    rows = list(focus_rows(ledger, since=since, until=until, where=where, tags=tags))  # before the file is emptied
    try:
        with path.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(COLUMNS)
            writer.writerows([_cell(name, row.get(name)) for name in COLUMNS] for row, _ in rows)
    except OSError as error:
        raise ConfigurationError(f"cannot write {str(path)!r}: {error.strerror}") from None
    figures = [totals for _, totals in rows]
    return Written(
        len(rows), sum(each.cost for each in figures), sum(each.unpriced + each.partly_priced for each in figures)
    )


def _row(
    day: str, provider: str, model: str, account: str | None, tags: Mapping[str, str], totals: Totals
) -> dict[str, object]:
    start = datetime.fromisoformat(day).replace(tzinfo=UTC)
    month = start.replace(day=1)
    cost = _dollars(totals.cost)
    tokens = totals.input_tokens + totals.output_tokens
    return {
        "BilledCost": cost,
        "BillingAccountId": account or _NO_ACCOUNT,
        "BillingAccountName": account or _NO_ACCOUNT,
        "BillingCurrency": "USD",
        "BillingPeriodStart": _time(month),
        "BillingPeriodEnd": _time((month + timedelta(days=32)).replace(day=1)),
        "ChargeCategory": "Usage",
        "ChargeDescription": f"{provider} {model}",
        "ChargeFrequency": "Usage-Based",
        "ChargePeriodStart": _time(start),
        "ChargePeriodEnd": _time(start + timedelta(days=1)),
        "ConsumedQuantity": tokens,
        "ConsumedUnit": "Tokens",
        "ContractedCost": cost,
        "EffectiveCost": cost,
        "InvoiceIssuerName": provider,
        "ListCost": cost,
        "PricingCategory": "Standard",
        "PricingQuantity": tokens,
        "PricingUnit": "Tokens",
        "ProviderName": provider,
        "PublisherName": provider,
        "ResourceId": model,
        "ResourceName": model,
        "ResourceType": "Model",
        "ServiceCategory": _CATEGORY,
        "ServiceName": f"{provider} API",
        "SkuId": f"{provider}/{model}",
        "SkuPriceId": f"{provider}/{model}",
        "Tags": json.dumps(tags, sort_keys=True),
        "x_Calls": totals.paid,
        "x_CallsWithUnknownCost": totals.unpriced + totals.partly_priced,
        "x_CallsWithEstimatedUsage": totals.estimated,
        "x_InputTokens": totals.input_tokens,
        "x_OutputTokens": totals.output_tokens,
        "x_CachedInputTokens": totals.cache_read_tokens,
        "x_SavedCost": _dollars(totals.saved),
    }


def _cell(name: str, value: object) -> object:
    """No spreadsheet takes a text for a formula. Money stays a number where it is negative, as what routing lost."""
    return csv_cell(value) if isinstance(value, str) and name not in _AS_IT_IS else value


def _dollars(nanos: int) -> str:
    """Exact, and never in powers of ten."""
    return f"{usd(nanos).normalize():f}"


def _time(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")

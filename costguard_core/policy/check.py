"""What a policy lacks, and where the ledger shows that it is not followed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import NamedTuple

from costguard_core.ledger import Ledger
from costguard_core.policy.policy import Endpoint, Policy
from costguard_core.reports.queries import make_report
from costguard_core.types import usd
from costguard_core.util.amounts import format_amount
from costguard_core.util.timeparse import Moment
from costguard_core.util.toml_document import toml_text

# Days of the windows that `review_above` may name; a ledger is read for as long.
_DAYS = {"hour": 1, "day": 1, "week": 7, "month": 30}


class Finding(NamedTuple):
    """One thing to mend.

    Attributes:
        rule: its short name: ``"owner"``, ``"budget"``, ``"unknown endpoint"``, ``"model"`` or ``"review"``.
        endpoint: where; ``None``: calls without an endpoint.
        text: what is wrong and what to write.
    """

    rule: str
    endpoint: str | None
    text: str


def check_policy(policy: Policy, ledger: Ledger | None = None, *, since: Moment = "30d") -> list[Finding]:
    """Findings about the file, and with a ledger also about the calls ``since`` then.

    Every endpoint needs an owner and a budget. An endpoint in the ledger needs an entry in the file, may use the models
    that its entry lists, and is up for review when it spent more than ``review_above`` says within the last such window
    (30 days for a month).

    Raises:
        CostGuardError: the ledger cannot be read.
    """
    found = [finding for endpoint in policy.endpoints.values() for finding in _entry(endpoint, policy)]
    if ledger is not None:
        found += _unknown_endpoints(policy, ledger, since)
        found += _models(policy, ledger, since)
        found += _reviews(policy.endpoints.values(), ledger)
    return found


def _entry(endpoint: Endpoint, policy: Policy) -> Iterator[Finding]:
    name = endpoint.name
    if endpoint.owner is None:
        yield Finding("owner", name, 'nobody answers for its bill: write owner = "team"')
    own = (budget for budget in policy.budgets if dict(budget.conditions).get("endpoint") == name)
    if not any(budget.unit == "usd" and budget.window != "call" for budget in own):
        yield Finding("budget", name, 'no budget in dollars over time: write budgets = ["$50/day"]')


def _unknown_endpoints(policy: Policy, ledger: Ledger, since: Moment) -> Iterator[Finding]:
    if not policy.endpoints:
        return
    for row in make_report(ledger, "endpoint", since=since):
        name = row.key[0]
        if name not in policy.endpoints and row.totals.paid:
            spent = f"{row.totals.paid} paid calls, ${row.totals.spend_usd}"
            if name is None:
                text = f'{spent}: call attribute(endpoint="…") around them'
            else:
                text = f"{spent} and no entry: write [endpoints.{toml_text(name)}] with owner and budgets"
            yield Finding("unknown endpoint", name, text)


def _models(policy: Policy, ledger: Ledger, since: Moment) -> Iterator[Finding]:
    if not any(endpoint.models for endpoint in policy.endpoints.values()):
        return
    for row in make_report(ledger, ("endpoint", "model"), since=since):
        name, model = row.key
        endpoint = policy.endpoints.get(name or "")
        if endpoint is None or not endpoint.models or not row.totals.paid or model in endpoint.models:
            continue
        allowed = ", ".join(endpoint.models)
        yield Finding("model", name, f"{row.totals.paid} paid calls of {model}; allowed: {allowed}")


def _reviews(endpoints: Iterable[Endpoint], ledger: Ledger) -> Iterator[Finding]:
    for endpoint in endpoints:
        limit = endpoint.review_above
        if limit is None:
            continue
        days = _DAYS.get(limit.window)
        since = None if days is None else f"{days}d"
        spent = make_report(ledger, "endpoint", since=since, where={"endpoint": endpoint.name}).total.cost
        if spent > limit.amount:
            over = f"${usd(spent)} {'in all' if days is None else f'in {days} days'}"
            yield Finding("review", endpoint.name, f"{over} is above {format_amount(limit.amount, 'usd')}: review it")
